"""What GELU and the pooling in one save: seconds per epoch with both, together and apart.

Each measurement is a process of its own that trains a published CNN on one core, as `make
replications` does. The two kinds take turns, so that whatever else the machine does meets both.

Reads:  what `published.py` does
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
    """Measure, or with --once train once and print the seconds."""
    parser = command.parser(__doc__)
    parser.add_argument("--once", nargs=2, metavar=("NAME", "KIND"), help="train once")
    once = parser.parse_args().once
    if once:
        print(seconds(once[0], together=once[1] == "together"))
        return
    found = isolated.take_turns("pooling", published.CNN, ("together", "apart"), ROUNDS)
    saved = 1 - found["medians"]["together"] / found["medians"]["apart"]
    print(f"{published.CNN}: GELU and the pooling in one save {saved:.1%}")
    work = {"name": published.CNN, "images": epoch.IMAGES}
    result = {"machine": machine.described(), **work, **found, "saved": saved}
    write_json(Paths(ROOT).report("benchmarks") / "pooling.json", result)


def seconds(name: str, *, together: bool) -> float:
    """Return the seconds of an epoch."""
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    return published.seconds(name) if together else published.seconds(name, change=_take_apart)


def _take_apart() -> None:
    import tensorflow as tf  # noqa: PLC0415 (it has to be configured first)

    from sidebyside.models import layers  # noqa: PLC0415 (likewise)

    layers._gelu_pooled = lambda x: tf.nn.max_pool2d(layers._gelu(x), 2, 2, "VALID")


if __name__ == "__main__":
    command.run(main)
