"""Optimizers and the learning rate schedule."""

import math
from typing import Any

import keras
import tensorflow as tf

from sidebyside.config.hyperparameters import Hyperparameters


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


def build_optimizer(h: Hyperparameters) -> keras.optimizers.Optimizer:
    if h.optimizer == "adam":
        return FusedAdam(h.learning_rate)
    momentum = 0.9 if h.optimizer == "nesterov" else 0.0
    return keras.optimizers.SGD(h.learning_rate, momentum=momentum, nesterov=momentum > 0)


def scheduled_learning_rate(h: Hyperparameters, epoch: float, epochs: int) -> float:
    """Return the rate at a fractional epoch: linear warm-up, then constant or cosine to zero.

    Zero is reached where the last epoch ends, one step behind its last step.

    Cosine annealing without restarts: Loshchilov & Hutter 2017, equation 5.
    """
    if epoch < h.warmup_epochs:
        return h.learning_rate * (epoch + 0.01) / (h.warmup_epochs + 0.01)
    if h.schedule == "constant":
        return h.learning_rate
    done = (epoch - h.warmup_epochs) / max(epochs - h.warmup_epochs, 1e-9)
    return h.learning_rate * (1 + math.cos(math.pi * min(done, 1.0))) / 2
