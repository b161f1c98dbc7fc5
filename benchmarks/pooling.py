"""What GELU and the pooling in one save: seconds per epoch with both, together and apart.

Each measurement is a process of its own that trains the CNN which the second published system
prints, on one thread, as `make replications` does, on a quarter of the train split for two epochs,
and reports the second, which has no tracing in it. The two kinds take turns, so that whatever else
the machine does meets both.

Reads:  replications/params.yaml, data/processed/train.npz
Writes: reports/benchmarks/pooling.json
"""

import os

from benchmarks import isolated, machine
from benchmarks.workloads import ROOT

from fashion import command, data
from fashion.files import write_json
from fashion.paths import Paths
from fashion.randomness import generator
from fashion.replication import read_plan
from fashion.runtime import configure

ROUNDS = 5
IMAGES = 12_000  # of the train split: a quarter of an epoch
NAME = "2-cnn"  # in the params.yaml of the replications


def main() -> None:
    """Measure, or with --once train once and print the seconds."""
    parser = command.parser(__doc__)
    parser.add_argument("--once", nargs=2, metavar=("NAME", "KIND"), help="train once")
    once = parser.parse_args().once
    if once:
        print(seconds(once[0], together=once[1] == "together"))
        return
    found = isolated.take_turns("pooling", NAME, ("together", "apart"), ROUNDS)
    saved = 1 - found["medians"]["together"] / found["medians"]["apart"]
    print(f"{NAME}: GELU and the pooling in one save {saved:.1%}")
    work = {"name": NAME, "images": IMAGES}
    result = {"machine": machine.described(), **work, **found, "saved": saved}
    write_json(Paths(ROOT).report("benchmarks") / "pooling.json", result)


def seconds(name: str, *, together: bool) -> float:
    """Train for two epochs and return the seconds of the second."""
    folder = ROOT / "replications"
    plan = read_plan(folder / "params.yaml")
    record = plan.record(name, folder / "results/searches")
    train = data.sample(
        data.read_split(Paths(ROOT).split("train")), IMAGES, generator(1, "benchmark")
    )
    # Each has one core, as when two stages of the replications run side by side.
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    configure(plan.threads)
    import tensorflow as tf  # noqa: PLC0415 (it has to be configured first)

    from fashion import kernels, models, training  # noqa: PLC0415 (likewise)

    if not together:
        kernels._gelu_pooled = lambda x: tf.nn.max_pool2d(kernels._gelu(x), 2, 2, "VALID")
    taken: list[float] = []
    training.train(
        models.build("cnn", record, 1),
        record,
        train,
        data.sample(train, 1, generator(1, "benchmark")),
        seed=1,
        epochs=2,
        patience=2,
        monitor="val_loss",
        on_epoch=lambda row, duration: taken.append(duration),
    )
    return taken[-1]


if __name__ == "__main__":
    command.run(main)
