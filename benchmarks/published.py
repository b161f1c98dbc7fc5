"""A published model as the replications train it, for two epochs on a quarter of the train split.

Prints the seconds of the second, which has no tracing in it.

Reads:  replications/params.yaml, replications/results/searches/, data/processed/train.npz
"""

from collections.abc import Callable

from benchmarks.workloads import ROOT

from fashion import command, data
from fashion.paths import Paths
from fashion.randomness import generator
from fashion.replication import read_plan
from fashion.runtime import configure

CNN = "2-cnn"  # what system 2 prints, of the kind that takes most of the time
IMAGES = 12_000  # of the train split: a quarter of an epoch


def main() -> None:
    """Train a model and print the seconds."""
    parser = command.parser(__doc__)
    parser.add_argument("name", help="of a model in replications/params.yaml")
    print(seconds(parser.parse_args().name))


def seconds(name: str, change: Callable[[], None] = lambda: None) -> float:
    """Train for two epochs and return the seconds of the second.

    Args:
        name: of a model in replications/params.yaml.
        change: made to the library before the model is built, once TensorFlow is configured.
    """
    folder = ROOT / "replications"
    plan = read_plan(folder / "params.yaml")
    record = plan.record(name, folder / "results/searches")
    train = data.sample(
        data.read_split(Paths(ROOT).split("train")), IMAGES, generator(1, "benchmark")
    )
    configure(plan.threads)
    from fashion import models, training  # noqa: PLC0415 (TensorFlow has to be configured first)

    change()
    taken: list[float] = []
    training.train(
        models.build(plan.trained[name].model, record, 1),
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
