"""Build the environment .venv from requirements.lock: `make install`.

It is built beside the environment in use, checked, and then replaces it; an error before that
leaves the environment in use unchanged. This script needs only Python's standard library.
"""

import argparse
import ast
import math
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

LOCK = "requirements.lock"
PAGE = ".dvc/plots/page.py"
MARK = "installed"  # make compares its time with those of the inputs
INPUTS = (LOCK, PAGE, "tools/install.py")
OLDEST, NEWEST = (3, 11), (3, 13)  # as in requires-python of pyproject.toml

# Defaults of all programs of the environment: MLflow without telemetry, and its server without the
# processes for evaluating language models, which would take half a minute to start.
MLFLOW_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_WORKERS": "1",
}


class InstallError(Exception):
    """The environment cannot be built; the message is one line."""


def install(root: Path) -> None:
    """Build the environment below `root`, unless another process has just done so.

    Raises:
        InstallError: it cannot be built; the environment in use is as it was.
    """
    target, new, old = (root / name for name in (".venv", ".venv.new", ".venv.old"))
    check_python()
    # Not imported above: a Python that is too old for them is refused first.
    from sidebyside.execution.exclusive import exclusive  # noqa: PLC0415

    others: list[str] = []

    def on_wait(holder: str) -> None:
        others.append(holder)
        print(f"{holder} is installing: waiting for it to end", flush=True)

    with exclusive(root / ".venv.lock", patience=math.inf, on_wait=on_wait):
        if others and is_current(root, target / MARK):
            return
        if old.exists() and not target.exists():  # killed between the two steps of a swap
            old.rename(target)
        shutil.rmtree(new, ignore_errors=True)
        try:
            build(root, new)
            shutil.rmtree(old, ignore_errors=True)
            if target.exists():
                target.rename(old)
            new.rename(target)
        finally:
            shutil.rmtree(new, ignore_errors=True)
            if target.exists():
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
    run("create an environment", sys.executable, "-m", "venv", "--without-pip", target)
    run("install pip", python, "-m", "ensurepip", "--default-pip")  # venv would hide its errors
    lock = (root / LOCK).read_text(encoding="utf-8", errors="replace")
    (target / "uv.lock").write_text(entry(lock, "uv"))
    hashed = ("install", "--quiet", "--require-hashes", "--no-deps", "--requirement")
    run("install uv", python, "-m", "pip", *hashed, target / "uv.lock", **index_settings(python))
    uv, cache = target / "bin/uv", {} if has_cache() else {"UV_NO_CACHE": "1"}
    allowed = ("--quiet", "--allow-existing", "--relocatable", "--python", python)
    run("make it relocatable", uv, "venv", *allowed, target, **cache)
    locked = ("--require-hashes", "--compile-bytecode", "--requirement", root / LOCK)
    pip = (uv, "pip", "install", "--quiet", "--python", python)
    run("install the packages", *pip, *locked, **cache)
    run("check the packages", uv, "pip", "check", "--quiet", "--python", python, **cache)
    run("write DVC's plot page", python, root / PAGE)
    (site_packages,) = target.glob("lib/python*/site-packages")
    (site_packages / "mlflow_defaults.pth").write_text(
        f"import os; os.environ.update({MLFLOW_DEFAULTS} | dict(os.environ))\n"
    )
    (target / MARK).touch()


def entry(lock: str, package: str) -> str:
    """Return the requirement of one package with its hashes.

    Raises:
        InstallError: the lock file does not contain the package.
    """
    found = re.search(rf"^{package}==(?:.*\\\n)*.*\n", lock, re.MULTILINE)
    if not found:
        raise InstallError(f"{LOCK} has no {package}")
    return found[0]


def index_settings(python: Path) -> dict[str, str]:
    """Return pip's settings that lead to a package index, of files and variables, as variables.

    The files themselves are switched off: `user` or `target` there would redirect the installation.

    Args:
        python: interpreter of an environment with pip.

    Raises:
        InstallError: a file of settings is damaged.
    """
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in run("read pip's settings", python, "-m", "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in found:
            found[section][f"PIP_{key.upper().replace('-', '_')}"] = ast.literal_eval(value)
    kept = environment({**found["global"], **found["install"], **found[":env:"]})
    return {**kept, "PIP_CONFIG_FILE": os.devnull}


def has_cache() -> bool:
    """Return whether uv can keep its cache in the user's home."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # read-only, or no home
        return False
    return os.access(folder, os.W_OK)


def run(purpose: str, *command: str | Path, **variables: str) -> str:
    """Run a command of the installation and return its output.

    Args:
        purpose: completes "cannot" in the message of an error.
        command: program and arguments.
        variables: environment variables to set.

    Raises:
        InstallError: it fails; the message has its error lines, or else the last line of output.
    """
    parts = [str(part) for part in command]
    environ = {**environment(os.environ), **variables}
    done = subprocess.run(parts, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = error_of(done.stderr + done.stdout) or f"exit status {done.returncode}"
        raise InstallError(f"cannot {purpose}: {reason}")
    return done.stdout


def error_of(output: str) -> str:
    """Return the error in the output of pip or uv in one line.

    It is everything from the first line that names an error, or else the last line.
    """
    marks = re.compile("error|ERROR|Configuration")
    lines = [re.sub("[╰├─▶│×]", "", line).strip() for line in output.splitlines()]
    lines = [line for line in lines if line]
    first = next((number for number, line in enumerate(lines) if marks.match(line)), -1)
    return textwrap.shorten(" ".join(lines[first:]), 1000, placeholder=" …")


def environment(outer: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a command of the installation.

    Args:
        outer: the variables of this process.
    """
    from sidebyside.core.environment import cleaned  # noqa: PLC0415 (as above)

    variables = cleaned(outer)
    variables.pop("PYTHONPATH", None)  # of the project
    return variables


def advice(root: Path) -> str:
    """Return how to undo an edit of the lock file, if it differs from the commit."""
    command = ["git", "status", "--porcelain", "--untracked-files=no", "--", LOCK]
    try:
        done = subprocess.run(command, cwd=root, check=False, capture_output=True)
    except OSError:  # without git
        return ""
    return f"; {LOCK} was edited: `git checkout HEAD {LOCK}` restores it" if done.stdout else ""


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    checkout = Path(__file__).resolve().parents[1]
    sys.path.append(str(checkout / "src"))
    try:
        install(checkout)
    except (InstallError, OSError) as error:
        sys.exit(f"install: error: {error}{advice(checkout)}; the environment in use is unchanged")
    except KeyboardInterrupt:
        sys.exit("install: interrupted; the environment in use is unchanged")
