"""Training steps: many of them inside one TensorFlow function."""

import contextlib
from collections.abc import Callable, Iterator
from typing import cast

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sidebyside.config.hyperparameters import Hyperparameters
from sidebyside.core.seeding import derive_seed
from sidebyside.data.npz import ALIGNMENT
from sidebyside.data.splits import Split
from sidebyside.training.random_transforms import transform_randomly


def step_function(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    averages: list[tf.Variable],
    h: Hyperparameters,
    split: Split,
    seed: int,
    steps: int,
) -> Callable[..., tf.Tensor]:
    """Return f(order, epoch, first step, learning rates) → [Σ cross-entropy, correct images].

    Args:
        model: as `architectures.build` returns it; trained in place.
        optimizer: updates the model's weights.
        averages: moving averages of the trainable weights, updated in place; empty for none.
        h: how to train.
        split: the training images.
        seed: seed for the random transforms.
        steps: steps in an epoch.
    """
    logits_model = keras.Model(model.inputs, model.layers[-1].input)  # of the softmax
    classes = logits_model.output.shape[-1]
    images, labels = _without_copy(split.images), tf.constant(split.labels)
    image_seed = derive_seed(seed, "image changes")
    variables = model.trainable_variables
    decayed = [
        variable for variable in variables if h.weight_decay and variable.name.endswith("kernel")
    ]

    def run_steps(
        order: tf.Tensor, epoch: tf.Tensor, start: tf.Tensor, rates: tf.Tensor
    ) -> tf.Tensor:
        def run_step(index: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
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
            true = tf.gather(labels, batch)
            target = tf.one_hot(true, classes)
            smooth = target * (1 - h.label_smoothing) + h.label_smoothing / classes
            with tf.GradientTape() as tape:
                logits = tf.cast(logits_model(pixels, training=True), tf.float32)
                loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(smooth, logits))
                objective = tf.add_n([loss, *logits_model.losses])
            gradients = tape.gradient(objective, variables)
            for variable in decayed:  # Loshchilov & Hutter 2019, algorithm 2; in one pass
                variable.assign(variable * (1 - rates[index] * h.weight_decay))
            optimizer.apply(gradients, variables)
            for average, variable in zip(averages, variables, strict=False):
                average.assign_sub((average - variable) * (1 - h.weight_averaging))
            right = tf.argmax(logits, 1, tf.int32) == tf.cast(true, tf.int32)
            entropy = tf.nn.softmax_cross_entropy_with_logits(target, logits)
            correct = tf.reduce_sum(tf.cast(right, tf.float32))
            return index + 1, sums + tf.stack([tf.reduce_sum(entropy), correct])

        count = tf.size(rates)
        return tf.while_loop(lambda index, _: index < count, run_step, [0, tf.zeros(2)])[1]

    function = tf.function(
        run_steps,
        input_signature=[  # traced once, however many steps a call has
            tf.TensorSpec([len(split)], tf.int32),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([None], tf.float32),
        ],
        autograph=False,  # translating Python's loops would take half a second per process
    )
    return cast(Callable[..., tf.Tensor], function)


def _without_copy(images: NDArray[np.uint8]) -> tf.Tensor:
    """Return the images as a tensor, without copying them where TensorFlow allows that."""
    aligned = images.ctypes.data % ALIGNMENT == 0 and images.flags.c_contiguous
    if not aligned or tf.config.list_logical_devices("GPU"):
        return tf.constant(images)
    return tf.experimental.dlpack.from_dlpack(images.__dlpack__())


def seed_dropout(model: keras.Model, seed: int, step: int) -> None:
    """Set the counter of every dropout layer to its value at a step of an uninterrupted run."""
    for index, layer in enumerate(model.layers):
        if isinstance(layer, keras.layers.Dropout) and layer.rate:
            layer.seed_generator.state.assign([derive_seed(seed, "dropout", index), step])


@contextlib.contextmanager
def averaged_weights(model: keras.Model, averages: list[tf.Variable]) -> Iterator[None]:
    """Give the model its averaged weights for the length of a block."""
    if not averages:
        yield
        return
    raw = [variable.numpy() for variable in model.trainable_variables]
    for variable, average in zip(model.trainable_variables, averages, strict=True):
        variable.assign(average)
    yield
    for variable, value in zip(model.trainable_variables, raw, strict=True):
        variable.assign(value)
