"""What it saves that either of two stages that run side by side keeps to one thread.

TensorFlow runs operations that do not need each other on as many threads as there are cores. Two
processes on two cores then have four of them, which take turns; with `TF_NUM_INTEROP_THREADS=1`,
as `make replications` has it, each process has one. A measurement is two processes that train the
same published CNN at the same time, and the mean of their seconds per epoch. The two kinds take
turns, so that whatever else the machine does meets both.

Reads:  what `published.py` does
Writes: reports/benchmarks/side_by_side.json
"""

from concurrent.futures import ThreadPoolExecutor
from statistics import fmean

from benchmarks import epoch, isolated, machine, published
from benchmarks.workloads import ROOT
from sidebyside.config.paths import Paths
from sidebyside.core.files import write_json
from sidebyside.workflow import command
from study.run import AT_ONCE

ROUNDS = 5
THREADS = {"one": "1", "all": "0"}  # of TF_NUM_INTEROP_THREADS; 0 is one for each core


def main() -> None:
    """Measure, or with --once train once, two at a time, and print the mean of their seconds."""
    parser = command.parser(__doc__)
    parser.add_argument("--once", nargs=2, metavar=("NAME", "KIND"), help="train once")
    once = parser.parse_args().once
    if once:
        print(seconds(*once))
        return
    found = isolated.take_turns("side_by_side", published.CNN, ("one", "all"), ROUNDS)
    saved = 1 - found["medians"]["one"] / found["medians"]["all"]
    print(f"{published.CNN}, {AT_ONCE} at a time: one thread for each saves {saved:.1%}")
    work = {"name": published.CNN, "images": epoch.IMAGES, "processes": AT_ONCE}
    result = {"machine": machine.described(), **work, **found, "saved": saved}
    write_json(Paths(ROOT).report("benchmarks") / "side_by_side.json", result)


def seconds(name: str, kind: str) -> float:
    """Return the mean seconds of an epoch of processes that run at the same time."""
    environment = {"TF_NUM_INTEROP_THREADS": THREADS[kind]}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = [
            pool.submit(isolated.measure, "published", name, environment=environment)
            for _ in range(AT_ONCE)
        ]
        return fmean(process.result() for process in running)


if __name__ == "__main__":
    command.run(main)
