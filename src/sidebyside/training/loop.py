"""Fit a model: seeded, deterministic, and resumable bit for bit.

The loop is written out instead of calling `Model.fit`: many steps run inside one TensorFlow
function, on uint8 images that are gathered, transformed and scaled inside it. That saves the
overhead that `fit` has per step, and leaves a state at the end of an epoch that is small and
complete enough to resume bit for bit. Everything random in epoch e follows from (seed, e).
"""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import keras
import numpy as np
import tensorflow as tf

from sidebyside.config.hyperparameters import Hyperparameters
from sidebyside.config.result_files import HISTORY_COLUMNS
from sidebyside.core.errors import TrainingError
from sidebyside.core.files import write_bytes
from sidebyside.core.seeding import derive_seed
from sidebyside.data.splits import Split
from sidebyside.models.architectures import translate_memory_errors
from sidebyside.models.inference import loss_and_accuracy, prediction_function
from sidebyside.training.checkpoint import (
    damaged_checkpoint,
    read_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from sidebyside.training.early_stopping import add_epoch, is_finished
from sidebyside.training.history import Epoch, EpochEnd, News, Progress, Steps, Training
from sidebyside.training.optimizer import build_optimizer, scheduled_learning_rate
from sidebyside.training.step import averaged_weights, seed_dropout, step_function, steps_per_epoch

STEPS_PER_CALL = 25  # about a second of a CNN: the maximum delay of Ctrl-C and the bar


@translate_memory_errors()
def train(
    model: keras.Model,
    hyperparameters: Hyperparameters,
    train_split: Split,
    val_split: Split,
    *,
    seed: int,
    epochs: int,
    patience: int,
    monitor: str,
    keep: str = "best",
    parts: int = 1,
    on_epoch: Callable[[Epoch, float], None] = lambda epoch, seconds: None,
    on_steps: Callable[[int, int], None] = lambda step, steps: None,
    checkpoint: Path | None = None,
) -> Progress:
    """Fit the model in place and restore the weights of its best or last epoch.

    `loss` in the history is the plain cross-entropy of the training batches after random
    transforms and dropout, so it compares with `val_loss`; label smoothing and l2 enter the
    minimised objective only.

    Args:
        model: as `architectures.build` returns it.
        hyperparameters: how to train.
        train_split: images to learn from.
        val_split: images that `monitor` is measured on.
        seed: seed for shuffling, random transforms and dropout.
        epochs: the maximum; the cosine schedule reaches zero at the end of the last one.
        patience: epochs without a better `monitor` before training stops.
        monitor: `val_accuracy` (higher is better) or `val_loss` (lower is better).
        keep: `best`, the epoch with the best `monitor`, or `last`, which then counts as the best.
        parts: parts of a batch, computed side by side; their number decides the bits.
        on_epoch: called after each epoch that was computed, with its row and its seconds.
        on_steps: called several times an epoch with the steps done and their total.
        checkpoint: file to resume from and to save to after each epoch.

    Raises:
        TrainingError: the loss is not finite, batches have fewer images than parts, or there is not
            enough memory.
        UserError: the checkpoint is damaged.
    """
    work = train_epochs(
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
        checkpoint=read_checkpoint(checkpoint),
    )
    with damaged_checkpoint(checkpoint):
        while True:
            try:
                deliver(next(work), checkpoint, on_epoch, on_steps)
            except StopIteration as end:
                return cast(Progress, end.value)


def deliver(
    news: News,
    checkpoint: Path | None,
    on_epoch: Callable[[Epoch, float], None],
    on_steps: Callable[[int, int], None],
) -> None:
    """Save the checkpoint that `train_epochs` yields, and call the callbacks of `train`.

    Args:
        news: what it yields.
        checkpoint: as for `train`; so are `on_epoch` and `on_steps`.
    """
    content, state = news
    if isinstance(content, Steps):
        on_steps(*content)
        return
    if checkpoint is not None and state is not None:
        write_bytes(checkpoint, state)
    on_epoch(*content)


def train_epochs(
    model: keras.Model,
    hyperparameters: Hyperparameters,
    train_split: Split,
    val_split: Split,
    *,
    seed: int,
    epochs: int,
    patience: int,
    monitor: str,
    keep: str = "best",
    parts: int = 1,
    checkpoint: bytes | None = None,
) -> Training:
    """Fit the model as `train` does, but write no file: yield the checkpoint of each epoch.

    Args:
        model: as for `train`; so are the other arguments.
        checkpoint: the state to resume from; None to train from scratch.

    Raises:
        TrainingError: the loss is not finite, or batches have fewer images than parts.
        DamagedCheckpointError: the checkpoint is damaged.
    """
    h = hyperparameters
    steps = steps_per_epoch(len(train_split), h.batch_size, parts)
    used = min(steps * h.batch_size, len(train_split))  # images in an epoch
    averages = [tf.Variable(v) for v in model.trainable_variables] if h.weight_averaging else []
    optimizer = build_optimizer(h)
    optimizer.build(model.trainable_variables)
    run_steps = step_function(model, optimizer, averages, h, train_split, seed, steps, parts)
    predict = prediction_function(model)
    state = [*model.variables, *optimizer.variables, *averages]
    best_state = [v.numpy() for v in model.variables]
    progress = Progress()
    if checkpoint is not None:
        progress = restore_checkpoint(checkpoint, state, best_state)
    while not is_finished(progress, epochs, patience):
        started = time.perf_counter()
        number = progress.epochs
        seed_dropout(model, seed, number * steps * parts)
        order = _order(len(train_split), seed, number)
        sums = np.zeros(2)
        for start, rates in _calls(h, number, steps, epochs):
            sums += run_steps(
                order, tf.constant(number), tf.constant(start), tf.constant(rates, tf.float32)
            ).numpy()
            yield Steps(start + len(rates), steps), None
        loss, accuracy = sums / used
        with averaged_weights(model, averages):
            val_loss, val_accuracy = loss_and_accuracy(predict, val_split)
            scores = (loss, accuracy, val_loss, val_accuracy, rates[-1])
            row = _checked_row(number + 1, *(float(score) for score in scores))
            if add_epoch(progress, row, monitor, keep):
                best_state = [v.numpy() for v in model.variables]
        content = save_checkpoint(state, best_state, progress)
        yield EpochEnd(row, time.perf_counter() - started), content
    for variable, value in zip(model.variables, best_state, strict=True):
        variable.assign(value)
    return progress


def _order(images: int, seed: int, epoch: int) -> tf.Tensor:
    """Return the order of the images in an epoch, int32 [N]: a function of seed and epoch."""
    return tf.random.experimental.stateless_shuffle(
        tf.range(images), seed=[derive_seed(seed, "order"), epoch]
    )


def _calls(
    h: Hyperparameters, epoch: int, steps: int, epochs: int
) -> Iterator[tuple[int, list[float]]]:
    """Yield the first step and the learning rates of each call of the step function."""
    for start in range(0, steps, STEPS_PER_CALL):
        stop = min(start + STEPS_PER_CALL, steps)
        yield (
            start,
            [
                scheduled_learning_rate(h, (epoch * steps + step) / steps, epochs)
                for step in range(start, stop)
            ],
        )


def _checked_row(epoch: int, *scores: float) -> Epoch:
    """Return a row of the history.

    Args:
        epoch: its number, from 1.
        scores: in the order of HISTORY_COLUMNS, without the epoch.

    Raises:
        TrainingError: a score is not finite.
    """
    if not all(math.isfinite(score) for score in scores):
        raise TrainingError(
            f"training diverged in epoch {epoch}: the loss is not finite; lower learning_rate"
        )
    return dict(zip(HISTORY_COLUMNS, (epoch, *scores), strict=True))
