"""Configure TensorFlow before a test module imports it."""

from sidebyside.models.tensorflow_setup import configure

configure(2)
