"""Measure the time saved by giving each of two concurrent trainings one inter-op thread.

TensorFlow runs independent operations on as many inter-op threads as there are cores. Two processes
on two cores then compete with four threads; with `TF_NUM_INTEROP_THREADS=1`, which `make
replications` sets, each process has one. A measurement trains the same published CNN in two
processes at once and takes the mean of their seconds per epoch. The two settings alternate, so that
other load on the machine affects both alike.

Reads:  the files that `published.py` reads
Writes: reports/benchmarks/side_by_side.json
"""

from concurrent.futures import ThreadPoolExecutor
from statistics import fmean

from benchmarks import epoch, isolated, machine, published
from benchmarks.workloads import ROOT
from sidebyside.config.paths import Paths
from sidebyside.core.files import write_json
from sidebyside.workflow import command

AT_ONCE = 2  # trainings
ROUNDS = 5
THREADS = {"one": "1", "all": "0"}  # values of TF_NUM_INTEROP_THREADS; 0: one per core


def main() -> None:
    """Measure and write the results; with --once, train two models at once and print the mean."""
    parser = command.parser(__doc__)
    parser.add_argument("--once", nargs=2, metavar=("NAME", "KIND"), help="train once")
    once = parser.parse_args().once
    if once:
        print(seconds(*once))
        return
    found = isolated.alternate("side_by_side", published.CNN, ("one", "all"), ROUNDS)
    saved = 1 - found["medians"]["one"] / found["medians"]["all"]
    print(f"{published.CNN}, {AT_ONCE} at once: one inter-op thread each saves {saved:.1%}")
    work = {"name": published.CNN, "images": epoch.IMAGES, "processes": AT_ONCE}
    result = {"machine": machine.describe(), **work, **found, "saved": saved}
    write_json(Paths(ROOT).report("benchmarks") / "side_by_side.json", result)


def seconds(name: str, kind: str) -> float:
    """Return the mean seconds per epoch of concurrent processes."""
    environment = {"TF_NUM_INTEROP_THREADS": THREADS[kind]}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = [
            pool.submit(isolated.measure, "published", name, environment=environment)
            for _ in range(AT_ONCE)
        ]
        return fmean(process.result() for process in running)


if __name__ == "__main__":
    command.run(main)
