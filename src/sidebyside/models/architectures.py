"""Build untrained Keras models from hyperparameters.

Every model takes raw pixels (uint8 [N, height, width], or [N, height, width, 3] of colour images),
scales them itself and ends in a layer `logits` followed by the softmax, both float32, so that a
saved model returns probabilities.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from sidebyside.config.dataset import Dataset
from sidebyside.config.hyperparameters import (
    CnnHyperparameters,
    HiddenLayers,
    Hyperparameters,
    MlpHyperparameters,
    per_layer,
)
from sidebyside.core.errors import TrainingError, UserError, first_line
from sidebyside.models.builder_checks import check_model, configuration
from sidebyside.models.builders import call_builder
from sidebyside.models.layers import (
    FusedBatchNormalization,
    FusedDense,
    FusedDropout,
    FusedGelu,
    FusedGeluPooling,
    builtin_layers,
)
from sidebyside.models.ordinary import adapt

# Momentum of the moving mean and variance: 0.9 averages over about ten batches, or ten parts of
# batches; Keras's default of 0.99 averages over a hundred, a whole epoch of the MLP.
BATCH_NORM_MOMENTUM = 0.9

MONOTONE = {"relu", "elu", "tanh"}  # activations that never decrease

# Precision → Keras's dtype policy; the weights are float32 in both.
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


@contextlib.contextmanager
def translate_memory_errors() -> Iterator[None]:
    """Turn an out-of-memory error of TensorFlow or Python into a one-line TrainingError.

    Raises:
        TrainingError: the block ran out of memory.
    """
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError):
        raise TrainingError(
            "not enough memory for this model: reduce batch_size or the size of the model"
        ) from None


@translate_memory_errors()
def build(model: str, hyperparameters: Hyperparameters, dataset: Dataset, seed: int) -> keras.Model:
    """Return an untrained model whose initial weights are a function of `seed`.

    Args:
        model: the architecture, a key of RECORDS.
        hyperparameters: the architecture's record.
        dataset: gives the shape of an image and the number of classes.
        seed: seed for the initial weights.

    Raises:
        TrainingError: the hyperparameters do not fit the images, the builder raises an error, or
            there is not enough memory for the weights.
        UserError: there is no builder, or it returns a model that the pipeline cannot train, save
            or load.
    """
    try:
        hyperparameters.require_fit(dataset)
    except ValueError as error:
        raise TrainingError(str(error)) from None
    _reset(seed)
    with keras.StatelessScope(initialize_variables=False):  # without memory for the weights
        planned = _build(model, hyperparameters, dataset)
        with _named(model):
            expected = configuration(planned)
            check_model(planned, expected)
    _reset(seed)
    built = _build(model, hyperparameters, dataset)
    with _named(model):
        if configuration(built) != expected:
            raise UserError("its model is different each time that it is built from one seed")
    return built


def _reset(seed: int) -> None:
    """Reset Keras's names and seeds, which count per process: equal models give equal bytes."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)


def _build(model: str, hyperparameters: Hyperparameters, dataset: Dataset) -> keras.Model:
    """Return the model that a builder returns, adapted to raw pixels."""
    keras.config.set_dtype_policy(POLICIES[hyperparameters.precision])
    try:
        ordinary = call_builder(model, hyperparameters, dataset)
        with _named(model):
            return adapt(ordinary, dataset, model)
    finally:
        keras.config.set_dtype_policy(POLICIES["float32"])


@contextlib.contextmanager
def _named(model: str) -> Iterator[None]:
    """Name the architecture in errors about the model that its builder returned."""
    try:
        yield
    except UserError as error:
        raise type(error)(f"{model} cannot be built: {error}") from None
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except Exception as error:  # of Keras
        raise TrainingError(f"{model} cannot be built: {first_line(error)}") from None


def to_builtin_layers(model: keras.Model) -> keras.Model:
    """Return the same model, with the same weights, made of Keras's built-in layers only."""

    def apply(layer: keras.Layer, x: keras.KerasTensor, **_: Any) -> keras.KerasTensor:
        for builtin in builtin_layers(layer):
            x = builtin(x)
        return x

    result = keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=apply
    )
    result.set_weights(model.get_weights())
    return result


