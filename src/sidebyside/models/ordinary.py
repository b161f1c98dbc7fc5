"""Turn an ordinary Keras model into one that the pipeline trains, saves and loads.

A builder returns a functional or Sequential model from images, float32 [height, width, channels]
scaled to 0–1, to logits or probabilities. `adapt` gives it an input of raw pixels and splits its
end into logits and their softmax; layers and initial weights stay the same. The layers of nested
models become layers of one flat model, in which later steps find all of them.
"""

from typing import Any

import keras
from keras.layers import Dense, Softmax
from keras.src.models.functional import Functional

from sidebyside.config.dataset import Dataset
from sidebyside.core.errors import UserError

SMALLEST_SCALE = 1 / 100  # a Rescaling layer with a smaller one expects images from 0 to 255


def adapt(model: Any, dataset: Dataset, name: str) -> keras.Model:
    """Return a model from raw pixels, uint8, whose last layer is the softmax of its logits.

    A model of raw pixels is returned unchanged, as it must end in this way already.

    Args:
        model: the model that a builder returned.
        dataset: gives the shape of an image and the number of classes.
        name: name of the new model.

    Raises:
        UserError: it is another object than a model from such images to a value per class, or has
            parts that a training cannot resume or a saved model cannot contain.
    """
    built = _built(model, dataset)
    if built.inputs[0].dtype == "uint8":
        return _with_raw_input(built, dataset)
    pixels = keras.Input(dataset.shape, dtype="uint8", name="pixels")
    x = keras.layers.Rescaling(1 / 255, name="scale")(pixels)
    if dataset.channels == 1 and len(built.inputs[0].shape) > len(dataset.shape) + 1:
        x = keras.layers.Reshape((*dataset.shape, 1), name="channel")(x)
    flat = _Flat()
    logits = _logits(flat, flat.apply(built, x))
    probabilities = Softmax(dtype="float32", name="probabilities")(logits)
    return keras.Model(pixels, probabilities, name=name)


def _built(model: Any, dataset: Dataset) -> keras.Model:
    """Return the model with its input and output, after a check of both."""
    if not isinstance(model, (Functional, keras.Sequential)):
        raise UserError(
            f"expected a functional keras.Model or a keras.Sequential, not {type(model).__name__}"
        )
    shape = (dataset.height, dataset.width, dataset.channels)
    if not model.built:
        model.build((None, *shape))
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UserError(
            f"the model has {len(model.inputs)} inputs and {len(model.outputs)} outputs, expected"
            " one of each"
        )
    given = tuple(model.inputs[0].shape[1:])
    if given not in (shape, dataset.shape):
        raise UserError(f"the model's input is {_text(given)}, expected {_text(shape)}")
    given = tuple(model.outputs[0].shape[1:])
    if given != (dataset.classes,):
        raise UserError(
            f"the model's output is {_text(given)}, expected [{dataset.classes}], one value per"
            " class"
        )
    return model


def _with_raw_input(model: keras.Model, dataset: Dataset) -> keras.Model:
    if model.inputs[0].shape[1:] != dataset.shape or not isinstance(model.layers[-1], Softmax):
        raise UserError(
            "the model's input is uint8: take float32 images that are scaled to 0–1, or raw pixels"
            f" {_text(dataset.shape)} to a Softmax layer at the end"
        )
    return model


def _logits(flat: "_Flat", output: keras.KerasTensor) -> keras.KerasTensor:
    """Return the logits from which a model computes its output, or its output if that is logits."""
    layer, before = flat.producer(output)
    is_softmax = isinstance(layer, Softmax) or _activation(layer) == "softmax"
    if is_softmax and not isinstance(layer, Dense):
        output = before
        layer, before = flat.producer(output)
        is_softmax = False
    if not is_softmax and (activation := _activation(layer)) != "linear":
        raise UserError(
            f"the last layer, {layer.name}, has the activation {activation}: use softmax or none"
        )
    if not isinstance(layer, Dense):
        return output
    layer.activation = keras.activations.linear
    layer.dtype_policy = "float32"  # for all precisions
    return layer(before)


def _activation(layer: keras.Layer) -> str:
    """Return the name of the activation of a dense or activation layer."""
    if isinstance(layer, (Dense, keras.layers.Activation)):
        return str(keras.activations.serialize(layer.activation))
    return "linear"


class _Flat:
    """Apply models layer by layer, and remember which layer made a tensor."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[keras.KerasTensor, keras.Layer, keras.KerasTensor]] = {}
        self._used: dict[int, int] = {}  # layer → number of calls

    def apply(self, operation: Any, x: Any, *others: Any, **_: Any) -> keras.KerasTensor:
        """Return the output of a layer or model; the layers of a model are applied one by one.

        Keras adds the options `training` and `mask` itself.
        """
        if isinstance(operation, Functional):
            # The method behind keras.models.clone_model, which cannot go into nested models.
            return operation._run_through_graph(x, call_fn=self.apply)
        _check(operation)
        if isinstance(operation, keras.Sequential):
            for layer in operation.layers:
                x = self.apply(layer, x)
            return x
        output = self._unused(operation)(x, *others)
        self._made[id(output)] = (output, operation, x)
        return output

    def producer(self, output: keras.KerasTensor) -> tuple[keras.Layer, keras.KerasTensor]:
        """Return the layer that made a tensor, and its input."""
        if id(output) not in self._made:
            raise UserError("the model has no layers")
        _, layer, x = self._made[id(output)]
        return layer, x

    def _unused(self, layer: keras.Layer) -> keras.Layer:
        """Return the layer, or a copy if it was called before, as exports need one per call."""
        calls = self._used[id(layer)] = self._used.get(id(layer), 0) + 1
        if calls == 1:
            return layer
        if layer.variables:
            raise UserError(
                f"the layer {layer.name} is called more than once: make one for each call"
            )
        return type(layer).from_config({**layer.get_config(), "name": f"{layer.name}_{calls}"})


def _check(layer: Any) -> None:
    if not isinstance(layer, keras.Layer):
        raise UserError(
            f"the operation {layer.name} is not a layer: use one of keras.layers, such as Add"
        )
    if isinstance(layer, keras.layers.Rescaling) and layer.scale < SMALLEST_SCALE:
        raise UserError(
            f"the layer {layer.name} scales images that are scaled to 0–1 already: remove it"
        )


def _text(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
