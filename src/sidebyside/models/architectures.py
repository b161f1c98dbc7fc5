"""The architectures: hyperparameters → an untrained Keras model.

Every model takes raw pixels (uint8 [N, 28, 28]), scales them inside, in this one place, and ends in
a layer `logits` followed by the softmax, both float32, so that a saved model gives probabilities.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from sidebyside.config.dataset import CLASSES, IMAGE_SIZE
from sidebyside.config.hyperparameters import (
    CnnHyperparameters,
    Hyperparameters,
    MlpHyperparameters,
    per_layer,
)
from sidebyside.core.errors import TrainingError
from sidebyside.models.layers import (
    FusedBatchNormalization,
    FusedDense,
    FusedDropout,
    FusedGelu,
    FusedGeluPooling,
    portable_layers,
)

# Of the running mean and variance: at 0.9 they look back some ten steps, at Keras's 0.99 a hundred;
# an epoch of the MLP has no more.
BATCH_NORM_MOMENTUM = 0.9

MONOTONE = {"relu", "elu", "tanh"}  # activations that never fall

# Keras's names for what a model computes in; the weights are float32 in both.
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


@contextlib.contextmanager
def memory_errors_named() -> Iterator[None]:
    """Turn what TensorFlow raises when the memory does not suffice into one line.

    Raises:
        TrainingError: as soon as that happens inside the block.
    """
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError):
        raise TrainingError(
            "the memory does not suffice for this model: make it, or batch_size, smaller"
        ) from None


@memory_errors_named()
def build(model: str, hyperparameters: Hyperparameters, seed: int) -> keras.Model:
    """Return an untrained model whose initial weights follow from `seed`.

    Keras's own state is reset first: automatic names and seeds count per process, and equal models
    must be equal bytes.

    Args:
        model: a key of BUILDERS.
        hyperparameters: the record of that architecture.
        seed: of the initial weights.

    Raises:
        TrainingError: the memory does not suffice for the weights.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(POLICIES[hyperparameters.precision])
    try:
        return BUILDERS[model](hyperparameters)
    finally:
        keras.config.set_dtype_policy(POLICIES["float32"])


def portable(model: keras.Model) -> keras.Model:
    """Return the same model, with the same weights, of Keras's own layers alone."""

    def apply(layer: keras.Layer, x: keras.KerasTensor, **_: Any) -> keras.KerasTensor:
        for own in portable_layers(layer):
            x = own(x)
        return x

    result = keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=apply
    )
    result.set_weights(model.get_weights())
    return result


def build_mlp(h: MlpHyperparameters) -> keras.Model:
    """Return dense layers of `hidden_units`, each: dense, batch norm, activation, dropout."""
    pixels, x = _scaled_pixels()
    x = layers.Flatten(name="flatten")(x)
    x = _dropout(x, h.input_dropout, "input_dropout")
    dropouts = per_layer(h.dropout, len(h.hidden_units))
    for number, (units, dropout) in enumerate(zip(h.hidden_units, dropouts, strict=True), 1):
        x = _dense(x, units, h, f"hidden_{number}")
        x = _dropout(x, dropout, f"hidden_{number}_dropout")
    return _classifier(pixels, x, "mlp")


def build_cnn(h: CnnHyperparameters) -> keras.Model:
    """Return blocks of convolutions, then flatten or average, then dense layers.

    In the last convolution of a block the pooling comes before batch norm and activation, which
    then work on a quarter of the values. Without batch norm that is the same as the usual order, as
    long as the activation is monotone; for one that is not, the pooling comes last.
    """
    pixels, x = _scaled_pixels()
    x = layers.Reshape((IMAGE_SIZE, IMAGE_SIZE, 1), name="channel")(x)
    blocks = len(h.filters)
    kernels, dropouts = per_layer(h.kernel_size, blocks), per_layer(h.block_dropout, blocks)
    for block, (filters, convolutions, kernel, dropout) in enumerate(
        zip(h.filters, h.convolutions, kernels, dropouts, strict=True), 1
    ):
        for number in range(1, convolutions + 1):
            name = f"block_{block}_conv_{number}"
            x = layers.Conv2D(
                filters,
                kernel,
                padding=h.padding,
                use_bias=not h.batch_norm,
                kernel_initializer=h.kernel_initializer,
                kernel_regularizer=_l2(h),
                name=name,
            )(x)
            pool = number == convolutions and (block < blocks or h.pool_last)
            x = _pooled(x, h, name, f"block_{block}_pool") if pool else _normalised(x, h, name)
        x = _dropout(x, dropout, f"block_{block}_dropout")
    if h.head == "average":
        x = layers.GlobalAveragePooling2D(name="average")(x)
    else:
        x = layers.Flatten(name="flatten")(x)
    if h.dense_units:
        x = _dense(x, h.dense_units, h, "hidden")
    x = _dropout(x, per_layer(h.dropout, 1)[0], "dropout")
    return _classifier(pixels, x, "cnn")


BUILDERS: dict[str, Callable[..., keras.Model]] = {"mlp": build_mlp, "cnn": build_cnn}


def flops(model: keras.Model) -> int:
    """Return the floating-point operations of one prediction of one image.

    Counted are the multiplications and additions of dense and convolutional layers, two per
    weight and place; everything else is small beside them.
    """
    total = 0
    for layer in model.layers:
        if isinstance(layer, (layers.Dense, layers.Conv2D)):
            places = math.prod(layer.output.shape[1:-1])
            total += 2 * places * math.prod(layer.kernel.shape)
    return total


def _scaled_pixels() -> tuple[keras.KerasTensor, keras.KerasTensor]:
    pixels = keras.Input((IMAGE_SIZE, IMAGE_SIZE), dtype="uint8", name="pixels")
    return pixels, layers.Rescaling(1 / 255, name="scale")(pixels)


def _dense(x: keras.KerasTensor, units: int, h: Hyperparameters, name: str) -> keras.KerasTensor:
    dense = FusedDense(
        units,
        use_bias=not h.batch_norm,
        kernel_initializer=h.kernel_initializer,
        kernel_regularizer=_l2(h),
        name=name,
    )
    return _normalised(dense(x), h, name)


def _pooled(x: keras.KerasTensor, h: CnnHyperparameters, name: str, pool: str) -> keras.KerasTensor:
    pooling = layers.MaxPooling2D(name=pool)
    if h.batch_norm or h.activation in MONOTONE:
        return _normalised(pooling(x), h, name)
    if h.activation == "gelu":
        return FusedGeluPooling(name=f"{name}_gelu")(x)
    return pooling(_normalised(x, h, name))


def _normalised(x: keras.KerasTensor, h: Hyperparameters, name: str) -> keras.KerasTensor:
    if h.batch_norm:
        x = FusedBatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_norm")(x)
    activated = f"{name}_{h.activation}"
    if h.activation == "gelu":
        return FusedGelu(name=activated)(x)
    return layers.Activation(h.activation, name=activated)(x)


def _dropout(x: keras.KerasTensor, rate: float, name: str) -> keras.KerasTensor:
    return FusedDropout(rate, name=name)(x) if rate else x


def _l2(h: Hyperparameters) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L2(h.l2) if h.l2 else None


def _classifier(pixels: keras.KerasTensor, x: keras.KerasTensor, name: str) -> keras.Model:
    logits = FusedDense(CLASSES, dtype="float32", name="logits")(x)
    probabilities = layers.Softmax(dtype="float32", name="probabilities")(logits)
    return keras.Model(pixels, probabilities, name=name)
