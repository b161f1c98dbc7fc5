"""Hyperparameters: one flat, typed record per architecture.

`tune` writes such a record, `train` reads it, MLflow logs it, and a user can write one manually. A
new architecture needs a record that names its builder, and an entry in RECORDS.
"""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from sidebyside.config.dataset import Dataset
from sidebyside.config.validation import ONE_VALUE, VALUE_PER_LAYER, StrictModel, explain
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json

Units = Annotated[int, Field(ge=1, le=8192)]
Dropout = Annotated[float, Field(ge=0, le=0.9)]  # share of the values set to zero
Kernel = Annotated[int, Field(ge=1, le=7)]  # side in pixels

Activation = Literal["relu", "gelu", "silu", "elu", "tanh"]

# One value for all layers, or a list with one per layer. Because of the tags, an error is reported
# for the alternative that was given, not for both.
Kind = TypeVar("Kind")
PerLayer = Annotated[tuple[Kind, ...], Field(strict=False, min_length=1)]
Layers = Annotated[
    Annotated[Kind, Tag(ONE_VALUE)] | Annotated[PerLayer[Kind], Tag(VALUE_PER_LAYER)],
    Discriminator(lambda value: VALUE_PER_LAYER if isinstance(value, (list, tuple)) else ONE_VALUE),
]


class Hyperparameters(StrictModel):
    """How to train, for all architectures; an architecture's record adds its own hyperparameters.

    The defaults are Adam as its authors recommend it (Kingma & Ba 2015, algorithm 1), the batch
    size that Masters & Luschi (2018, section 6) recommend and Keras uses, and nothing else.
    """

    builder: ClassVar[str]  # "module:function" in sidebyside.models that builds the model
    short_name: ClassVar[str] = ""  # as prose writes the architecture; without it, its key
    long_name: ClassVar[str] = ""  # expansion of the acronym

    optimizer: Literal["adam", "sgd", "nesterov"] = "adam"  # nesterov: SGD, Nesterov momentum 0.9
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.001  # maximum, after warm-up
    schedule: Literal["constant", "cosine"] = "constant"  # cosine: decays to zero at the last step
    warmup_epochs: Annotated[float, Field(ge=0, le=100)] = 0.0  # of linearly increasing rate
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0  # decoupled, kernels only
    batch_size: Annotated[int, Field(ge=1, le=8192)] = 32
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    flip: bool = False  # flip training images horizontally with probability 0.5 in each epoch
    shift: Annotated[int, Field(ge=0, le=64)] = 0  # maximum pixels, in each direction, at random
    cutout: Annotated[int, Field(ge=0, le=128)] = 0  # side in pixels of a random square set to zero
    weight_averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0  # EMA decay per step; 0: off
    precision: Literal["float32", "bfloat16"] = "float32"  # to compute with; weights are float32

    def require_fit(self, dataset: Dataset) -> None:
        """Check the hyperparameters against the images; records with more checks extend it.

        Raises:
            ValueError: a value is impossible for images of this size, or `flip` is on although the
                mirror image of an image may belong to another class.
        """
        size, side = f"{dataset.height}×{dataset.width}", min(dataset.height, dataset.width)
        for name, value, limit in (
            ("shift", self.shift, side // 2),
            ("cutout", self.cutout, side),
        ):
            if value > limit:
                raise ValueError(f"{name}: at most {limit} for {size} pixels, not {value}")
        if self.flip and not dataset.mirror:
            raise ValueError("flip: must be false, as the data set has `mirror: false`")


class HiddenLayers(StrictModel):
    """Hyperparameters of the hidden layers of the MLP and the CNN."""

    activation: Activation
    kernel_initializer: Literal["glorot_uniform", "he_normal"]
    dropout: Layers[Dropout]  # after each hidden dense layer; without one, before `logits`
    batch_norm: bool
    l2: Annotated[float, Field(ge=0, le=1)]  # l2 · Σ kernel² is added to the loss


# The order of the bases keeps that of the keys: hidden layers, training, the architecture's own.


class MlpHyperparameters(Hyperparameters, HiddenLayers):
    """Hyperparameters of a multilayer perceptron."""

    builder = "architectures:build_mlp"
    short_name, long_name = "MLP", "multilayer perceptron"

    hidden_units: Annotated[tuple[Units, ...], Field(strict=False, min_length=1, max_length=16)]
    input_dropout: Dropout

    @model_validator(mode="after")
    def _values_per_layer(self) -> Self:
        per_layer(self.dropout, len(self.hidden_units), "dropout", "hidden layers")
        return self


class CnnHyperparameters(Hyperparameters, HiddenLayers):
    """Hyperparameters of a CNN: blocks of convolutions with max pooling between them."""

    builder = "architectures:build_cnn"
    short_name, long_name = "CNN", "convolutional neural network"

    filters: Annotated[tuple[Units, ...], Field(strict=False, min_length=1, max_length=4)]
    convolutions: Annotated[  # layers per block; as many entries as `filters`
        tuple[Annotated[int, Field(ge=1, le=8)], ...], Field(strict=False, min_length=1)
    ]
    kernel_size: Layers[Kernel]  # of each block
    padding: Literal["same", "valid"]
    pool_last: bool  # max pooling after the last block as well
    head: Literal["flatten", "average"]  # reduction of the last feature maps to a vector
    dense_units: Annotated[int, Field(ge=0, le=8192)]  # 0: no hidden dense layer
    block_dropout: Layers[Dropout]  # after each block

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.convolutions) != len(self.filters):
            raise ValueError(
                f"convolutions has {len(self.convolutions)} blocks,"
                f" but filters has {len(self.filters)}"
            )
        blocks = len(self.filters)
        per_layer(self.dropout, 1, "dropout", "hidden dense layers")
        per_layer(self.block_dropout, blocks, "block_dropout", "blocks")
        per_layer(self.kernel_size, blocks, "kernel_size", "blocks")
        return self

    def require_fit(self, dataset: Dataset) -> None:
        """Check the hyperparameters against the images.

        Raises:
            ValueError: the convolutions and poolings leave no pixels, or as in the base class.
        """
        super().require_fit(dataset)
        kernels = per_layer(self.kernel_size, len(self.filters))
        size = min(dataset.height, dataset.width)
        for block, (convolutions, kernel) in enumerate(
            zip(self.convolutions, kernels, strict=True), 1
        ):
            if self.padding == "valid":
                size -= convolutions * (kernel - 1)
            if block < len(self.filters) or self.pool_last:
                size //= 2
            if size < 1:
                raise ValueError(
                    f"filters: block {block} reduces the {dataset.height}×{dataset.width} pixels to"
                    " none: use fewer blocks, padding same, fewer convolutions or a smaller"
                    " kernel_size"
                )