def build_mlp(h: MlpHyperparameters, dataset: Dataset) -> keras.Model:
    """Return an MLP: per hidden layer a dense layer, batch norm, activation and dropout."""
    pixels, x = _scaled_input(dataset)
    x = layers.Flatten(name="flatten")(x)
    x = _dropout(x, h.input_dropout, "input_dropout")
    dropouts = per_layer(h.dropout, len(h.hidden_units))
    for number, (units, dropout) in enumerate(zip(h.hidden_units, dropouts, strict=True), 1):
        x = _dense(x, units, h, f"hidden_{number}")
        x = _dropout(x, dropout, f"hidden_{number}_dropout")
    return _classifier(pixels, x, dataset, "mlp")


def build_cnn(h: CnnHyperparameters, dataset: Dataset) -> keras.Model:
    """Return a CNN: blocks of convolutions, flatten or global average pooling, dense layers.

    After the last convolution of a block, max pooling comes before batch norm and activation, which
    then process a quarter of the values. Without batch norm this equals the usual order if the
    activation is monotone; otherwise pooling comes last.
    """
    pixels, x = _scaled_input(dataset)
    if dataset.channels == 1:
        x = layers.Reshape((*dataset.shape, 1), name="channel")(x)
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
            x = _pool_and_activate(x, h, name, block) if pool else _activate(x, h, name)
        x = _dropout(x, dropout, f"block_{block}_dropout")
    if h.head == "average":
        x = layers.GlobalAveragePooling2D(name="average")(x)
    else:
        x = layers.Flatten(name="flatten")(x)
    if h.dense_units:
        x = _dense(x, h.dense_units, h, "hidden")
    x = _dropout(x, per_layer(h.dropout, 1)[0], "dropout")
    return _classifier(pixels, x, dataset, "cnn")


def flops(model: keras.Model) -> int:
    """Return the number of floating-point operations to classify one image.

    Only kernels, of dense and convolutional layers, count: one multiplication and one addition per
    weight and output position. The other layers' share is negligible.
    """
    return sum(
        2 * math.prod(layer.output.shape[1:-1]) * math.prod(weight.shape)
        for layer in model.layers
        for weight in layer.weights
        if weight.name.endswith("kernel")
    )


def _scaled_input(dataset: Dataset) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    pixels = keras.Input(dataset.shape, dtype="uint8", name="pixels")
    return pixels, layers.Rescaling(1 / 255, name="scale")(pixels)


def _dense(x: keras.KerasTensor, units: int, h: HiddenLayers, name: str) -> keras.KerasTensor:
    dense = FusedDense(
        units,
        use_bias=not h.batch_norm,
        kernel_initializer=h.kernel_initializer,
        kernel_regularizer=_l2(h),
        name=name,
    )
    return _activate(dense(x), h, name)


def _pool_and_activate(
    x: keras.KerasTensor, h: CnnHyperparameters, name: str, block: int
) -> keras.KerasTensor:
    pooling = layers.MaxPooling2D(name=f"block_{block}_pool")
    if h.batch_norm or h.activation in MONOTONE:
        return _activate(pooling(x), h, name)
    if h.activation == "gelu":
        return FusedGeluPooling(name=f"{name}_gelu")(x)
    return pooling(_activate(x, h, name))


def _activate(x: keras.KerasTensor, h: HiddenLayers, name: str) -> keras.KerasTensor:
    """Append batch norm, if any, and the activation."""
    if h.batch_norm:
        x = FusedBatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_norm")(x)
    activated = f"{name}_{h.activation}"
    if h.activation == "gelu":
        return FusedGelu(name=activated)(x)
    return layers.Activation(h.activation, name=activated)(x)


def _dropout(x: keras.KerasTensor, rate: float, name: str) -> keras.KerasTensor:
    return FusedDropout(rate, name=name)(x) if rate else x


def _l2(h: HiddenLayers) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L2(h.l2) if h.l2 else None


def _classifier(
    pixels: keras.KerasTensor, x: keras.KerasTensor, dataset: Dataset, name: str
) -> keras.Model:
    logits = FusedDense(dataset.classes, dtype="float32", name="logits")(x)
    probabilities = layers.Softmax(dtype="float32", name="probabilities")(logits)
    return keras.Model(pixels, probabilities, name=name)
