"""Train small models on a few hundred learnable images."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sidebyside.config.hyperparameters import Hyperparameters, parse_hyperparameters
from sidebyside.data.splits import Split
from sidebyside.models import architectures
from sidebyside.models.saving import weights_digest
from sidebyside.training import loop
from sidebyside.training.history import Epoch, Progress
from tests.support.datasets import dataset

COMMON: dict[str, Any] = {
    "activation": "relu",
    "kernel_initializer": "glorot_uniform",
    "dropout": 0.0,
    "batch_norm": False,
    "l2": 0.0,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "schedule": "cosine",
    "warmup_epochs": 0.5,
    "weight_decay": 0.0,
    "batch_size": 32,
    "label_smoothing": 0.0,
    "flip": False,
    "shift": 0,
    "cutout": 0,
    "weight_averaging": 0.0,
    "precision": "float32",
}
MLP = COMMON | {"hidden_units": [16], "input_dropout": 0.0}
CNN = COMMON | {
    "filters": [4],
    "convolutions": [1],
    "kernel_size": 3,
    "padding": "valid",
    "pool_last": True,
    "head": "flatten",
    "dense_units": 8,
    "block_dropout": 0.0,
}
TINY = {"mlp": MLP, "cnn": CNN}
# All hyperparameters whose state a checkpoint has to keep, or that draw random numbers.
EVERYTHING: dict[str, Any] = {
    "dropout": 0.2,
    "batch_norm": True,
    "l2": 0.001,
    "weight_decay": 0.01,
    "label_smoothing": 0.1,
    "flip": True,
    "shift": 2,
    "cutout": 6,
    "weight_averaging": 0.9,
}


class Interrupted(Exception):  # noqa: N818  # stands for Ctrl-C
    """The training is interrupted from outside."""


def blobs(count: int, seed: int) -> Split:
    """Return `count` noisy images with a blob at a position that depends on the class."""
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 10).astype(np.uint8)
    angle = labels * 2 * np.pi / 10
    rows, columns = np.mgrid[:28, :28]
    down = (13.5 + 8 * np.sin(angle))[:, None, None] - rows
    right = (13.5 + 8 * np.cos(angle))[:, None, None] - columns
    brightness = 160 * np.exp(-(down**2 + right**2) / 20)
    noise = random.normal(0, 40, (count, 28, 28))
    return Split(np.clip(brightness + noise, 0, 255).astype(np.uint8), labels)


TRAIN, VAL = blobs(300, 1), blobs(100, 2)  # 300: the last of ten batches has 12 images


def record_of(model: str = "mlp", **changes: Any) -> Hyperparameters:
    """Return the hyperparameters of a small model."""
    return parse_hyperparameters(model, TINY[model] | changes, "test")


def untrained(model: str = "mlp", *, seed: int = 1, **changes: Any) -> keras.Model:
    """Return a small model with its initial weights."""
    return architectures.build(model, record_of(model, **changes), dataset(), seed)


def fit(
    model: str = "mlp",
    *,
    seed: int = 1,
    epochs: int = 3,
    patience: int = 100,
    monitor: str = "val_accuracy",
    keep: str = "best",
    parts: int = 1,
    train: Split = TRAIN,
    checkpoint: Path | None = None,
    interrupt_at: int = 0,
    on_epoch: Callable[[keras.Model, Epoch], None] = lambda network, row: None,
    on_steps: Callable[[int, int], None] = lambda done, total: None,
    **changes: Any,
) -> tuple[keras.Model, Progress]:
    """Return a trained model and its progress.

    Raises:
        Interrupted: at the end of epoch `interrupt_at`, if it is computed.
    """
    record = record_of(model, **changes)
    network = architectures.build(model, record, dataset(), seed)

    def after_epoch(row: Epoch, seconds: float) -> None:
        on_epoch(network, row)
        if row["epoch"] == interrupt_at:
            raise Interrupted

    progress = loop.train(
        network,
        record,
        train,
        VAL,
        seed=seed,
        epochs=epochs,
        patience=patience,
        monitor=monitor,
        keep=keep,
        parts=parts,
        on_epoch=after_epoch,
        on_steps=on_steps,
        checkpoint=checkpoint,
    )
    return network, progress


@functools.cache
def fitted() -> tuple[keras.Model, Progress]:
    """Return the model that `fit` trains by default, trained once per process."""
    return fit()


def identity(result: tuple[keras.Model, Progress]) -> tuple[str, Progress]:
    """Return values that are equal exactly if two trainings gave the same result."""
    return weights_digest(result[0]), result[1]
