"""Build the environment .venv from requirements.lock: `make install`.

It is built beside the environment in use, checked, and then replaces it; an error before that
leaves the environment in use unchanged. This script needs only Python's standard library.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

LOCK = "requirements.lock"
PAGE = ".dvc/plots/page.py"
MARK = "installed"  # make compares its time with those of the inputs
INPUTS = (LOCK, PAGE, "tools/install.py")
OLDEST, NEWEST = (3, 11), (3, 13)  # as in requires-python of pyproject.toml

# MLflow's telemetry stays off in all programs of the environment unless the user turns it on.
TELEMETRY_OFF = 'import os; os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")\n'


class InstallError(Exception):
    """The environment cannot be built; the message is one line."""


def install(root: Path) -> None:
    """Build the environment below `root`, unless another process has just done so.

    Raises:
        InstallError: it cannot be built; the environment in use is as it was.
    """
    target, new, old = (root / name for name in (".venv", ".venv.new", ".venv.old"))
    with (root / ".venv.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another installation is running: waiting for it to end", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if is_current(root, target / MARK):
                return
        check_python()
        shutil.rmtree(new, ignore_errors=True)
        try:
            build(root, new)
            shutil.rmtree(old, ignore_errors=True)
            if target.exists():
                target.rename(old)
            new.rename(target)
        finally:
            shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def is_current(root: Path, mark: Path) -> bool:
    """Return whether an environment is newer than all of its inputs.

    Args:
        root: root of the checkout.
        mark: file written when the environment was complete.
    """
    if not mark.exists():
        return False
    return all(mark.stat().st_mtime >= (root / name).stat().st_mtime for name in INPUTS)


def check_python() -> None:
    """Refuse a Python that cannot build the environment.

    Raises:
        InstallError: its version is not supported, or it lacks venv.
    """
    version = sys.version_info[:2]
    if not OLDEST <= version <= NEWEST:
        raise InstallError(
            f"Python {version[0]}.{version[1]} is not supported: install Python 3.11, 3.12 or 3.13"
            " and run `make install PYTHON=python3.12`"
        )
    try:
        import ensurepip  # noqa: F401, PLC0415 (Debian ships it apart)
    except ImportError:
        raise InstallError(
            f"{sys.executable} cannot create environments: on Debian and Ubuntu run"
            " `apt-get install python3-venv`"
        ) from None


def build(root: Path, target: Path) -> None:
    """Build an environment and check that its packages are compatible.

    uv installs in parallel, compiles bytecode and creates a relocatable environment; pip installs
    uv itself, with the hashes in the lock file.

    Raises:
        InstallError: a step fails.
    """
    python = target / "bin/python"
    run("create an environment", sys.executable, "-m", "venv", target)
    (target / "uv.lock").write_text(entry((root / LOCK).read_text(encoding="utf-8"), "uv"))
    hashed = ("install", "--quiet", "--require-hashes", "--no-deps", "--requirement")
    run("install uv", python, "-m", "pip", *hashed, target / "uv.lock")
    uv = target / "bin/uv"
    allowed = ("--quiet", "--allow-existing", "--relocatable", "--python", python)
    run("make it relocatable", uv, "venv", *allowed, target)
    locked = ("--require-hashes", "--compile-bytecode", "--requirement", root / LOCK)
    run("install the packages", uv, "pip", "install", "--quiet", "--python", python, *locked)
    run("check the packages", uv, "pip", "check", "--quiet", "--python", python)
    run("write DVC's plot page", python, root / PAGE)
    (site_packages,) = target.glob("lib/python*/site-packages")
    (site_packages / "mlflow_telemetry_off.pth").write_text(TELEMETRY_OFF)
    (target / MARK).touch()


def entry(lock: str, package: str) -> str:
    """Return the requirement of one package with its hashes.

    Raises:
        InstallError: the lock file does not contain the package.
    """
    found = re.search(rf"^{package}==(?:.*\\\n)*.*\n", lock, re.MULTILINE)
    if not found:
        raise InstallError(f"{LOCK} has no {package}: `git checkout {LOCK}` restores it")
    return found[0]


def run(purpose: str, *command: str | Path) -> None:
    """Run a command of the installation.

    Raises:
        InstallError: it fails; the message has its error lines, or else the last line of output.
    """
    parts = [str(part) for part in command]
    done = subprocess.run(
        parts, env=environment(os.environ), capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if re.match(r"(error|×|ERROR)", line)] or lines[-1:]
        raise InstallError(
            f"cannot {purpose}: {' '.join(errors)[:600] or f'exit status {done.returncode}'}"
        )


def environment(outer: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a command of the installation.

    Args:
        outer: the variables of this process.
    """
    # Not imported above: a Python that is too old for the table is refused first.
    from sidebyside.core.environment import cleaned  # noqa: PLC0415

    variables = cleaned(outer)
    variables.pop("PYTHONPATH", None)  # of the project
    return variables


if __name__ == "__main__":
    checkout = Path(__file__).resolve().parents[1]
    sys.path.append(str(checkout / "src"))
    try:
        install(checkout)
    except (InstallError, OSError) as error:
        sys.exit(f"install: error: {error}; the environment in use is unchanged")
    except KeyboardInterrupt:
        sys.exit("install: interrupted; the environment in use is unchanged")
