"""Time an epoch of training, optionally after a change to the library."""

from collections.abc import Callable

from benchmarks.workloads import ROOT
from sidebyside.config.dataset import read_dataset
from sidebyside.config.hyperparameters import Hyperparameters
from sidebyside.config.paths import Paths
from sidebyside.core.seeding import generator
from sidebyside.data.npz import read_split
from sidebyside.data.splitting import subsample
from sidebyside.models.tensorflow_setup import configure

IMAGES = 12_000  # a quarter of the train split


def seconds(
    model: str,
    record: Hyperparameters,
    *,
    threads: int,
    validated: int,
    change: Callable[[], None] = lambda: None,
) -> float:
    """Return the seconds of the second of two epochs on IMAGES, which does not include tracing.

    Args:
        model: the architecture, a key of RECORDS.
        record: its hyperparameters.
        threads: intra-op threads.
        validated: number of images to validate on at the end of an epoch.
        change: changes the library after TensorFlow is configured, before the model is built.
    """
    paths = Paths(ROOT)
    split = read_split(paths.split("train"), read_dataset(paths.dataset))
    train = subsample(split, IMAGES, generator(1, "benchmark"))
    configure(threads)
    from sidebyside.models import architectures
    from sidebyside.training import loop

    change()
    taken: list[float] = []
    loop.train(
        architectures.build(model, record, read_dataset(paths.dataset), 1),
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
