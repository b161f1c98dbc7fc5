"""Fit a model: seeded, deterministic, and able to go on exactly where it was stopped.

The loop is written out instead of calling `Model.fit`: many steps run inside one TensorFlow
function, on uint8 images that are drawn, mirrored, shifted and scaled inside it. That leaves out
`fit`'s cost per step, and makes the state at the end of an epoch small and complete enough to
resume from to the bit. Everything random in epoch e follows from (seed, e).
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sidebyside.config.dataset import CLASSES
from sidebyside.config.hyperparameters import Hyperparameters
from sidebyside.config.schemas import HISTORY
from sidebyside.core.errors import TrainingError
from sidebyside.core.seeding import derive_seed
from sidebyside.data.splits import ALIGNMENT, Split
from sidebyside.models.architectures import memory_errors_named
from sidebyside.models.inference import (
    loss_and_accuracy,
    prediction_function,
)
from sidebyside.training.checkpoint import restore_checkpoint, save_checkpoint
from sidebyside.training.history import Epoch, Progress
from sidebyside.training.optimizer import build_optimizer, scheduled_learning_rate
from sidebyside.training.random_transforms import transform_randomly

STEPS_PER_CALL = 25  # about a second of a CNN: how long Ctrl-C and the progress line may wait


@memory_errors_named()
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
    on_epoch: Callable[[Epoch, float], None] = lambda epoch, seconds: None,
    on_steps: Callable[[int, int], None] = lambda step, steps: None,
    checkpoint: Path | None = None,
) -> Progress:
    """Fit the model in place and leave it with the weights of its best or last epoch.

    `loss` in the history is the plain cross-entropy of the training batches as they were seen
    (dropout and image changes included), so that it compares with `val_loss`; label smoothing and
    l2 enter what is minimised only.

    Args:
        model: as `models.build` returns it.
        hyperparameters: how to train it.
        train_split: what it learns from.
        val_split: what `monitor` is measured on.
        seed: of the order, the image changes and the dropout masks.
        epochs: the most; the cosine schedule reaches zero at the last of them.
        patience: epochs without a better `monitor` before training stops.
        monitor: `val_accuracy` (higher is better) or `val_loss` (lower is better).
        keep: `best`, the epoch with the best `monitor`, or `last`, which then counts as the best.
        on_epoch: called after each epoch that was computed, with its row and its seconds.
        on_steps: called several times an epoch with the steps done and their total.
        checkpoint: a file to resume from and to save to after each epoch.

    Raises:
        TrainingError: the loss is no finite number any more, or the memory does not suffice.
        UserError: the checkpoint is damaged.
    """
    steps = math.ceil(len(train_split) / hyperparameters.batch_size)
    averages = (
        [tf.Variable(v) for v in model.trainable_variables]
        if hyperparameters.weight_averaging
        else []
    )
    optimizer = build_optimizer(hyperparameters)
    optimizer.build(model.trainable_variables)
    run_steps = _step_function(
        model, optimizer, averages, hyperparameters, train_split, seed, steps
    )
    predict_probabilities = prediction_function(model)
    state = [*model.variables, *optimizer.variables, *averages]
    best_state = [v.numpy() for v in model.variables]
    progress = Progress()
    if checkpoint is not None and checkpoint.exists():
        progress = restore_checkpoint(checkpoint, state, best_state)
    while progress.epochs < epochs and progress.epochs - progress.improved_epoch < patience:
        started = time.perf_counter()
        number = progress.epochs
        _seed_dropout(model, seed, number * steps)
        order = tf.random.experimental.stateless_shuffle(
            tf.range(len(train_split)), seed=[derive_seed(seed, "order"), number]
        )
        sums = np.zeros(2)
        for start in range(0, steps, STEPS_PER_CALL):
            stop = min(start + STEPS_PER_CALL, steps)
            rates = [
                scheduled_learning_rate(hyperparameters, (number * steps + step) / steps, epochs)
                for step in range(start, stop)
            ]
            sums += run_steps(
                order, tf.constant(number), tf.constant(start), tf.constant(rates, tf.float32)
            ).numpy()
            on_steps(stop, steps)
        loss, accuracy = sums / len(train_split.labels)
        with _averaged(model, averages):
            val_loss, val_accuracy = loss_and_accuracy(predict_probabilities, val_split)
            row = {
                "epoch": number + 1,
                "loss": loss,
                "accuracy": accuracy,
                "val_loss": val_loss,
                "val_accuracy": val_accuracy,
                "learning_rate": rates[-1],
            }
            if not all(math.isfinite(value) for value in row.values()):
                raise TrainingError(
                    f"training diverged in epoch {number + 1}: the loss is not finite;"
                    " lower learning_rate"
                )
            progress.history.append({name: float(row[name]) for name in HISTORY})
            progress.history[-1]["epoch"] = number + 1
            improved = _better(monitor, row, progress.history[progress.improved_epoch - 1])
            if progress.improved_epoch == 0 or improved:
                progress.improved_epoch = number + 1
            if keep == "last" or progress.improved_epoch == number + 1:
                progress.best_epoch = number + 1
                best_state = [v.numpy() for v in model.variables]
        if checkpoint is not None:
            save_checkpoint(checkpoint, state, best_state, progress)
        on_epoch(progress.history[-1], time.perf_counter() - started)
    for variable, value in zip(model.variables, best_state, strict=True):
        variable.assign(value)
    return progress


def _step_function(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    averages: list[tf.Variable],
    h: Hyperparameters,
    split: Split,
    seed: int,
    steps: int,
) -> Callable[..., tf.Tensor]:
    """Return f(order, epoch, first step, learning rates) → [Σ cross-entropy, number right]."""
    logits_model = keras.Model(model.inputs, model.get_layer("logits").output)
    images, labels = _in_place(split.images), tf.constant(split.labels)
    image_seed = derive_seed(seed, "image changes")
    variables = model.trainable_variables
    decayed = [variable for variable in variables if variable.name == "kernel" and h.weight_decay]

    @tf.function(  # type: ignore[untyped-decorator]  # TensorFlow has no types
        input_signature=[  # traced once, however many steps a call has
            tf.TensorSpec([len(split)], tf.int32),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([None], tf.float32),
        ]
    )
    def run_steps(
        order: tf.Tensor, epoch: tf.Tensor, start: tf.Tensor, rates: tf.Tensor
    ) -> tf.Tensor:
        sums = tf.zeros(2)
        for index in tf.range(tf.size(rates)):
            optimizer.learning_rate.assign(rates[index])
            step = start + index
            batch = order[step * h.batch_size : (step + 1) * h.batch_size]
            pixels = transform_randomly(
                tf.gather(images, batch),
                tf.stack([image_seed, epoch * steps + step]),
                flip=h.flip,
                shift=h.shift,
                cutout=h.cutout,
            )
            truth = tf.gather(labels, batch)
            target = tf.one_hot(truth, CLASSES)
            smooth = target * (1 - h.label_smoothing) + h.label_smoothing / CLASSES
            with tf.GradientTape() as tape:
                logits = logits_model(pixels, training=True)
                loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(smooth, logits))
                objective = tf.add_n([loss, *logits_model.losses])
            gradients = tape.gradient(objective, variables)
            for variable in decayed:  # Loshchilov & Hutter 2019, algorithm 2; in one pass
                variable.assign(variable * (1 - rates[index] * h.weight_decay))
            optimizer.apply(gradients, variables)
            for average, variable in zip(averages, variables, strict=False):
                average.assign_sub((average - variable) * (1 - h.weight_averaging))
            right = tf.argmax(logits, 1, tf.int32) == tf.cast(truth, tf.int32)
            entropy = tf.nn.softmax_cross_entropy_with_logits(target, logits)
            sums += tf.stack([tf.reduce_sum(entropy), tf.reduce_sum(tf.cast(right, tf.float32))])
        return sums

    return cast(Callable[..., tf.Tensor], run_steps)


def _in_place(images: NDArray[np.uint8]) -> tf.Tensor:
    """Return the images as a tensor, without a copy of them where TensorFlow allows that."""
    aligned = images.ctypes.data % ALIGNMENT == 0 and images.flags.c_contiguous
    if not aligned or tf.config.list_logical_devices("GPU"):
        return tf.constant(images)
    return tf.experimental.dlpack.from_dlpack(images.__dlpack__())


def _better(monitor: str, row: Mapping[str, float], best: Mapping[str, float]) -> bool:
    if monitor == "val_loss":
        return row[monitor] < best[monitor]
    return row[monitor] > best[monitor]


def _seed_dropout(model: keras.Model, seed: int, step: int) -> None:
    """Set every dropout layer's counter to what it is at a step of an uninterrupted training."""
    for index, layer in enumerate(model.layers):
        if isinstance(layer, keras.layers.Dropout):
            layer.seed_generator.state.assign([derive_seed(seed, "dropout", index), step])


@contextlib.contextmanager
def _averaged(model: keras.Model, averages: list[tf.Variable]) -> Iterator[None]:
    """Let the model have its averaged weights for a while."""
    if not averages:
        yield
        return
    raw = [variable.numpy() for variable in model.trainable_variables]
    for variable, average in zip(model.trainable_variables, averages, strict=True):
        variable.assign(average)
    yield
    for variable, value in zip(model.trainable_variables, raw, strict=True):
        variable.assign(value)
