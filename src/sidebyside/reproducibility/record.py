"""Run everything from nothing in a clone of HEAD, time it, and keep the results here.

The pipeline's results in git come from this command and from nothing else: it clones the last
commit into a temporary folder, runs targets of the Makefile there, and copies dvc.lock, what stages
and targets left in reports/, and the DVC cache back. reports/run.json says how long each target
took and on which machine, as targets may be recorded one by one.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sidebyside.config.paths import CHECKOUT
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json
from sidebyside.reproducibility.rerun import cache_folder, own_environment
from sidebyside.reproducibility.rerun import clone as clone_of
from sidebyside.reproducibility.seed_variance import FOLDER
from sidebyside.workflow import command
from sidebyside.workflow.graph import recorded_outputs
from sidebyside.workflow.provenance import machine, processor_name, source
from tools.tables.results import EXPERIMENTS

TARGETS = ("install", "repro", "test", "smoke", "verify-smoke", "verify")
OTHERS = (*EXPERIMENTS, FOLDER)  # what they leave in reports/ is kept as well
# Runs a command, and writes the kB of the largest process of it. In a small process of its own, as
# what this one has needed would count for whatever it starts: Linux keeps the peak across exec.
MEASURED = """
import resource, subprocess, sys
try:
    status = subprocess.call(sys.argv[2:])
except KeyboardInterrupt:
    sys.exit(130)
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status != 0)
"""


def main() -> None:
    """Record a run."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "targets",
        nargs="*",
        choices=(*TARGETS, *OTHERS),  # of any other target the clone would take the results along
        metavar="target",
        help=f"what to run: {', '.join(OTHERS)}, or {' '.join(TARGETS)}, which is the default",
    )
    targets = parser.parse_args().targets or TARGETS
    root = CHECKOUT
    if source(root).dirty:
        raise UserError("tracked files differ from the last commit: commit them first")
    record = root / "reports/run.json"
    with tempfile.TemporaryDirectory() as folder:
        clone = clone_of(root, Path(folder) / "clone")
        for target in targets:
            if target == "verify":
                for file in (clone / "reports").glob("verification*.md"):
                    file.unlink()  # one of them is made
            done = _timed(target, clone)
            if target == "repro":
                _keep_results(clone, root)
                _timed("readme", clone)  # `make test` holds the pages against the results
                _commit(clone)
            if target in OTHERS:
                _keep_folder(clone, root, target)
            if target == "verify":
                for file in (clone / "reports").glob("verification*.md"):
                    shutil.copy(file, root / "reports")
            runs = read_json(record)["runs"] if record.exists() else {}
            write_json(record, {"runs": {**runs, target: {**done, **_machine()}}})


def _machine() -> dict[str, int | str | None]:
    """Return what a time depends on; `instructions` tells processors of one name apart."""
    return {
        "processor": processor_name(),
        "instructions": machine()["processor"],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def _timed(target: str, clone: Path) -> dict[str, int]:
    """Run a target; return its wall time and the memory of its largest process."""
    # The environment of this process would point the clone's make at this checkout's programs.
    environment = own_environment()
    environment.pop("PYTHONPATH", None)
    started = time.monotonic()
    with tempfile.NamedTemporaryFile("r") as peak:
        measured = [sys.executable, "-I", "-S", "-c", MEASURED, peak.name]
        line = [*measured, "make", target]
        if subprocess.run(line, cwd=clone, env=environment, check=False).returncode:
            raise UserError(f"`make {target}` failed in a clone of the last commit")
        return {
            "seconds": round(time.monotonic() - started),
            "peak_memory_mib": int(peak.read()) // 1024,
        }


def _keep_results(clone: Path, root: Path) -> None:
    """Replace this checkout's results by the clone's, and take over its DVC cache."""
    outputs = [Path(output).parts for output in recorded_outputs(clone)]
    here, there = cache_folder(root), cache_folder(clone)
    if here != there:  # a user may have given all repositories the same one
        shutil.copytree(there, here, dirs_exist_ok=True, copy_function=_copy_new)
    for name in dict.fromkeys(parts[1] for parts in outputs if parts[0] == "reports"):
        _keep_folder(clone, root, name)
    shutil.copy(clone / "dvc.lock", root / "dvc.lock")  # last: it says that the rest is there


def _copy_new(source: str, target: str) -> None:
    """Copy a file of DVC's cache; one of that name has the same content, and is write-protected."""
    if not Path(target).exists():
        part = f"{target}.part"  # a copy cut short must not pass for the content of that name
        shutil.copy2(source, part)
        Path(part).replace(target)


def _commit(clone: Path) -> None:
    """Make a clone's results the recorded ones there, which `make verify` holds its own against."""
    # Whatever a user has git do at a commit is not meant for this one.
    settings = ("user.name=record", "user.email=record@localhost", "commit.gpgsign=false")
    options = [part for setting in settings for part in ("-c", setting)]
    commit = ("commit", "--quiet", "--no-verify", "--allow-empty", "--message", "Results")
    for arguments in (("add", "--all"), (*options, *commit)):
        done = subprocess.run(["git", *arguments], cwd=clone, check=False)
        if done.returncode:
            raise UserError("git could not commit the results in the clone")


def _keep_folder(clone: Path, root: Path, name: str) -> None:
    """Replace a folder of this checkout's reports by the clone's."""
    shutil.rmtree(root / "reports" / name, ignore_errors=True)
    shutil.copytree(clone / "reports" / name, root / "reports" / name)


if __name__ == "__main__":
    command.run(main)
