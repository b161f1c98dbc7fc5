"""Where the time of `dvc repro` goes that is no training: imports, data, logging, saving, figures.

The last commit is cloned and run from nothing under py-spy, which looks at the stack of every
process twenty times a second. A sample counts for what its innermost telling frame belongs to. Then
the commands that do next to nothing are timed. Needs `make peers`.

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
RATE = 20  # samples a second, about
TIMES = 5  # of the short commands
STAGES = ("download", "preprocess", "augment", "tune", "train", "evaluate")

TRAINING = ("training steps", "validation", "tracing", "prediction")
# The first pattern that a frame matches, from the innermost frame outwards, says what it is.
KINDS: Mapping[str, str] = {
    r"importlib/|<frozen importlib": "imports",
    r"fashion/(tracking|store)\.py|mlflow/": "logging",
    r"(_save|_restore|save_model|_canonical) \(\S*fashion/training|fashion/files\.py": "saving",
    r"fashion/(plots|report|page)\.py": "figures and report",
    r"_score \(\S*fashion/training": "validation",
    r"get_concrete_function|_maybe_define_function|trace_function": "tracing",
    r"train \(\S*fashion/training": "training steps",
    r"(?<!_)predict \(\S*fashion/training": "prediction",
    r"fashion/models\.py": "building the model",
    r"fashion/(data|augmentation|sources)\.py": "data",
    r"fashion/evaluation\.py": "scores",
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
        training = sum(kinds.get(kind, 0) for kinds in stages.values() for kind in TRAINING)
        logging = sum(stages[stage].get("logging", 0) for stage in ("tune", "train"))
        short = {
            "dvc status": ["dvc", "status"],
            "dvc repro, nothing to do": ["dvc", "repro"],
            **{
                f"{stage}.py --help": ["python", f"pipeline/{stage}.py", "--help"]
                for stage in STAGES
            },
        }
        seconds = {what: timed(line, checkout) for what, line in short.items()}
    write_json(
        Paths(ROOT).report("benchmarks") / "overheads.json",
        {
            "machine": machine.described(),
            "seconds": whole,
            "overhead": 1 - training / whole,
            "logging_of_training": logging / training,
            "stages": stages,
            "short_commands": seconds,
        },
    )


def by_stage(lines: Iterable[str], seconds: float) -> dict[str, dict[str, float]]:
    """Return stage → kind of work → seconds, of the main threads of the stages' processes.

    DVC's own main thread is there from beginning to end: its samples stand for all the seconds, so
    the rate need not be known, which is not quite the one that was asked for; and what of them no
    stage has is DVC's own work, with the start of the stages' processes.

    Args:
        lines: of py-spy's raw format: frames from the outermost, separated by semicolons, and how
            often that stack was seen.
        seconds: that the whole took.
    """
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    all_samples = 0
    for line in lines:
        stack, _, count = line.rpartition(" ")
        if re.match(r'process (\d+):"[^"]*";thread \(\1\)', stack):
            all_samples += int(count)
        # The processes that started it stand before it.
        main_thread = re.search(
            r'process (\d+):"[^"]*pipeline/(\w+)\.py[^"]*";thread \(\1\)', stack
        )
        if main_thread:
            found[main_thread[2]][kind(stack.split(";"))] += int(count)
    found["dvc"][REST] = all_samples - sum(kinds.total() for kinds in found.values())
    return {
        stage: {what: seconds * n / all_samples for what, n in found[stage].most_common()}
        for stage in (*STAGES, "dvc")
        if stage in found
    }


def kind(frames: list[str]) -> str:
    """Return what a stack is at: the kind of its innermost frame that is of one."""
    for frame in reversed(frames):
        for pattern, name in KINDS.items():
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
