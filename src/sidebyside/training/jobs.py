"""Trainings as jobs of an executor.

TensorFlow is imported inside a job, after its number of threads is known.
"""

from collections.abc import Generator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidebyside.config.dataset import Dataset
from sidebyside.config.hyperparameters import parse_hyperparameters
from sidebyside.core.errors import TrainingError, UserError
from sidebyside.core.jobs import Arrays, Job
from sidebyside.core.seeding import derive_seed
from sidebyside.data.splits import Split
from sidebyside.models.tensorflow_setup import configure
from sidebyside.training.history import News, Progress
from sidebyside.training.trial import Values


class TrainingTask(NamedTuple):
    """One training; the images are arrays of the executor."""

    name: str  # for messages
    model: str  # the architecture, a key of RECORDS
    values: Values  # all hyperparameters, as JSON values
    dataset: Dataset  # gives the shape of an image and the number of classes
    seed: int  # for the weights, shuffling, random transforms and dropout
    epochs: int  # these four as for `loop.train`
    patience: int
    monitor: str
    keep: str
    threads: int  # per TensorFlow operation
    parts: int  # of a batch


class Trained(NamedTuple):
    """The result of a training."""

    progress: Progress
    weights: list[NDArray[np.float32]]  # of the kept epoch, as `model.variables`


def training_arrays(train: Split, val: Split) -> dict[str, NDArray[Any]]:
    """Return the arrays of an executor for trainings."""
    return {
        f"{name} {part}": array
        for name, split in (("train", train), ("val", val))
        for part, array in (("images", split.images), ("labels", split.labels))
    }


def training_job(task: TrainingTask, checkpoint: bytes | None) -> Job:
    """Return the job of a training; its result is a `Trained`, its news those of `train_epochs`."""
    return Job(task.name, f"{__name__}:{train_task.__name__}", task, checkpoint)


def train_task(
    task: TrainingTask, arrays: Arrays, checkpoint: bytes | None
) -> Generator[News, None, Trained]:
    """Train a model.

    Args:
        task: what to train.
        arrays: as `training_arrays` returns them.
        checkpoint: the state to resume from.

    Raises:
        TrainingError: the hyperparameters cannot be combined, the loss is not finite, or there is
            not enough memory.
        DamagedCheckpointError: the checkpoint is damaged.
    """
    configure(task.threads)
    from sidebyside.models import architectures
    from sidebyside.training import loop

    try:
        hyperparameters = parse_hyperparameters(task.model, task.values, task.name)
    except UserError as error:  # each value is possible, but not together with the others
        raise TrainingError(str(error)) from None
    train, val = (
        Split(arrays[f"{name} images"], arrays[f"{name} labels"]) for name in ("train", "val")
    )
    with architectures.translate_memory_errors():
        model = architectures.build(
            task.model, hyperparameters, task.dataset, derive_seed(task.seed, "weights")
        )
        progress = yield from loop.train_epochs(
            model,
            hyperparameters,
            train,
            val,
            seed=task.seed,
            epochs=task.epochs,
            patience=task.patience,
            monitor=task.monitor,
            keep=task.keep,
            parts=task.parts,
            checkpoint=checkpoint,
        )
        return Trained(progress, [variable.numpy() for variable in model.variables])
