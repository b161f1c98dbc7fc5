"""Trainings as jobs of an executor.

TensorFlow is imported inside a job, after its number of threads is known.
"""

from typing import Any, NamedTuple

from numpy.typing import NDArray

from sidebyside.config.dataset import Dataset
from sidebyside.config.hyperparameters import parse_hyperparameters
from sidebyside.core.errors import TrainingError, UserError
from sidebyside.core.jobs import Arrays, Job
from sidebyside.core.seeding import derive_seed
from sidebyside.data.splits import Split
from sidebyside.models.tensorflow_setup import configure
from sidebyside.training.history import Training
from sidebyside.training.trial import Values


class TrialTask(NamedTuple):
    """One training of a trial's model; the images are arrays of the executor."""

    trial: str  # for messages
    model: str  # the architecture, a key of RECORDS
    values: Values  # all hyperparameters
    dataset: Dataset
    seed: int
    epochs: int  # the maximum
    patience: int
    monitor: str
    threads: int
    parts: int  # of a batch


def training_arrays(train: Split, val: Split) -> dict[str, NDArray[Any]]:
    """Return the arrays of an executor for trainings."""
    return {
        f"{name} {part}": array
        for name, split in (("train", train), ("val", val))
        for part, array in (("images", split.images), ("labels", split.labels))
    }


def trial_job(name: str, task: TrialTask, checkpoint: bytes | None) -> Job:
    """Return the job of a training; its result is a `Progress`, its news those of `Training`."""
    return Job(name, f"{__name__}:{train_trial.__name__}", task, checkpoint)


def train_trial(task: TrialTask, arrays: Arrays, checkpoint: bytes | None) -> Training:
    """Train the model of a trial.

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
        hyperparameters = parse_hyperparameters(task.model, task.values, task.trial)
    except UserError as error:  # each value is possible, but not together with the others
        raise TrainingError(str(error)) from None
    train, val = (
        Split(arrays[f"{name} images"], arrays[f"{name} labels"]) for name in ("train", "val")
    )
    with architectures.translate_memory_errors():
        return (
            yield from loop.train_epochs(
                architectures.build(
                    task.model, hyperparameters, task.dataset, derive_seed(task.seed, "weights")
                ),
                hyperparameters,
                train,
                val,
                seed=task.seed,
                epochs=task.epochs,
                patience=task.patience,
                monitor=task.monitor,
                parts=task.parts,
                checkpoint=checkpoint,
            )
        )
