"""The time of an epoch as the stages train it, where a benchmark changes what is around it."""

from collections.abc import Callable

from benchmarks.workloads import ROOT
from sidebyside.config.hyperparameters import Hyperparameters
from sidebyside.config.paths import Paths
from sidebyside.core.seeding import generator
from sidebyside.data.npz import read_split
from sidebyside.data.splitting import subsample
from sidebyside.models.tensorflow_setup import configure

IMAGES = 12_000  # of the train split: a quarter of an epoch


def seconds(
    model: str,
    record: Hyperparameters,
    *,
    threads: int,
    validated: int,
    change: Callable[[], None] = lambda: None,
) -> float:
    """Train on IMAGES for two epochs and return the seconds of the second, which traces nothing.

    Args:
        model: the architecture, a key of RECORDS.
        record: its hyperparameters.
        threads: intra-op ones.
        validated: images that the model is scored on at the end of an epoch.
        change: made to the library before the model is built, once TensorFlow is configured.
    """
    train = subsample(read_split(Paths(ROOT).split("train")), IMAGES, generator(1, "benchmark"))
    configure(threads)
    from sidebyside.models import architectures
    from sidebyside.training import loop  # noqa: PLC0415 (TensorFlow has to be configured first)

    change()
    taken: list[float] = []
    loop.train(
        architectures.build(model, record, 1),
        record,
        train,
        subsample(train, validated, generator(1, "benchmark")),
        seed=1,
        epochs=2,
        patience=2,
        monitor="val_loss",
        on_epoch=lambda row, duration: taken.append(duration),
    )
    return taken[-1]
