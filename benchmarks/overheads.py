"""Measure the time that `dvc repro` spends on imports, data, logging, saving and figures.

The last commit is cloned and reproduced from scratch under py-spy, which samples the stack of every
process twenty times a second. A sample belongs to the category of the innermost frame that has one.
Then commands with almost no work are timed. Needs `make peers`.

Reads:  the last commit
Writes: reports/benchmarks/overheads.json
"""

import re
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median

from benchmarks import machine
from benchmarks.workloads import ROOT
from sidebyside.config.paths import Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_json
from sidebyside.reproducibility.clones import clean_environment, clone, delete_results
from sidebyside.workflow import command

SPY = ROOT / ".venv-peers/bin/py-spy"
RATE = 20  # samples per second, approximately
TIMES = 5  # runs of each short command
STAGES = ("download", "preprocess", "augment", "tune", "train", "evaluate")

TRAINING = ("training steps", "validation", "tracing", "prediction")
# Pattern of a frame → category; the first that matches counts.
CATEGORIES: Mapping[str, str] = {
    r"importlib/|<frozen importlib": "imports",
    r"sidebyside/tracking/|mlflow/": "logging",
    r"sidebyside/(training/checkpoint|models/saving|core/files)\.py": "saving",
    r"sidebyside/reporting/": "figures and report",
    r"loss_and_accuracy \(\S*sidebyside/models/inference\.py": "validation",
    r"get_concrete_function|_maybe_define_function|trace_function": "tracing",
    r"sidebyside/training/loop\.py": "training steps",
    r"predict_probabilities \(\S*sidebyside/models/inference\.py": "prediction",
    r"sidebyside/models/architectures\.py": "building the model",
    r"sidebyside/data/": "data",
    r"sidebyside/evaluation/": "scores",
}
REST = "rest"


def main() -> None:
    """Measure and write the results."""
    command.parser(__doc__).parse_args()
    if not SPY.exists():
        raise UserError(f"{SPY.relative_to(ROOT)} is missing: run `make peers`")
    with tempfile.TemporaryDirectory() as name:
        checkout = clone(ROOT, Path(name) / "clone")
        delete_results(checkout)
        samples = Path(name) / "samples.txt"
        spy = [str(SPY), "record", "--subprocesses", "--idle", "--threads"]
        output = ["--format", "raw", "--rate", str(RATE), "--output", str(samples)]
        started = time.monotonic()
        line = [*spy, *output, "--", "dvc", "repro"]
        if subprocess.run(line, cwd=checkout, env=clean_environment(), check=False).returncode:
            raise UserError("`dvc repro` failed in a clone of the last commit")
        whole = time.monotonic() - started
        stages = by_stage(samples.read_text(encoding="utf-8").splitlines(), whole)
        training = sum(found.get(name, 0) for found in stages.values() for name in TRAINING)
        logging = sum(stages[stage].get("logging", 0) for stage in ("tune", "train"))
        short = {
            "dvc status": ["dvc", "status"],
            "dvc repro, nothing to do": ["dvc", "repro"],
            **{
                f"{stage}.py --help": ["python", f"pipeline/{stage}.py", "--help"]
                for stage in STAGES
            },
        }
        seconds = {name: timed(line, checkout) for name, line in short.items()}
    write_json(
        Paths(ROOT).report("benchmarks") / "overheads.json",
        {
            "machine": machine.describe(),
            "seconds": whole,
            "overhead": 1 - training / whole,
            "logging_of_training": logging / training,
            "stages": stages,
            "short_commands": seconds,
        },
    )


def by_stage(lines: Iterable[str], seconds: float) -> dict[str, dict[str, float]]:
    """Return the seconds of each stage by category, from the main threads of its processes.

    DVC's main thread runs from start to end, so its samples cover the total seconds; py-spy's
    actual rate differs from the requested one and is not needed. Samples without a stage are DVC's
    own work and the start of the stages' processes.

    Args:
        lines: py-spy's raw format: frames from the outermost, separated by semicolons, and the
            number of samples with that stack.
        seconds: duration of the whole run.
    """
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    all_samples = 0
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if re.match(r'process (\d+):"[^"]*";thread \(\1\)', stack):
            all_samples += int(count)
        # The stack begins with the parent processes.
        main_thread = re.search(
            r'process (\d+):"[^"]*pipeline/(\w+)\.py[^"]*";thread \(\1\)', stack
        )
        if main_thread:
            found[main_thread[2]][category(stack.split(";"))] += int(count)
    found["dvc"][REST] = all_samples - sum(counts.total() for counts in found.values())
    return {
        stage: {name: seconds * n / all_samples for name, n in found[stage].most_common()}
        for stage in (*STAGES, "dvc")
        if stage in found
    }


def category(frames: list[str]) -> str:
    """Return the category of a stack: that of its innermost frame that has one."""
    for frame in reversed(frames):
        for pattern, name in CATEGORIES.items():
            if re.search(pattern, frame):
                return name
    return REST


def timed(line: list[str], folder: Path) -> float:
    """Return the median seconds of a command."""
    taken = []
    for _ in range(TIMES):
        started = time.monotonic()
        environment = {**clean_environment(), "PYTHONPATH": "src"}
        done = subprocess.run(
            line, cwd=folder, env=environment, check=False, stdout=subprocess.DEVNULL
        )
        taken.append(time.monotonic() - started)
        if done.returncode:
            raise UserError(f"`{' '.join(line)}` failed")
    return median(taken)


if __name__ == "__main__":
    command.run(main)
