"""Compare the fused layers with Keras's own."""

import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from sidebyside.models.layers import (
    FusedBatchNormalization,
    FusedDense,
    FusedDropout,
    FusedGelu,
    FusedGeluPooling,
    builtin_layers,
)

SHAPES = [(12, 5), (12, 4, 3, 5)]  # outputs of a dense and of a convolutional layer


def normal(*shape: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(1, 2, shape).astype(np.float32)


def trained_step(
    kind: type, inputs: NDArray[np.float32], seed: int = 3
) -> tuple[keras.Layer, list[NDArray[Any]]]:
    """Return a layer after a training step, with outputs and gradients."""
    layer = kind(momentum=0.8)
    layer.build(inputs.shape)
    layer.gamma.assign(normal(inputs.shape[-1], seed=seed))
    layer.beta.assign(normal(inputs.shape[-1], seed=seed + 1))
    x = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, training=True)
        loss = tf.reduce_sum(outputs * normal(*inputs.shape, seed=seed + 2))
    gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
    return layer, [np.asarray(value) for value in (outputs, *gradients)]


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_has_the_outputs_and_gradients_of_keras(shape: tuple[int, ...]) -> None:
    _, fused = trained_step(FusedBatchNormalization, normal(*shape))
    _, builtin = trained_step(keras.layers.BatchNormalization, normal(*shape))
    for one, other in zip(fused, builtin, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_moving_statistics_move_towards_those_of_the_batch(shape: tuple[int, ...]) -> None:
    inputs = normal(*shape)
    layer, _ = trained_step(FusedBatchNormalization, inputs)
    rows = inputs.reshape(-1, shape[-1]).astype(np.float64)
    assert np.asarray(layer.moving_mean) == pytest.approx(0.2 * rows.mean(0), rel=1e-4)
    expected = 0.8 + 0.2 * rows.var(0, ddof=1)
    assert np.asarray(layer.moving_variance) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_predicts_as_keras_does_and_keeps_its_statistics(shape: tuple[int, ...]) -> None:
    layer, _ = trained_step(FusedBatchNormalization, normal(*shape))
    builtin = keras.layers.BatchNormalization.from_config(layer.get_config())
    builtin.build(shape)
    builtin.set_weights(layer.get_weights())
    before = layer.get_weights()
    assert np.array_equal(np.asarray(layer(normal(*shape))), np.asarray(builtin(normal(*shape))))
    assert all(map(np.array_equal, layer.get_weights(), before))


def forward_and_backward(
    layer: keras.Layer, inputs: NDArray[np.float32]
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Return outputs in training, and the gradients of the inputs and the weights."""
    x = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, training=True)
        loss = tf.reduce_sum(outputs * normal(*outputs.shape, seed=5))
    gradients = tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)])
    return np.asarray(outputs), [np.asarray(gradient) for gradient in gradients]


@pytest.mark.parametrize("use_bias", [True, False])
def test_dense_has_the_outputs_and_gradients_of_keras(use_bias: bool) -> None:
    found = []
    for kind in (FusedDense, keras.layers.Dense):
        layer = kind(4, use_bias=use_bias)
        layer.build((12, 7))
        layer.set_weights([normal(*w.shape, seed=i) for i, w in enumerate(layer.weights)])
        outputs, gradients = forward_and_backward(layer, normal(12, 7))
        found.append([outputs, *gradients])
    assert len(found[0]) == (4 if use_bias else 3)
    for fused, builtin in zip(*found, strict=True):
        assert fused == pytest.approx(builtin, rel=1e-5, abs=1e-5)


def test_gelu_has_the_outputs_and_gradients_of_keras() -> None:
    inputs = np.linspace(-12, 12, 2001, dtype=np.float32).reshape(3, -1)
    outputs, (gradient,) = forward_and_backward(FusedGelu(), inputs)
    builtin, (builtin_gradient,) = forward_and_backward(keras.layers.Activation("gelu"), inputs)
    assert outputs == pytest.approx(builtin, rel=1e-5, abs=1e-6)
    assert gradient == pytest.approx(builtin_gradient, rel=1e-5, abs=2e-6)
    assert np.array_equal(
        FusedGelu()(inputs), keras.layers.Activation("gelu")(inputs)
    )  # inference is Keras's, bit for bit


@pytest.mark.parametrize("height", [6, 7])
@pytest.mark.parametrize("scale", [0.3, 3, 30])  # near the minimum of GELU, and far from it
def test_fused_gelu_pooling_has_the_outputs_and_gradients_of_keras(
    height: int, scale: float
) -> None:
    inputs = (normal(50, height, 9, 5) - 2) * scale
    outputs, (gradient,) = forward_and_backward(FusedGeluPooling(), inputs)
    layers = builtin_layers(FusedGeluPooling(name="one"))
    assert [layer.name for layer in layers] == ["one", "one_pool"]
    builtin, (builtin_gradient,) = forward_and_backward(keras.Sequential(layers), inputs)
    # Far below zero, the rounding errors of erf decide which input is chosen.
    rounding = float(2 * np.finfo(np.float32).eps * np.abs(inputs).max())
    assert outputs == pytest.approx(builtin, rel=1e-5, abs=1e-6 + rounding)
    assert gradient == pytest.approx(builtin_gradient, rel=1e-5, abs=1e-4)
    assert np.count_nonzero(gradient) <= outputs.size
    assert np.array_equal(FusedGeluPooling()(inputs), keras.Sequential(layers)(inputs))


def test_the_minimum_of_a_window_is_pooled_where_gelu_decreases() -> None:
    # GELU has its minimum near -0.75.
    window = tf.reshape(tf.constant([-0.8, -4.0, -0.7, -1.0]), [1, 2, 2, 1])
    with tf.GradientTape() as tape:
        tape.watch(window)
        outputs = FusedGeluPooling()(window, training=True)
    gradient = np.asarray(tape.gradient(outputs, window))
    expected = -4 * math.erfc(4 / math.sqrt(2)) / 2
    assert outputs.numpy().ravel() == pytest.approx([expected], rel=0.01)
    assert np.argwhere(gradient.ravel()).ravel().tolist() == [1]


@pytest.mark.parametrize("value", [-2.0, 0.0, 2.0])
def test_the_first_of_equal_inputs_receives_the_gradient(value: float) -> None:
    _, (gradient,) = forward_and_backward(
        FusedGeluPooling(), np.full((2, 4, 4, 3), value, np.float32)
    )
    first = np.zeros((4, 4), bool)
    first[::2, ::2] = True
    assert np.array_equal(gradient != 0, np.broadcast_to(first[:, :, None], gradient.shape))


def dropped(rate: float, shape: tuple[int, ...], seed: int = 1, step: int = 0) -> NDArray[Any]:
    layer = FusedDropout(rate)
    layer.seed_generator.state.assign([seed, step])
    return np.asarray(layer(tf.ones(shape), training=True))


@pytest.mark.parametrize("shape", [(400, 250), (100, 10, 10, 11), (300, 333)])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_units_independently_at_its_rate_and_keeps_the_mean(
    shape: tuple[int, ...], rate: float
) -> None:
    outputs = dropped(rate, shape)
    kept = outputs != 0
    deviation = (rate * (1 - rate) / outputs.size) ** 0.5
    assert abs(kept.mean() - (1 - rate)) < 4 * deviation
    assert outputs[kept] == pytest.approx(1 / (1 - rate), rel=1e-3)
    assert len(np.unique(outputs[kept])) == 1
    # Neighbours, which may share a draw of 32 bits, are independent, and so are rows.
    rows = kept.reshape(-1, shape[-1])
    for one, other in ((rows[:, 0::2][:, : shape[-1] // 2], rows[:, 1::2]), (rows[1:], rows[:-1])):
        both = (~one & ~other).mean()
        assert abs(both - rate**2) < 5 * (rate**2 * (1 - rate**2) / one.size) ** 0.5


def test_dropout_masks_and_scales_the_gradient_like_the_output() -> None:
    layer = FusedDropout(0.5)
    layer.seed_generator.state.assign([3, 0])
    outputs, (gradient,) = forward_and_backward(layer, normal(20, 9))
    expected = np.where(outputs != 0, 2 * normal(20, 9, seed=5), 0)
    assert gradient == pytest.approx(expected, rel=1e-4)
    assert outputs[outputs != 0] == pytest.approx(2 * normal(20, 9)[outputs != 0], rel=1e-4)


def test_dropout_depends_on_seed_and_step() -> None:
    first = dropped(0.5, (10, 20))
    assert np.array_equal(first, dropped(0.5, (10, 20)))
    assert not np.array_equal(first, dropped(0.5, (10, 20), step=1))
    assert not np.array_equal(first, dropped(0.5, (10, 20), seed=2))


def test_dropout_draws_a_new_mask_at_every_step() -> None:
    layer = FusedDropout(0.5)
    layer.seed_generator.state.assign([1, 0])
    first, second = (np.asarray(layer(tf.ones((10, 20)), training=True)) for _ in range(2))
    assert np.array_equal(first, dropped(0.5, (10, 20)))
    assert np.array_equal(second, dropped(0.5, (10, 20), step=1))


def test_dropout_does_nothing_in_inference() -> None:
    assert np.array_equal(FusedDropout(0.5)(normal(3, 4)), normal(3, 4))
