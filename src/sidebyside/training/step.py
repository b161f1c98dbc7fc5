"""Training steps: many of them inside one TensorFlow function.

A batch may be computed in a fixed number of parts, side by side on as many cores as there are. Each
part has its own forward and backward pass, with its own batch statistics ("ghost batch
normalization", Hoffer et al. 2017) and dropout masks, and each of its operations runs on one core.
Therefore the bits depend on the number of parts, a parameter, and not on the number of cores. If
each operation were divided among threads instead, cores would wait at its end, and the order of
summation in batch norm and in the gradients of kernels would depend on the number of threads.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sidebyside.config.hyperparameters import Hyperparameters
from sidebyside.core.errors import TrainingError
from sidebyside.core.seeding import derive_seed
from sidebyside.data.npz import ALIGNMENT
from sidebyside.data.splits import Split
from sidebyside.training.random_transforms import transform_randomly


def steps_per_epoch(images: int, batch_size: int, parts: int) -> int:
    """Return the number of batches; a last one with fewer images than parts is left out.

    Raises:
        TrainingError: all batches have fewer images than parts.
    """
    if min(images, batch_size) < parts:
        raise TrainingError(
            f"a batch of {min(images, batch_size)} images cannot be computed in {parts} parts:"
            " increase batch_size or reduce parts"
        )
    return math.ceil((images - parts + 1) / batch_size)


def step_function(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    averages: list[tf.Variable],
    h: Hyperparameters,
    split: Split,
    seed: int,
    steps: int,
    parts: int = 1,
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
        parts: parts of a batch, which are computed side by side.
    """
    logits_model = keras.Model(model.inputs, model.layers[-1].input)  # of the softmax
    classes = logits_model.output.shape[-1]
    images, labels = _without_copy(split.images), tf.constant(split.labels)
    image_seed = derive_seed(seed, "image changes")
    variables = model.trainable_variables
    decayed = [
        variable for variable in variables if h.weight_decay and variable.name.endswith("kernel")
    ]

    def run_part(
        part: tf.Tensor, share: tf.Tensor, transform_seed: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Return the gradients of a part's share of the objective, and its sums."""
        pixels = transform_randomly(
            tf.gather(images, part), transform_seed, flip=h.flip, shift=h.shift, cutout=h.cutout
        )
        true = tf.gather(labels, part)
        target = tf.one_hot(true, classes)
        smooth = target * (1 - h.label_smoothing) + h.label_smoothing / classes
        with tf.GradientTape() as tape:
            logits = tf.cast(logits_model(pixels, training=True), tf.float32)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(smooth, logits))
            objective = share * tf.add_n([loss, *logits_model.losses])
        gradients = tape.gradient(objective, variables)
        right = tf.argmax(logits, 1, tf.int32) == tf.cast(true, tf.int32)
        entropy = tf.nn.softmax_cross_entropy_with_logits(target, logits)
        sums = [tf.reduce_sum(entropy), tf.reduce_sum(tf.cast(right, tf.float32))]
        return gradients, tf.stack(sums)

    def run_steps(
        order: tf.Tensor, epoch: tf.Tensor, start: tf.Tensor, rates: tf.Tensor
    ) -> tf.Tensor:
        def run_step(index: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            optimizer.learning_rate.assign(rates[index])
            step = start + index
            batch = order[step * h.batch_size : (step + 1) * h.batch_size]
            first = (epoch * steps + step) * parts  # number of the batch's first part
            done = [
                run_part(part, share, tf.stack([image_seed, first + number]))
                for number, (part, share) in enumerate(_divide(batch, parts))
            ]
            gradients = [
                _add(same, nested=bool(logits_model.losses))
                for same in zip(*(one[0] for one in done), strict=True)
            ]
            for variable in decayed:  # Loshchilov & Hutter 2019, algorithm 2; in one pass
                variable.assign(variable * (1 - rates[index] * h.weight_decay))
            optimizer.apply(gradients, variables)
            for average, variable in zip(averages, variables, strict=False):
                average.assign_sub((average - variable) * (1 - h.weight_averaging))
            return index + 1, sums + tf.stack([one[1] for one in done])

        count = tf.size(rates)
        begin = [0, tf.zeros([parts, 2])]  # the parts are added at the end: see `_add`
        return tf.reduce_sum(tf.while_loop(lambda index, _: index < count, run_step, begin)[1], 0)

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


def _divide(batch: tf.Tensor, parts: int) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Return parts of a batch of as equal sizes as possible, each with its share of the batch."""
    size = tf.size(batch)
    bounds = [size * number // parts for number in range(parts + 1)]
    return [
        (batch[start:stop], tf.cast((stop - start) / size, tf.float32))
        for start, stop in itertools.pairwise(bounds)
    ]


def _add(tensors: Sequence[tf.Tensor], *, nested: bool) -> tf.Tensor:
    """Return the sum of tensors, added in their order.

    TensorFlow merges nested additions into one, and adds more than two tensors in an order that
    depends on whose memory is free first. Adding them as rows of one tensor takes longer.

    Args:
        tensors: of the same shape.
        nested: whether a tensor may be the result of an addition.
    """
    if len(tensors) == 2 and not nested:
        return tensors[0] + tensors[1]
    return tf.reduce_sum(tf.stack(tensors), 0) if len(tensors) > 1 else tensors[0]


def _without_copy(images: NDArray[np.uint8]) -> tf.Tensor:
    """Return the images as a tensor, without copying them where TensorFlow allows that."""
    aligned = images.ctypes.data % ALIGNMENT == 0 and images.flags.c_contiguous
    if not (aligned and images.flags.writeable) or tf.config.list_logical_devices("GPU"):
        return tf.constant(images)
    return tf.experimental.dlpack.from_dlpack(images.__dlpack__())


def seed_dropout(model: keras.Model, seed: int, part: int) -> None:
    """Set the counter of every dropout layer to its value at a part of an uninterrupted run."""
    for index, layer in enumerate(model.layers):
        if isinstance(layer, keras.layers.Dropout) and layer.rate:
            layer.seed_generator.state.assign([derive_seed(seed, "dropout", index), part])


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
