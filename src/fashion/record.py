"""Run everything from nothing in a clone of HEAD, time it, and keep the results here.

The results in git come from this command and from nothing else: it clones the last commit into a
temporary folder, runs `make install`, `make repro` and `make test` there, and copies dvc.lock and
reports/ back, with reports/run.json saying how long it took, on which machine.
"""

import os
import platform
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from fashion import command
from fashion.errors import UserError
from fashion.files import write_json
from fashion.provenance import source

TARGETS = ("install", "repro", "test")


def main() -> None:
    """Record a run."""
    parser = command.parser(__doc__)
    parser.add_argument("--keep", type=Path, help="clone into this new folder and keep it")
    keep = parser.parse_args().keep
    root = Path(__file__).resolve().parents[2]
    if source(root).dirty:
        raise UserError("tracked files differ from the last commit: commit them first")
    with tempfile.TemporaryDirectory() as folder:
        clone = keep.resolve() if keep else Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", root, clone], check=True)
        seconds = {target: _timed(target, clone) for target in TARGETS}
        write_json(
            clone / "reports/run.json",
            {
                "seconds": seconds,
                "peak_memory_mib": _peak_memory(),
                "processor": _processor(),
                "cores": os.cpu_count(),
                "python": platform.python_version(),
            },
        )
        shutil.copy(clone / "dvc.lock", root / "dvc.lock")
        shutil.copytree(clone / "reports", root / "reports", dirs_exist_ok=True)


def _timed(target: str, clone: Path) -> int:
    # The environment of this process would point the clone's make at this checkout's programs.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "PYTHONPATH")
    }
    started = time.monotonic()
    done = subprocess.run(["make", target], cwd=clone, env=environment, check=False)
    if done.returncode:
        raise UserError(f"`make {target}` failed in {clone}; nothing was recorded")
    return round(time.monotonic() - started)


def _peak_memory() -> int:
    """Return the most memory that any single process of the run held, in MiB."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    command.run(main)
