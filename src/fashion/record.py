"""Run everything from nothing in a clone of HEAD, time it, and keep the results here.

The results in git come from this command and from nothing else: it clones the last commit into a
temporary folder, runs the targets of the Makefile there, and copies dvc.lock and reports/ back,
with reports/run.json saying how long each took, on which machine.
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
from fashion.files import read_json, write_json
from fashion.provenance import source

TARGETS = ("install", "repro", "test")


def main() -> None:
    """Record a run."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "targets", nargs="*", default=TARGETS, help=f"what to run; {' '.join(TARGETS)} by default"
    )
    targets = parser.parse_args().targets
    root = Path(__file__).resolve().parents[2]
    if source(root).dirty:
        raise UserError("tracked files differ from the last commit: commit them first")
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", root, clone], check=True)
        record = clone / "reports/run.json"
        earlier = read_json(record) if record.exists() else {}
        runs = {target: _timed(target, clone) for target in targets}
        write_json(
            record,
            {
                "runs": earlier.get("runs", {}) | runs,
                "processor": _processor(),
                "cores": os.cpu_count(),
                "python": platform.python_version(),
            },
        )
        if "repro" in targets:
            shutil.copy(clone / "dvc.lock", root / "dvc.lock")
        shutil.copytree(clone / "reports", root / "reports", dirs_exist_ok=True)


def _timed(target: str, clone: Path) -> dict[str, int]:
    """Run a target; return its wall time and the most memory a process of it or before it held."""
    # The environment of this process would point the clone's make at this checkout's programs.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "PYTHONPATH")
    }
    started = time.monotonic()
    done = subprocess.run(["make", target], cwd=clone, env=environment, check=False)
    if done.returncode:
        raise UserError(f"`make {target}` failed; nothing was recorded")
    kibibytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {"seconds": round(time.monotonic() - started), "peak_memory_mib": kibibytes // 1024}


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    command.run(main)
