"""Fused versions of Keras layers that make fewer passes over memory.

Keras composes its layers of general operations, each of which reads and writes whole arrays. These
layers compute the same functions with fewer or faster operations during training; `make benchmark`
measures the time saved. (Keras and TensorFlow have no type annotations.)
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


class FusedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]  # untyped
    """Batch normalisation (Ioffe & Szegedy 2015), one kernel forward and one backward.

    The moving variance averages the unbiased sample variance (divided by n - 1), as in the paper;
    Keras divides by n. Inference is the same as that of Keras's layer with the same weights.
    """

    def call(self, inputs: tf.Tensor, training: Any = None, mask: Any = None) -> tf.Tensor:
        """Return the normalised inputs, of the same shape.

        Args:
            inputs: [N, channels] or [N, height, width, channels].
            training: normalise by the batch's statistics and update the moving ones; otherwise
                normalise by the moving ones.
            mask: must be None.
        """
        if not training:
            return super().call(inputs, training=False, mask=mask)
        flat = inputs.shape.rank == 2
        x = inputs[:, None, None, :] if flat else inputs
        x, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=self.epsilon,
            is_training=True,
        )
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return x[:, 0, 0, :] if flat else x


class FusedDense(keras.layers.Dense):  # type: ignore[misc]  # untyped
    """Dense layer without activation whose bias gradient is a matrix product.

    TensorFlow's gradient of a bias takes longer than a product with a row of ones.
    """

    def call(self, inputs: tf.Tensor, training: Any = None) -> tf.Tensor:
        """Return inputs, [N, features], times the kernel plus the bias, [N, units]."""
        outputs = tf.matmul(inputs, self.kernel)
        return _add_bias(outputs, tf.convert_to_tensor(self.bias)) if self.use_bias else outputs


class FusedDropout(keras.layers.Dropout):  # type: ignore[misc]  # untyped
    """Dropout (Srivastava et al. 2014) that draws half as many random bits as Keras's.

    Sixteen bits per unit decide whether it is dropped, so the rate is rounded to a multiple of
    1/65,536; the remaining units are scaled by the rounded rate.
    """

    def call(self, inputs: tf.Tensor, training: Any = None) -> tf.Tensor:
        """Return the inputs, of any shape; in training some are set to 0 and the rest scaled."""
        if not training:
            return inputs
        *leading, units = tf.unstack(tf.shape(inputs))
        seed = tf.cast(self.seed_generator.next(), tf.int32)  # below 2³¹, as `derive_seed` is
        pairs = tf.random.stateless_uniform(
            [*leading, (units + 1) // 2], seed, minval=None, maxval=None, dtype=tf.uint32
        )
        draws = tf.reshape(tf.bitcast(pairs, tf.uint16), [*leading, -1])[..., :units]
        dropped = round(self.rate * 2**16)
        kept = tf.cast(draws >= tf.constant(dropped, tf.uint16), inputs.dtype)
        return inputs * tf.stop_gradient(kept * (2**16 / (2**16 - dropped)))


class FusedGelu(keras.layers.Activation):  # type: ignore[misc]  # untyped
    """Exact GELU (Hendrycks & Gimpel 2016) by TensorFlow's faster error function, erf.

    Keras uses erfc, which keeps more digits far below zero, where GELU is close to 0.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("gelu", **options)

    def call(self, inputs: tf.Tensor, training: Any = None) -> tf.Tensor:
        """Return the activations, of the same shape as the inputs."""
        return _gelu(inputs) if training else super().call(inputs)


class FusedGeluPooling(keras.layers.MaxPooling2D):  # type: ignore[misc]  # untyped
    """GELU followed by 2 × 2 max pooling.

    GELU decreases up to one point and increases from there, so the maximum activation of a window
    is that of its maximum or its minimum input. The error function is evaluated for these two
    instead of all four, and the gradient for one. As in Keras's pooling, an odd last row or column
    is dropped, and the first of equal inputs receives the whole gradient.
    """

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(2, name=name)

    def call(self, inputs: tf.Tensor, training: Any = None) -> tf.Tensor:
        """Return [N, height // 2, width // 2, channels] for inputs [N, height, width, channels]."""
        if not training:
            return super().call(keras.activations.gelu(inputs))
        return _gelu_pooled(inputs)


