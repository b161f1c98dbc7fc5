"""Layers and an optimizer of Keras's in fewer passes over the memory.

Keras composes them of general operations, each of which reads and writes whole arrays; here are
the same functions of fewer or of faster ones, while training. `make benchmark` shows what that
saves.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


class FusedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]  # likewise
    """Batch normalisation (Ioffe & Szegedy 2015) whose training step is one kernel each way.

    The running variance is that of the sample (divided by n - 1), as in the paper; Keras's is
    divided by n. `models.portable` turns the layer into Keras's own, for which it is no different.
    """

    def call(self, inputs: tf.Tensor, training: Any = None, mask: Any = None) -> tf.Tensor:
        """Return the inputs, [N, …, channels], normalised by this batch or by the running values.

        Args:
            inputs: of rank 2 or 4.
            training: normalise by this batch, and move the running values towards it.
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
        for running, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            running.assign(running * self.momentum + batch * (1 - self.momentum))
        return x[:, 0, 0, :] if flat else x


class FusedDense(keras.layers.Dense):  # type: ignore[misc]  # likewise
    """A dense layer without an activation whose biases learn by a matrix product.

    TensorFlow's own gradient of a bias takes longer than the product with a row of ones.
    """

    def call(self, inputs: tf.Tensor, training: Any = None) -> tf.Tensor:
        """Return inputs, [N, features], times the weights plus the biases, [N, units]."""
        outputs = tf.matmul(inputs, self.kernel)
        return _biased(outputs, tf.convert_to_tensor(self.bias)) if self.use_bias else outputs


