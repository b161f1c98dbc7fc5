"""Measure the time saved by fusing GELU and max pooling, in seconds per epoch.

Each measurement runs in a new process, which trains a published CNN on one core, as `make
replications` does. The fused and the separate layers alternate, so that other load on the machine
affects both alike.

Reads:  the files that `published.py` reads
Writes: reports/benchmarks/pooling.json
"""

import os

from benchmarks import epoch, isolated, machine, published
from benchmarks.workloads import ROOT
from sidebyside.config.paths import Paths
from sidebyside.core.files import write_json
from sidebyside.workflow import command

ROUNDS = 5


def main() -> None:
    """Measure and write the results; with --once, train once and print the seconds."""
    parser = command.parser(__doc__)
    parser.add_argument("--once", nargs=2, metavar=("NAME", "KIND"), help="train once")
    once = parser.parse_args().once
    if once:
        print(seconds(once[0], fused=once[1] == "fused"))
        return
    found = isolated.alternate("pooling", published.CNN, ("fused", "separate"), ROUNDS)
    saved = 1 - found["medians"]["fused"] / found["medians"]["separate"]
    print(f"{published.CNN}: fusing GELU and pooling saves {saved:.1%}")
    work = {"name": published.CNN, "images": epoch.IMAGES}
    result = {"machine": machine.describe(), **work, **found, "saved": saved}
    write_json(Paths(ROOT).report("benchmarks") / "pooling.json", result)


def seconds(name: str, *, fused: bool) -> float:
    """Return the seconds of one epoch."""
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    return published.seconds(name) if fused else published.seconds(name, change=_separate)


def _separate() -> None:
    import tensorflow as tf

    from sidebyside.models import layers

    layers._gelu_pooled = lambda x: tf.nn.max_pool2d(layers._gelu(x), 2, 2, "VALID")


if __name__ == "__main__":
    command.run(main)
