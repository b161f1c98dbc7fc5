"""Predict class probabilities in batches of a fixed size."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sidebyside.core.cores import cores
from sidebyside.data.splits import Split

PREDICTION_BATCH = 500  # images of at most 28×28 values; fewer larger ones, so as to bound memory

BATCHES_AT_ONCE = 4  # at most, so as to bound memory on machines with many cores


def prediction_batch(shape: tuple[int, ...]) -> int:
    """Return how many images are predicted at a time.

    The number is fixed, as it changes the last bits of a probability.

    Args:
        shape: shape of an image.
    """
    return max(1, min(PREDICTION_BATCH, PREDICTION_BATCH * 28 * 28 // math.prod(shape)))


def predict_probabilities(model: keras.Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the model's class probabilities, float32 [N, classes].

    Args:
        model: maps images to probabilities.
        images: uint8 [N, *image shape].
    """
    return predict_in_batches(prediction_function(model), images)


def prediction_function(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the model in inference mode, compiled to a TensorFlow function of a batch."""
    function = tf.function(lambda images: model(images, training=False), autograph=False)
    return cast(Callable[[tf.Tensor], tf.Tensor], function)


def predict_in_batches(
    function: Callable[[tf.Tensor], tf.Tensor], images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Return class probabilities, float32 [N, classes], computed in batches side by side.

    The bits depend on the size of a batch and not on the number of batches at once.

    Args:
        function: as `prediction_function` returns it.
        images: uint8 [N, *image shape], at least one.
    """
    size = prediction_batch(images.shape[1:])

    def predict(start: int) -> NDArray[np.float32]:
        return cast(
            NDArray[np.float32], function(tf.constant(images[start : start + size])).numpy()
        )

    with ThreadPoolExecutor(min(BATCHES_AT_ONCE, cores())) as pool:
        return np.concatenate(list(pool.map(predict, range(0, len(images), size))))


def loss_and_accuracy(
    function: Callable[[tf.Tensor], tf.Tensor], split: Split
) -> tuple[float, float]:
    """Return the mean cross-entropy in nats and the accuracy as a fraction of the images.

    Probabilities that underflow to 0 count as the smallest normal float32, so the loss is finite.

    Args:
        function: as `prediction_function` returns it.
        split: images with their labels.
    """
    probabilities = predict_in_batches(function, split.images).astype(np.float64)
    true_class = probabilities[np.arange(len(split)), split.labels]
    tiny = np.finfo(np.float32).tiny
    return (
        float(-np.log(np.maximum(true_class, tiny)).mean()),
        float((probabilities.argmax(1) == split.labels).mean()),
    )
