"""Keras's Adam and batch normalisation in fewer passes over the memory.

Keras composes both of general operations, each of which reads and writes whole arrays; TensorFlow
has each as one kernel that does the same arithmetic. `make benchmark` shows what that saves.
"""

from typing import Any

import keras
import tensorflow as tf


class FusedAdam(keras.optimizers.Adam):  # type: ignore[misc]  # Keras has no types
    """Adam (Kingma & Ba 2015, end of section 2), one kernel per variable."""

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: Any) -> None:
        """Update a variable and its two moments in place."""
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


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
