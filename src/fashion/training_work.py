"""A training as a stage runs it: goes on where it stopped, says how it goes, logs its curves."""

from collections.abc import Callable
from pathlib import Path

import keras

from fashion import models, training, training_log
from fashion.data import Split
from fashion.hyperparameters import Hyperparameters
from fashion.progress import duration, step_bar
from fashion.randomness import derive_seed
from fashion.tracking import Run
from fashion.training import Epoch, Progress


def train(
    model: str,
    record: Hyperparameters,
    train_split: Split,
    val_split: Split,
    *,
    label: str,
    seed: int,
    epochs: int,
    patience: int,
    monitor: str,
    keep: str,
    run: Run,
    checkpoint: Path,
    on_epoch: Callable[[], None] = lambda: None,
) -> tuple[keras.Model, Progress]:
    """Return a trained model of Keras's own layers and its history.

    Args:
        model: the architecture, a key of RECORDS.
        record: its hyperparameters.
        train_split: what it learns from.
        val_split: what `monitor` is measured on.
        label: begins every line that is printed.
        seed: of the weights, the order, the image changes and the dropout masks.
        epochs: as for `training.train`; so are `patience`, `monitor`, `keep`, `checkpoint`.
        run: gets the curves, epoch by epoch.
        on_epoch: called when an epoch is in the checkpoint.

    Raises:
        UserError: as `training.train` raises it.
    """

    def report(row: Epoch, seconds: float) -> None:
        on_epoch()
        training_log.log_epochs(run, [row])
        print(
            f"{label} epoch {row['epoch']}/{epochs}: loss {row['loss']:.4f},"
            f" val_loss {row['val_loss']:.4f}, val_accuracy {row['val_accuracy']:.4f},"
            f" {seconds:.1f} s, at most {duration(seconds * (epochs - row['epoch']))} left",
            flush=True,
        )

    network = models.build(model, record, derive_seed(seed, "weights"))
    with step_bar(label) as on_steps:
        progress = training.train(
            network,
            record,
            train_split,
            val_split,
            seed=seed,
            epochs=epochs,
            patience=patience,
            monitor=monitor,
            keep=keep,
            on_epoch=report,
            on_steps=on_steps,
            checkpoint=checkpoint,
        )
    return models.portable(network), progress
