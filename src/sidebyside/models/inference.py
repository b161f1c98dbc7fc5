"""Class probabilities of a model, in batches of a fixed size."""

from collections.abc import Callable
from typing import cast

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sidebyside.data.splits import Split

PREDICTION_BATCH = 500  # fixed: another batch size changes the last bits of a probability


def predict_probabilities(model: keras.Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return class probabilities, float32 [N, 10]."""
    return predict_in_batches(prediction_function(model), images)


def prediction_function(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    function = tf.function(lambda images: model(images, training=False))
    return cast(Callable[[tf.Tensor], tf.Tensor], function)


def predict_in_batches(
    function: Callable[[tf.Tensor], tf.Tensor], images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    return np.concatenate(
        [
            function(tf.constant(images[start : start + PREDICTION_BATCH])).numpy()
            for start in range(0, len(images), PREDICTION_BATCH)
        ]
    )


def loss_and_accuracy(
    function: Callable[[tf.Tensor], tf.Tensor], split: Split
) -> tuple[float, float]:
    """Return the mean cross-entropy and the accuracy."""
    probabilities = predict_in_batches(function, split.images).astype(np.float64)
    of_truth = probabilities[np.arange(len(split)), split.labels]
    tiny = np.finfo(np.float32).tiny
    return (
        float(-np.log(np.maximum(of_truth, tiny)).mean()),
        float((probabilities.argmax(1) == split.labels).mean()),
    )
