"""Check an untrained model before time is spent on its training."""

import json
import re
from typing import Any

import keras

from sidebyside.core.errors import TrainingError, UserError
from sidebyside.data.memory import shortage
from sidebyside.models import layers
from sidebyside.models.loading import MAX_BYTES, MAX_CONFIG_BYTES, check_classes, check_sizes

Configuration = dict[str, Any]  # JSON values

BYTES = 4  # of a float32 parameter


COPIES = 5  # of the parameters: weights, gradients, two moments of Adam, weights of the best epoch


def check_model(model: keras.Model, configured: Configuration) -> None:
    """Check that a model can be trained, saved and loaded.

    Args:
        model: as `architectures.build` returns it, possibly without memory for its weights.
        configured: its configuration.

    Raises:
        TrainingError: it is too large for the memory or for a file.
        UserError: it has nothing to train, or layers that a saved model must not have.
    """
    if not model.trainable_variables:
        raise UserError("the model has no trainable weights")
    for layer in configured["layers"]:
        if layer["module"] != layers.__name__:  # those have equivalents in Keras
            try:
                check_classes(layer)
            except ValueError as error:
                raise UserError(f"layer {layer['name']}: {error}") from None
    try:
        check_sizes(model)
    except ValueError as error:
        raise TrainingError(str(error)) from None
    if len(json.dumps(configured)) > MAX_CONFIG_BYTES:
        raise TrainingError(
            f"the model's configuration is larger than {MAX_CONFIG_BYTES >> 20} MiB: use fewer"
            " layers"
        )
    _require_memory(model.count_params())


def configuration(model: keras.Model) -> Configuration:
    """Return a model's configuration as JSON values, the same for equal models."""
    text = json.dumps(keras.saving.serialize_keras_object(model)["config"])
    # Numbers of shared objects are memory addresses.
    return dict(json.loads(re.sub(r'"shared_object_id": \d+', '"shared_object_id": 0', text)))


def _require_memory(parameters: int) -> None:
    size = BYTES * parameters
    if size > MAX_BYTES:
        raise TrainingError(
            f"the model has {parameters:,} parameters, of which a saved model has at most"
            f" {MAX_BYTES // BYTES:,}: reduce its size"
        )
    if lacking := shortage(COPIES * size):
        raise TrainingError(
            f"the model has {parameters:,} parameters, whose training needs {lacking}: reduce its"
            " size, or end other programs"
        )
