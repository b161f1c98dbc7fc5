"""Train one model from its hyperparameters and a seed."""

from collections.abc import Callable
from pathlib import Path

import keras

from sidebyside.config.dataset import Dataset
from sidebyside.config.hyperparameters import Hyperparameters
from sidebyside.core.seeding import derive_seed
from sidebyside.data.splits import Split
from sidebyside.models import architectures
from sidebyside.training import loop
from sidebyside.training.history import Epoch, Progress


def train_model(
    architecture: str,
    hyperparameters: Hyperparameters,
    dataset: Dataset,
    train_split: Split,
    val_split: Split,
    *,
    seed: int,
    epochs: int,
    patience: int,
    monitor: str,
    keep: str = "best",
    parts: int = 1,
    checkpoint: Path,
    on_epoch: Callable[[Epoch, float], None] = lambda epoch, seconds: None,
    on_steps: Callable[[int, int], None] = lambda step, steps: None,
) -> tuple[keras.Model, Progress]:
    """Return a trained model made of Keras's built-in layers, and its progress.

    Args:
        architecture: a key of RECORDS.
        hyperparameters: the architecture's record.
        dataset: gives the shape of an image and the number of classes.
        train_split: images to learn from.
        val_split: images that `monitor` is measured on.
        seed: seed for the weights, shuffling, random transforms and dropout.
        epochs: as for `loop.train`; so are `patience`, `monitor`, `keep`, `parts`, `checkpoint`,
            `on_epoch` and `on_steps`.

    Raises:
        TrainingError: as `loop.train` raises it.
        UserError: as `loop.train` raises it.
    """
    model = architectures.build(
        architecture, hyperparameters, dataset, derive_seed(seed, "weights")
    )
    progress = loop.train(
        model,
        hyperparameters,
        train_split,
        val_split,
        seed=seed,
        epochs=epochs,
        patience=patience,
        monitor=monitor,
        keep=keep,
        parts=parts,
        on_epoch=on_epoch,
        on_steps=on_steps,
        checkpoint=checkpoint,
    )
    return architectures.to_builtin_layers(model), progress