Gradient = Callable[[tf.Tensor], Any]


def builtin_layers(layer: keras.Layer) -> list[keras.Layer]:
    """Return new built-in layers of Keras that in sequence predict the same as `layer`."""
    if isinstance(layer, FusedGeluPooling):
        precision = layer.dtype_policy
        return [
            keras.layers.Activation("gelu", dtype=precision, name=layer.name),
            keras.layers.MaxPooling2D(dtype=precision, name=f"{layer.name}_pool"),
        ]
    builtin = {
        FusedBatchNormalization: keras.layers.BatchNormalization,
        FusedDense: keras.layers.Dense,
        FusedDropout: keras.layers.Dropout,
        FusedGelu: keras.layers.Activation,
    }
    kind = type(layer)
    return [builtin.get(kind, kind).from_config(layer.get_config())]


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _add_bias(x: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        ones = tf.ones([1, tf.shape(upstream)[0]], upstream.dtype)
        return upstream, tf.matmul(ones, upstream)[0]

    return tf.nn.bias_add(x, bias), gradient


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _gelu(x: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """Return GELU, x Φ(x), with its derivative Φ(x) + x φ(x); Φ and φ are standard normal."""
    cumulative = _cumulative(x)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return upstream * (cumulative + x * _density(x))

    return x * cumulative, gradient


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _gelu_pooled(x: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """Return the maximum GELU of each 2 × 2 window of x, [N, height, width, channels].

    XLA compiles it into fewer passes than single operations make. The gradient is two functions, as
    one would compute the derivative at all four positions.
    """
    height, width, channels = x.shape[1:]
    h, w = height // 2, width // 2
    odd = height % 2 or width % 2
    even = x[:, : 2 * h, : 2 * w] if odd else x
    outputs, chosen, position = _max_gelu(tf.reshape(even, [-1, h, 2, w, 2, channels]))

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        scattered = _scatter(_gelu_gradient(chosen, upstream), position)
        scattered = tf.reshape(scattered, [-1, 2 * h, 2 * w, channels])
        edges = [[0, 0], [0, height % 2], [0, width % 2], [0, 0]]
        return tf.pad(scattered, edges) if odd else scattered

    return outputs, gradient


@tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
def _max_gelu(windows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return each window's maximum GELU, the input that gives it, and its position from 0 to 3.

    Args:
        windows: [N, h, 2, w, 2, channels].

    Returns:
        Three tensors [N, h, w, channels].
    """
    corners = [windows[:, :, row, :, column] for row in (0, 1) for column in (0, 1)]
    highest, lowest = functools.reduce(tf.maximum, corners), functools.reduce(tf.minimum, corners)
    use_highest = highest * _cumulative(highest) >= lowest * _cumulative(lowest)
    chosen = tf.where(use_highest, highest, lowest)
    position = tf.constant(3)
    for number in (2, 1, 0):  # backwards, so that the first of equal inputs wins
        position = tf.where(corners[number] == chosen, number, position)
    return chosen * _cumulative(chosen), chosen, position


@tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
def _gelu_gradient(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """Return the upstream gradient times the derivative of GELU at x, all of one shape."""
    return upstream * (_cumulative(x) + x * _density(x))


@tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
def _scatter(values: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """Return windows with each value at its position and 0 at the others.

    Args:
        values: [N, h, w, channels].
        position: of each value in its window, 0 to 3; of the same shape.

    Returns:
        [N, h, 2, w, 2, channels].
    """
    positions = tf.reshape(tf.range(4), [2, 1, 2, 1])
    here = position[:, :, None, :, None] == positions
    return tf.where(here, values[:, :, None, :, None], tf.zeros([], values.dtype))


def _cumulative(x: tf.Tensor) -> tf.Tensor:
    """Return Φ(x), the cumulative distribution function of the standard normal distribution."""
    return tf.math.erf(x * math.sqrt(1 / 2)) * 0.5 + 0.5


def _density(x: tf.Tensor) -> tf.Tensor:
    """Return φ(x), the density of the standard normal distribution."""
    return tf.exp(tf.square(x) * -0.5) * (1 / math.sqrt(2 * math.pi))
