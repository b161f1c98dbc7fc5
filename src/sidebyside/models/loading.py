"""Load a saved model, wherever it comes from, only after its file has been checked.

Keras builds whatever a file describes: layers that run code or read other files, and variables of
any size. Therefore a file is refused unless it is an archive like those that `saving` writes, of
known layers, with as many weights as these layers need.
"""

import io
import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from sidebyside.config.dataset import Dataset
from sidebyside.core.errors import UserError, first_line

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MEMBERS = {"metadata.json", CONFIG, WEIGHTS}
MAX_BYTES = 4 << 30  # of a file; a model of this size needs more than 16 GB to be trained
MAX_CONFIG_BYTES = 1 << 20  # the default CNN's configuration has 20 KB
MAX_LAYER_VALUES = 10_000_000  # outputs of a layer for one image

# The layers that a model may consist of: they neither run code from a file nor read other files.
LAYERS = {
    *("InputLayer", "Rescaling", "Reshape", "Flatten", "Permute"),
    *("Dense", "Conv2D", "DepthwiseConv2D", "SeparableConv2D"),
    *(
        "ZeroPadding2D",
        "Cropping2D",
        "MaxPooling2D",
        "AveragePooling2D",
        "GlobalMaxPooling2D",
        "GlobalAveragePooling2D",
    ),
    *("BatchNormalization", "LayerNormalization", "GroupNormalization"),
    *("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax"),
    *(
        "Dropout",
        "SpatialDropout2D",
        "Add",
        "Subtract",
        "Multiply",
        "Concatenate",
        "Average",
        "Maximum",
        "Minimum",
    ),
}
# Everything else that the description of such layers names, by module.
OTHERS = {
    "keras": {"DTypePolicy", "Sequential"},
    "keras.src.models.functional": {"Functional"},
    "keras.regularizers": {"L1", "L2", "L1L2"},
    "keras.initializers": {
        *("Zeros", "Ones", "Constant", "GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal"),
        *("LecunUniform", "LecunNormal", "RandomUniform", "RandomNormal", "TruncatedNormal"),
        *("Orthogonal", "VarianceScaling"),
    },
    None: {"__keras_tensor__"},  # a reference to a layer's output
}


def load_model(path: Path, dataset: Dataset) -> keras.Model:
    """Return a saved model, in memory proportional to the size of its file.

    Args:
        path: a .keras file.
        dataset: the data set that the model must fit.

    Raises:
        UserError: the file is missing, is not a valid Keras model, has other layers than those in
            LAYERS, other input or output than the data set's, or weights that are not finite.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; expected a .keras file")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file; expected a .keras file")
    if not path.exists():
        raise UserError(f"{path} is missing: run `dvc repro train`")
    # Keras, HDF5, zipfile and json raise about ten types of errors for damaged files.
    try:
        config, weights = _members(path)
        values = _check_weights(weights)
        del weights
        _check_model(config, values, dataset)
        model = keras.saving.load_model(path, compile=False)
        _check_probabilities(model, dataset)
    except _OtherDataError as error:
        raise UserError(f"{path} is a model for other data: {error}") from None
    except Exception as error:
        raise UserError(f"{path} is not a valid Keras model: {first_line(error)}") from None
    return model


class _OtherDataError(Exception):
    """The model is valid, but for other images or classes."""


def _members(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the configuration and the weights in an archive.

    Members that are not compressed cannot be larger than the archive.

    Raises:
        Exception: it is not an archive, or has other or compressed members.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 30} GiB")
    if not zipfile.is_zipfile(path):
        raise ValueError("not a .keras archive, or truncated")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sorted(member.filename for member in members) != sorted(MEMBERS):
            raise ValueError(f"expected the members {', '.join(sorted(MEMBERS))} only")
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{member.filename} is compressed")
        if archive.getinfo(CONFIG).file_size > MAX_CONFIG_BYTES:
            raise ValueError(f"{CONFIG} is larger than {MAX_CONFIG_BYTES >> 20} MiB")
        # Only training needs the optimizer in compile_config.
        config = json.loads(archive.read(CONFIG)) | {"compile_config": None}
        return config, archive.read(WEIGHTS)


def _check_weights(content: bytes) -> int:
    """Return the number of values in an HDF5 file of finite numbers.

    Raises:
        Exception: it is not such a file, or does not contain all of its values itself.
    """
    values = 0
    with h5py.File(io.BytesIO(content), "r") as file:
        for name, dataset in _datasets(file):
            properties = dataset.id.get_create_plist()
            stored = dataset.id.get_storage_size() == dataset.nbytes <= len(content)
            layouts = (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
            if dataset.external or not stored or properties.get_layout() not in layouts:
                raise ValueError(f"weight {name} is not stored in the file itself")
            if dataset.dtype.kind not in "fiu":
                raise ValueError(f"weight {name} is {dataset.dtype}, expected numbers")
            if not np.isfinite(dataset[()]).all():
                raise ValueError(f"weight {name} has values that are not finite")
            values += dataset.size
    return values


def _datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the datasets of an HDF5 file with their names, each once.

    Raises:
        ValueError: the file has links, which may lead to other files.
    """
    names: list[str] = []
    links: list[str] = []
    file.visititems(lambda name, _: names.append(name))  # in cycles, each object once
    file.visititems_links(
        lambda name, link: links.append(name) if not isinstance(link, h5py.HardLink) else None
    )
    if links:
        raise ValueError(f"weight {links[0]} is a link")
    for name in names:
        if isinstance(file[name], h5py.Dataset):
            yield name, file[name]