Number = TypeVar("Number", int, float)


def per_layer(
    value: Number | Sequence[Number], count: int, name: str = "", layers: str = ""
) -> list[Number]:
    """Return one value for each of `count` layers.

    Args:
        value: one value for all layers, or a list. Surplus list items are ignored, so that a
            search over the number of layers can search a value for each.
        count: number of layers.
        name: hyperparameter, for the error message.
        layers: kind of layers, for the error message.

    Raises:
        ValueError: the list is too short.
    """
    if not isinstance(value, Sequence):
        return [value] * count
    if len(value) < count:
        raise ValueError(f"{name} has {len(value)} values for {count} {layers}")
    return list(value[:count])


RECORDS: dict[str, type[Hyperparameters]] = {"mlp": MlpHyperparameters, "cnn": CnnHyperparameters}

# Names of architectures are part of file names, keys, and names of stages and registered models.
# Hyphens separate these parts: icons-small-cnn is the model cnn of the data set icons-small, not
# small-cnn of icons.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def check_records() -> None:
    """Check that each architecture has a valid name and names a builder whose module exists.

    The module is not imported, because that takes seconds.

    Raises:
        UserError: an architecture has not.
    """
    for model, record in RECORDS.items():
        where = f"{Path(__file__).name}: RECORDS[{model!r}]"
        if not NAME.fullmatch(model):
            raise UserError(
                f"{where}: the name must start with a letter and consist of letters, digits and"
                " underscores"
            )
        if not hasattr(record, "builder"):
            raise UserError(
                f"{where}: {record.__name__} lacks its builder: add a line such as"
                f' builder = "{model}:build"'
            )
        module, _, function = record.builder.partition(":")
        try:
            found = importlib.util.find_spec(f"sidebyside.models.{module}")
        except ImportError:  # `module` has dots
            found = None
        if found is None or not function.isidentifier():
            raise UserError(
                f"{where}: builder {record.builder!r} does not name a file in"
                f" src/sidebyside/models and its function, as in '{model}:build'"
            )


def unknown_model(model: str) -> str:
    """Return the error for an architecture that is not in RECORDS."""
    return (
        f"unknown model {model!r}: choose from {', '.join(RECORDS)}, or add it as in docs/models.md"
    )


def parse_hyperparameters(model: str, values: dict[str, Any], source: str) -> Hyperparameters:
    """Return the checked record of one architecture.

    Args:
        model: a key of RECORDS.
        values: hyperparameter → value.
        source: prefix of error messages, such as a file.

    Raises:
        UserError: unknown architecture, or a missing, unknown or invalid hyperparameter.
    """
    if model not in RECORDS:
        raise UserError(f"{source}: {unknown_model(model)}")
    try:
        return RECORDS[model].model_validate(values)
    except ValidationError as error:
        raise UserError(f"{source}: {explain(error)}") from None


def read_hyperparameters(model: str, path: Path, dataset: Dataset | None = None) -> Hyperparameters:
    """Return the record in a JSON file written by `tune` or manually.

    Args:
        model: a key of RECORDS.
        path: the file.
        dataset: checks the values against its images as well.

    Raises:
        UserError: the file is missing, is not valid JSON, is not a complete record, or has a value
            that is impossible for the images.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a JSON object of hyperparameters")
    record = parse_hyperparameters(model, content, str(path))
    if dataset is not None:
        try:
            record.require_fit(dataset)
        except ValueError as error:
            raise UserError(f"{path}: {error}") from None
    return record
