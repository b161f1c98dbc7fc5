"""Train with `fit` of Keras as notebooks do: float32 arrays in memory and default settings.

KERAS_BACKEND selects TensorFlow or JAX.
"""

import os
from collections.abc import Callable

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import keras
from keras import layers

from benchmarks import workloads
from benchmarks.workloads import (
    DENSE_UNITS,
    DROPOUT,
    FILTERS,
    HIDDEN_UNITS,
    LEARNING_RATE,
    Workload,
)


def train(work: Workload, on_epoch: Callable[[], None]) -> None:
    """Train for two epochs."""
    images = work.images.reshape(-1, *work.shape).astype("float32") / 255
    model = {"mlp": mlp, "cnn": cnn}[work.model](work.shape, work.classes)
    model.compile(
        keras.optimizers.Adam(LEARNING_RATE),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: on_epoch())
    model.fit(images, work.labels, work.batch_size, epochs=2, verbose=0, callbacks=[callback])


def mlp(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Return dense layers with dropout."""
    stack = [keras.Input(shape), layers.Flatten()]
    for units in HIDDEN_UNITS:
        stack += [layers.Dense(units, activation="relu"), layers.Dropout(DROPOUT)]
    return keras.Sequential([*stack, layers.Dense(classes, activation="softmax")])


def cnn(shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Return convolutions, the first two pooled, and a dense layer."""
    stack = [keras.Input(shape)]
    for block, filters in enumerate(FILTERS, 1):
        stack.append(layers.Conv2D(filters, 3, activation="relu"))
        if block < len(FILTERS):
            stack.append(layers.MaxPooling2D())
    stack += [layers.Flatten(), layers.Dense(DENSE_UNITS, activation="relu")]
    return keras.Sequential(
        [*stack, layers.Dropout(DROPOUT), layers.Dense(classes, activation="softmax")]
    )


if __name__ == "__main__":
    workloads.measure(train)