def _check_model(config: dict[str, Any], values: int, dataset: Dataset) -> None:
    """Check a model's description by building the model without memory for its variables.

    Args:
        config: the model's configuration.
        values: number of values of its weights.
        dataset: gives the shapes of its input and output.

    Raises:
        Exception: Keras cannot build it, or it has other layers, input, output or sizes.
    """
    check_classes(config)
    try:
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(config)
        images = ((None, *dataset.shape), "uint8")
        probabilities = ((None, dataset.classes), "float32")
        for kind, tensors, expected in (
            ("input", model.inputs, images),
            ("output", model.outputs, probabilities),
        ):
            found = [(tuple(tensor.shape), str(tensor.dtype)) for tensor in tensors]
            if found != [expected]:
                text = ", ".join(f"{dtype} {shape}" for shape, dtype in found)
                wanted = f"{expected[1]} {expected[0]}"
                raise _OtherDataError(f"its {kind} is {text}, expected {wanted}")
        if (parameters := model.count_params()) > values:
            raise ValueError(f"its layers have {parameters} weights, but the file has {values}")
        check_sizes(model)
    finally:
        # Keras would otherwise initialize the variables when the next model is built.
        keras.backend.clear_session(free_memory=False)


def check_sizes(model: keras.Model) -> None:
    """Check the sizes of the layers' outputs.

    Raises:
        ValueError: a layer has more than MAX_LAYER_VALUES outputs per image.
    """
    for layer in model.layers:
        shape = layer.output.shape[1:]
        if None in shape or math.prod(shape) > MAX_LAYER_VALUES:
            raise ValueError(
                f"layer {layer.name} has {shape} outputs per image, at most"
                f" {MAX_LAYER_VALUES:,} are allowed"
            )


def check_classes(node: Any) -> None:
    """Check the classes that a configuration names.

    Raises:
        ValueError: a class is not among LAYERS and OTHERS.
    """
    if isinstance(node, dict):
        if "class_name" in node:
            module, name = node.get("module"), node["class_name"]
            allowed = LAYERS if module == "keras.layers" else OTHERS.get(module, set())
            if name not in allowed or node.get("registered_name") not in (None, name):
                full = f"{module}.{name}" if module else name
                raise ValueError(
                    f"{full} is not among the LAYERS that models may have"
                    " (sidebyside/models/loading.py)"
                )
        for child in node.values():
            check_classes(child)
    elif isinstance(node, list):
        for child in node:
            check_classes(child)


def _check_probabilities(model: keras.Model, dataset: Dataset) -> None:
    """Check that a model's outputs are probabilities.

    Raises:
        ValueError: the outputs for a black image are not.
    """
    image = np.zeros((1, *dataset.shape), np.uint8)
    outputs = np.asarray(model(image, training=False))
    if not (outputs.min() >= 0 and abs(outputs.sum() - 1) < 1e-3):  # false for NaN
        raise ValueError("its outputs are not probabilities")
