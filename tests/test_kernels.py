"""The fused kernels against what Keras composes."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fashion.runtime import configure

configure(2)

import keras  # noqa: E402  # TensorFlow must be configured before anything loads it
import tensorflow as tf  # noqa: E402

from fashion.kernels import FusedAdam, FusedBatchNormalization  # noqa: E402

SHAPES = [(12, 5), (12, 4, 3, 5)]  # of a dense and of a convolutional layer's output


def drawn(*shape: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(1, 2, shape).astype(np.float32)


def test_adam_takes_the_steps_that_keras_takes() -> None:
    results = []
    for kind in (FusedAdam, keras.optimizers.Adam):
        variables = [keras.Variable(drawn(7, 3)), keras.Variable(drawn(3, seed=2))]
        optimizer = kind(0.1)
        optimizer.build(variables)
        for step in range(5):
            optimizer.learning_rate.assign(0.1 / (step + 1))
            optimizer.apply([tf.constant(v * (step - 1.5)) for v in variables], variables)
        results.append([np.asarray(v) for v in (*variables, *optimizer.variables)])
    for fused, composed in zip(*results, strict=True):
        assert fused == pytest.approx(composed, rel=1e-5, abs=1e-5)
    assert not np.allclose(results[0][0], drawn(7, 3))


def trained_step(
    kind: type, inputs: NDArray[np.float32], seed: int = 3
) -> tuple[keras.Layer, list[NDArray[Any]]]:
    """Return a layer after one training step, with its outputs and its gradients."""
    layer = kind(momentum=0.8)
    layer.build(inputs.shape)
    layer.gamma.assign(drawn(inputs.shape[-1], seed=seed))
    layer.beta.assign(drawn(inputs.shape[-1], seed=seed + 1))
    x = tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, training=True)
        loss = tf.reduce_sum(outputs * drawn(*inputs.shape, seed=seed + 2))
    gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
    return layer, [np.asarray(value) for value in (outputs, *gradients)]


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_gives_the_outputs_and_gradients_of_keras(shape: tuple[int, ...]) -> None:
    _, fused = trained_step(FusedBatchNormalization, drawn(*shape))
    _, composed = trained_step(keras.layers.BatchNormalization, drawn(*shape))
    for one, other in zip(fused, composed, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_running_values_move_towards_those_of_the_batch(shape: tuple[int, ...]) -> None:
    inputs = drawn(*shape)
    layer, _ = trained_step(FusedBatchNormalization, inputs)
    rows = inputs.reshape(-1, shape[-1]).astype(np.float64)
    assert np.asarray(layer.moving_mean) == pytest.approx(0.2 * rows.mean(0), rel=1e-4)
    expected = 0.8 + 0.2 * rows.var(0, ddof=1)
    assert np.asarray(layer.moving_variance) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_prediction_is_that_of_keras_and_moves_nothing(shape: tuple[int, ...]) -> None:
    layer, _ = trained_step(FusedBatchNormalization, drawn(*shape))
    own = keras.layers.BatchNormalization.from_config(layer.get_config())
    own.build(shape)
    own.set_weights(layer.get_weights())
    before = layer.get_weights()
    assert np.array_equal(np.asarray(layer(drawn(*shape))), np.asarray(own(drawn(*shape))))
    assert all(map(np.array_equal, layer.get_weights(), before))
