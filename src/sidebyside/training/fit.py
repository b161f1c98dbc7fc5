"""Train one model from its hyperparameters and a seed."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import keras

from sidebyside.config.hyperparameters import parse_hyperparameters
from sidebyside.core.jobs import Done, Executor, Failed
from sidebyside.core.seeding import derive_seed
from sidebyside.models import architectures
from sidebyside.training.checkpoint import damaged_checkpoint, read_checkpoint
from sidebyside.training.history import Epoch, Progress
from sidebyside.training.jobs import Trained, TrainingTask, training_job
from sidebyside.training.loop import deliver


def train_model(
    task: TrainingTask,
    execute: Executor,
    *,
    checkpoint: Path,
    on_epoch: Callable[[Epoch, float], None] = lambda epoch, seconds: None,
    on_steps: Callable[[int, int], None] = lambda step, steps: None,
) -> tuple[keras.Model, Progress]:
    """Return a trained model made of Keras's built-in layers, and its progress.

    Args:
        task: what to train.
        execute: runs the training; it has the arrays of `training_arrays`.
        checkpoint: as for `loop.train`; so are `on_epoch` and `on_steps`.

    Raises:
        TrainingError: as `loop.train` raises it.
        UserError: the checkpoint is damaged, or the training was lost too often.
    """
    trained = _run(task, execute, checkpoint, on_epoch, on_steps)
    hyperparameters = parse_hyperparameters(task.model, task.values, task.name)
    seed = derive_seed(task.seed, "weights")
    model = architectures.build(task.model, hyperparameters, task.dataset, seed)
    for variable, value in zip(model.variables, trained.weights, strict=True):
        variable.assign(value)
    return architectures.to_builtin_layers(model), trained.progress


def _run(
    task: TrainingTask,
    execute: Executor,
    checkpoint: Path,
    on_epoch: Callable[[Epoch, float], None],
    on_steps: Callable[[int, int], None],
) -> Trained:
    """Run the training and follow it."""
    with damaged_checkpoint(checkpoint):
        for event in execute([training_job(task, read_checkpoint(checkpoint))]):
            if isinstance(event, Done):
                return cast(Trained, event.result)
            if isinstance(event, Failed):
                raise event.error
            deliver((event.content, event.checkpoint), checkpoint, on_epoch, on_steps)
    raise AssertionError("an executor ends each job")