class FusedDropout(keras.layers.Dropout):  # type: ignore[misc]  # likewise
    """Dropout (Srivastava et al. 2014) that draws half as many bits as Keras's.

    Sixteen bits decide about a unit, so the rate is that of the nearest multiple of 1/65,536; what
    is kept is scaled by just that rate.
    """

    def call(self, inputs: tf.Tensor, training: Any = None) -> tf.Tensor:
        """Return the inputs, of any shape, in training with some of them 0 and the rest scaled."""
        if not training:
            return inputs
        *places, units = tf.unstack(tf.shape(inputs))
        seed = tf.cast(self.seed_generator.next(), tf.int32)  # below 2³¹, as `derive_seed` is
        pairs = tf.random.stateless_uniform(
            [*places, (units + 1) // 2], seed, minval=None, maxval=None, dtype=tf.uint32
        )
        draws = tf.reshape(tf.bitcast(pairs, tf.uint16), [*places, -1])[..., :units]
        dropped = round(self.rate * 2**16)
        kept = tf.cast(draws >= tf.constant(dropped, tf.uint16), inputs.dtype)
        return inputs * tf.stop_gradient(kept * (2**16 / (2**16 - dropped)))


class FusedGelu(keras.layers.Activation):  # type: ignore[misc]  # likewise
    """GELU (Hendrycks & Gimpel 2016), exact, with the error function of TensorFlow's that is fast.

    Keras takes the complementary one, which keeps more digits far below zero, where the result is
    next to nothing.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("gelu", **options)

    def call(self, inputs: tf.Tensor, training: Any = None) -> tf.Tensor:
        """Return the activations, of the inputs' shape."""
        return _gelu(inputs) if training else super().call(inputs)


class FusedGeluPooling(keras.layers.MaxPooling2D):  # type: ignore[misc]  # likewise
    """GELU, then the maximum of each window of 2 × 2.

    GELU falls as far as one point and rises from there, so the greatest activation of a window is
    that of its greatest or of its least input. The error function is taken of these two instead of
    all four, and the gradient of one. As ever, what is left over at an odd edge is dropped, and
    the first of equal inputs has the whole gradient.
    """

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(2, name=name)

    def call(self, inputs: tf.Tensor, training: Any = None) -> tf.Tensor:
        """Return [N, height // 2, width // 2, channels], of inputs [N, height, width, channels]."""
        if not training:
            return super().call(keras.activations.gelu(inputs))
        return _gelu_pooled(inputs)


Gradient = Callable[[tf.Tensor], Any]


def portable_layers(layer: keras.Layer) -> list[keras.Layer]:
    """Return new layers of Keras's own that predict, one after the other, what `layer` does."""
    if isinstance(layer, FusedGeluPooling):
        precision = layer.dtype_policy
        return [
            keras.layers.Activation("gelu", dtype=precision, name=layer.name),
            keras.layers.MaxPooling2D(dtype=precision, name=f"{layer.name}_pool"),
        ]
    own = {
        FusedBatchNormalization: keras.layers.BatchNormalization,
        FusedDense: keras.layers.Dense,
        FusedDropout: keras.layers.Dropout,
        FusedGelu: keras.layers.Activation,
    }
    kind = type(layer)
    return [own.get(kind, kind).from_config(layer.get_config())]


@tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow has no types
def _biased(x: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        ones = tf.ones([1, tf.shape(upstream)[0]], upstream.dtype)
        return upstream, tf.matmul(ones, upstream)[0]

    return tf.nn.bias_add(x, bias), gradient


@tf.custom_gradient  # type: ignore[untyped-decorator]  # likewise
def _gelu(x: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """Return x Φ(x), whose derivative is Φ(x) + x φ(x), of the standard normal distribution."""
    cumulative = _cumulative(x)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return upstream * (cumulative + x * _density(x))

    return x * cumulative, gradient


@tf.custom_gradient  # type: ignore[untyped-decorator]  # likewise
def _gelu_pooled(x: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
    """Return the greatest GELU of each window of 2 × 2 of x, [N, height, width, channels].

    XLA compiles it, in fewer passes than single operations; the way back in two functions, as in
    one the slope would be computed at all four places.
    """
    height, width, channels = x.shape[1:]
    h, w = height // 2, width // 2
    odd = height % 2 or width % 2
    even = x[:, : 2 * h, : 2 * w] if odd else x
    outputs, chosen, place = _greatest_gelu(tf.reshape(even, [-1, h, 2, w, 2, channels]))

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        placed = _placed(_gelu_gradient(chosen, upstream), place)
        placed = tf.reshape(placed, [-1, 2 * h, 2 * w, channels])
        edges = [[0, 0], [0, height % 2], [0, width % 2], [0, 0]]
        return tf.pad(placed, edges) if odd else placed

    return outputs, gradient


@tf.function(jit_compile=True)  # type: ignore[untyped-decorator]  # likewise
def _greatest_gelu(windows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the greatest GELU of each window, the input it is of, and that one's place, 0 to 3.

    Args:
        windows: [N, h, 2, w, 2, channels]; what is returned is [N, h, w, channels].
    """
    corners = [windows[:, :, row, :, column] for row in (0, 1) for column in (0, 1)]
    greatest, least = functools.reduce(tf.maximum, corners), functools.reduce(tf.minimum, corners)
    rises = greatest * _cumulative(greatest) >= least * _cumulative(least)
    chosen = tf.where(rises, greatest, least)
    place = tf.constant(3)
    for number in (2, 1, 0):  # backwards: the first of equal ones stays
        place = tf.where(corners[number] == chosen, number, place)
    return chosen * _cumulative(chosen), chosen, place


@tf.function(jit_compile=True)  # type: ignore[untyped-decorator]  # likewise
def _gelu_gradient(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """Return the upstream gradient times the derivative of GELU at x, of the same shape."""
    return upstream * (_cumulative(x) + x * _density(x))


@tf.function(jit_compile=True)  # type: ignore[untyped-decorator]  # likewise
def _placed(values: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Return [N, h, 2, w, 2, channels]: each value at its place of its window, 0 elsewhere."""
    places = tf.reshape(tf.range(4), [2, 1, 2, 1])
    here = place[:, :, None, :, None] == places
    return tf.where(here, values[:, :, None, :, None], tf.zeros([], values.dtype))


def _cumulative(x: tf.Tensor) -> tf.Tensor:
    """Return Φ(x), the distribution function of the standard normal distribution."""
    return tf.math.erf(x * math.sqrt(1 / 2)) * 0.5 + 0.5


def _density(x: tf.Tensor) -> tf.Tensor:
    """Return φ(x), the density of the standard normal distribution."""
    return tf.exp(tf.square(x) * -0.5) * (1 / math.sqrt(2 * math.pi))
