"""Build the optimizer and compute the learning rate schedule."""

import math
from typing import Any

import keras
import tensorflow as tf

from sidebyside.config.hyperparameters import Hyperparameters


class FusedAdam(keras.optimizers.Adam):  # type: ignore[misc]  # Keras has no types
    """Adam (Kingma & Ba 2015, end of section 2) with one fused kernel per variable."""

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: Any) -> None:
        """Update a variable and its two moment estimates in place."""
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
    """Return Adam, SGD, or SGD with Nesterov momentum of 0.9.

    Weight decay is not the optimizer's: the training step applies it.
    """
    if h.optimizer == "adam":
        return FusedAdam(h.learning_rate)
    momentum = 0.9 if h.optimizer == "nesterov" else 0.0
    return keras.optimizers.SGD(h.learning_rate, momentum=momentum, nesterov=momentum > 0)


def scheduled_learning_rate(h: Hyperparameters, epoch: float, epochs: int) -> float:
    """Return the learning rate: linear warm-up, then constant or cosine annealing to zero.

    The cosine (Loshchilov & Hutter 2017, equation 5, without restarts) reaches zero at the end of
    the last epoch, one step after its last step.

    Args:
        h: peak rate, schedule and length of the warm-up.
        epoch: the time since the start, in epochs; fractional within an epoch.
        epochs: the length of the schedule.
    """
    if epoch < h.warmup_epochs:
        return h.learning_rate * (epoch + 0.01) / (h.warmup_epochs + 0.01)
    if h.schedule == "constant":
        return h.learning_rate
    done = (epoch - h.warmup_epochs) / max(epochs - h.warmup_epochs, 1e-9)
    return h.learning_rate * (1 + math.cos(math.pi * min(done, 1.0))) / 2
