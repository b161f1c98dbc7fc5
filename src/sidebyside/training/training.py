"""A training as a stage runs it: goes on where it stopped, says how it goes, logs its curves."""

from collections.abc import Callable
from pathlib import Path

import keras

from sidebyside.config.hyperparameters import Hyperparameters
from sidebyside.core.seeding import derive_seed
from sidebyside.data.splits import Split
from sidebyside.models import architectures
from sidebyside.tracking import stages
from sidebyside.tracking.runs import Run
from sidebyside.training import loop
from sidebyside.training.history import Epoch, Progress
from sidebyside.workflow.progress import duration, step_bar


def train_model(
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
        stages.log_epochs(run, [row])
        print(
            f"{label} epoch {row['epoch']}/{epochs}: loss {row['loss']:.4f},"
            f" val_loss {row['val_loss']:.4f}, val_accuracy {row['val_accuracy']:.4f},"
            f" {seconds:.1f} s, at most {duration(seconds * (epochs - row['epoch']))} left",
            flush=True,
        )

    network = architectures.build(model, record, derive_seed(seed, "weights"))
    with step_bar(label) as on_steps:
        progress = loop.train(
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
    return architectures.portable(network), progress
