"""Run everything from scratch in a clone of the last commit, and record its results and times.

The pipeline's results in git come from this command alone: it clones the last commit into a
temporary folder, runs targets of the Makefile there, and copies dvc.lock, the results in reports/
and the DVC cache back. reports/provenance.json holds the provenance of the outputs;
reports/run.json holds the wall time, memory and machine of each target, because targets may be
recorded one by one.
"""

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sidebyside.config.paths import CHECKOUT
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json
from sidebyside.core.fingerprint import machine_facts, processor_name
from sidebyside.execution import process_group
from sidebyside.reproducibility import gather_provenance
from sidebyside.reproducibility.clones import cache_folder, clean_environment, clone, commit_all
from sidebyside.reproducibility.seed_variance import FOLDER
from sidebyside.workflow import command
from sidebyside.workflow.graph import LOCK, recorded_outputs
from sidebyside.workflow.provenance import source

TARGETS = ("install", "repro", "test", "smoke", "verify-smoke", "verify")
EXPERIMENTS = ("bfloat16", "thorough")  # targets whose scores are in reports/<target>
DATASETS = ("mnist",)  # likewise, on another data set
OPTIONAL = (*EXPERIMENTS, *DATASETS, FOLDER)  # targets with a folder of results in reports/
# Run a command and write the peak memory of its largest process, in KiB, to a file. This runs in a
# separate small process, because on Linux a child starts with the peak memory of its parent.
MEASURE = """
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
        metavar="target",
        help=f"target to run: {', '.join(OPTIONAL)}, or (the default) {' '.join(TARGETS)}",
    )
    targets = parser.parse_args().targets or TARGETS
    for target in targets:  # not by `choices`, with which argparse refuses an empty list
        if target not in (*TARGETS, *OPTIONAL):  # its results would be deleted with the clone
            parser.error(
                f"{target} cannot be recorded: choose from {', '.join(OPTIONAL)},"
                f" {', '.join(TARGETS)}"
            )
    record(CHECKOUT, targets)


def record(root: Path, targets: Sequence[str]) -> None:
    """Run targets of the Makefile in a clone of `root`, and copy their results to `root`.

    Raises:
        UserError: tracked files have changed, there is no commit, or a target fails.
    """
    if source(root).dirty:
        raise UserError("tracked files differ from the last commit: commit them first")
    file = root / "reports/run.json"
    with tempfile.TemporaryDirectory() as folder:
        checkout = clone(root, Path(folder) / "clone")
        for target in targets:
            measured = _run(target, checkout, root)
            runs = read_json(file)["runs"] if file.exists() else {}
            write_json(file, {"runs": {**runs, target: {**measured, **_machine()}}})


def _run(target: str, checkout: Path, root: Path) -> dict[str, int]:
    """Run a target in a clone and copy its results to `root`; return its time and memory."""
    if target == "verify":
        for file in (checkout / "reports").glob("verification*.md"):
            file.unlink()  # the target writes one of them
    measured = _make(target, checkout)
    if target == "repro":
        print(gather_provenance.write_gathered(checkout))
        _copy_results(checkout, root)
        _make("readme", checkout)  # `make test` compares the pages with the results
        commit_all(checkout, "record")  # `make verify` compares with the last commit
    if target in OPTIONAL:
        _replace_folder(checkout, root, target)
    if target == "verify":
        for file in (checkout / "reports").glob("verification*.md"):
            shutil.copy(file, root / "reports")
    return measured


def _machine() -> dict[str, int | str | None]:
    """Return the machine of a measurement; `instructions` distinguishes equal processor names."""
    return {
        "processor": processor_name(),
        "instructions": machine_facts()["processor"],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def _make(target: str, checkout: Path) -> dict[str, int]:
    """Run a target; return its wall time and the peak memory of its largest process.

    Raises:
        UserError: it fails.
    """
    environment = clean_environment()
    environment.pop("PYTHONPATH", None)  # of this checkout; the clone has its own
    start = time.monotonic()
    with tempfile.NamedTemporaryFile("r") as peak:
        measure = [sys.executable, "-I", "-S", "-c", MEASURE, peak.name]
        line = [*measure, "make", target]
        if process_group.call(line, checkout, environment):
            raise UserError(f"`make {target}` failed in a clone of the last commit")
        return {
            "seconds": round(time.monotonic() - start),
            "peak_memory_mib": int(peak.read()) // 1024,
        }


def _copy_results(checkout: Path, root: Path) -> None:
    """Replace the results in `root` by those of a clone, and add its DVC cache."""
    outputs = [Path(output).parts for output in recorded_outputs(checkout)]
    cache, new = cache_folder(root), cache_folder(checkout)
    if cache != new:  # a user may have configured one cache for all repositories
        shutil.copytree(new, cache, dirs_exist_ok=True, copy_function=_copy_missing)
    for name in dict.fromkeys(parts[1] for parts in outputs if parts[0] == "reports"):
        _replace_folder(checkout, root, name)
    gathered = gather_provenance.recorded_file(checkout).relative_to(checkout)
    shutil.copy(checkout / gathered, root / gathered)
    shutil.copy(checkout / LOCK, root / LOCK)  # last: it refers to everything before


def _copy_missing(source: str, target: str) -> None:
    """Copy a file of a DVC cache unless it is there: equal names have equal contents."""
    if not Path(target).exists():
        part = f"{target}.part"  # an interrupted copy must not leave a truncated file in the cache
        shutil.copy2(source, part)
        Path(part).replace(target)


def _replace_folder(checkout: Path, root: Path, name: str) -> None:
    """Replace a folder in reports/ by that of a clone."""
    shutil.rmtree(root / "reports" / name, ignore_errors=True)
    shutil.copytree(checkout / "reports" / name, root / "reports" / name)


if __name__ == "__main__":
    command.run(main)
