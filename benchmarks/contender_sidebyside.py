"""Train with this project's own loop, fused layers and deterministic kernels."""

from collections.abc import Callable

from benchmarks import workloads
from benchmarks.workloads import (
    DENSE_UNITS,
    DROPOUT,
    FILTERS,
    HIDDEN_UNITS,
    LEARNING_RATE,
    Workload,
)
from sidebyside.config.dataset import Dataset
from sidebyside.config.hyperparameters import Hyperparameters, parse_hyperparameters
from sidebyside.data.splits import Split
from sidebyside.models.tensorflow_setup import configure

COMMON = {
    "activation": "relu",
    "kernel_initializer": "glorot_uniform",
    "dropout": DROPOUT,
    "batch_norm": False,
    "l2": 0.0,
    "optimizer": "adam",
    "learning_rate": LEARNING_RATE,
    "schedule": "constant",
    "warmup_epochs": 0,
    "weight_decay": 0.0,
    "label_smoothing": 0.0,
    "flip": False,
    "shift": 0,
    "cutout": 0,
    "weight_averaging": 0.0,
    "precision": "float32",
}
MODELS = {
    "mlp": {"hidden_units": HIDDEN_UNITS, "input_dropout": 0.0},
    "cnn": {
        "filters": FILTERS,
        "convolutions": (1,) * len(FILTERS),
        "kernel_size": 3,
        "padding": "valid",
        "pool_last": False,
        "head": "flatten",
        "dense_units": DENSE_UNITS,
        "block_dropout": 0.0,
    },
}


def record_of(work: Workload) -> Hyperparameters:
    """Return the hyperparameters of a workload."""
    values = {**COMMON, **MODELS[work.model], "batch_size": work.batch_size}
    return parse_hyperparameters(work.model, values, "benchmark")


def dataset_of(work: Workload) -> Dataset:
    """Return the shape and the classes of a workload's images."""
    height, width, channels = work.shape
    return Dataset.model_validate(
        {
            "name": "workload",
            "title": "Workload",
            "height": height,
            "width": width,
            "channels": channels,
            "class_names": tuple(map(str, range(work.classes))),
            "mirror": False,
            "preparation": "stretch",
            "splits": {},
        }
    )


def train(work: Workload, on_epoch: Callable[[], None]) -> None:
    """Train for two epochs."""
    configure(workloads.THREADS)
    from sidebyside.models import architectures
    from sidebyside.training import loop

    record = record_of(work)
    split = Split(work.images, work.labels)
    loop.train(
        architectures.build(work.model, record, dataset_of(work), 1),
        record,
        split,
        Split(work.images[:1], work.labels[:1]),  # the other contenders do not validate
        seed=1,
        epochs=2,
        patience=2,
        monitor="val_loss",
        on_epoch=lambda row, seconds: on_epoch(),
    )


if __name__ == "__main__":
    workloads.measure(train)
