"""What a model is built and trained with: one flat, typed record per architecture.

`tune` writes such a record, `train` reads it, MLflow logs it, and a user can write one by hand. A
new architecture is a record here, an entry in RECORDS, and a builder in `models`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from sidebyside.config.dataset import IMAGE_SIZE
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json

Units = Annotated[int, Field(ge=1, le=8192)]
Dropout = Annotated[float, Field(ge=0, le=0.9)]  # share of the values set to zero
Kernel = Annotated[int, Field(ge=1, le=7)]  # side in pixels

Activation = Literal["relu", "gelu", "silu", "elu", "tanh"]


# One value for all layers, or a list with one for each. The tags keep the two apart, so that an
# error speaks of the one that was given.
ALL, EACH = "<all>", "<each>"
Kind = TypeVar("Kind")
List = Annotated[tuple[Kind, ...], Field(strict=False, min_length=1)]
Layers = Annotated[
    Annotated[Kind, Tag(ALL)] | Annotated[List[Kind], Tag(EACH)],
    Discriminator(lambda value: EACH if isinstance(value, (list, tuple)) else ALL),
]

SHOWN = 80  # characters of a key or a value in an error message


class Section(BaseModel):
    """A closed, frozen, strictly typed piece of configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Hyperparameters(Section):
    """What every architecture is trained with."""

    activation: Activation
    kernel_initializer: Literal["glorot_uniform", "he_normal"]  # of hidden layers
    dropout: Layers[Dropout]  # after each hidden dense layer; of a CNN without, before `logits`
    batch_norm: bool
    l2: Annotated[float, Field(ge=0, le=1)]  # l2 · Σ kernel² of hidden layers, added to the loss
    optimizer: Literal["adam", "sgd", "nesterov"]  # nesterov: sgd with Nesterov momentum 0.9
    learning_rate: Annotated[float, Field(gt=0, le=10)]  # the highest, reached after warm-up
    schedule: Literal["constant", "cosine"]  # cosine: to zero at the last step
    warmup_epochs: Annotated[float, Field(ge=0, le=100)]  # learning rate rises linearly
    weight_decay: Annotated[float, Field(ge=0, le=1)]  # decoupled, kernels only
    batch_size: Annotated[int, Field(ge=1, le=8192)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    flip: bool  # each training image mirrored left to right with probability 0.5, anew every epoch
    shift: Annotated[int, Field(ge=0, le=14)]  # pixels at most, each way, anew every epoch
    cutout: Annotated[int, Field(ge=0, le=28)]  # side in pixels of a random square set to zero
    weight_averaging: Annotated[float, Field(ge=0, lt=1)]  # decay per step; 0 is none
    precision: Literal["float32", "bfloat16"]  # of the layers; weights and logits are float32


class MlpHyperparameters(Hyperparameters):
    """A multilayer perceptron."""

    hidden_units: Annotated[tuple[Units, ...], Field(strict=False, min_length=1, max_length=16)]
    input_dropout: Dropout

    @model_validator(mode="after")
    def _enough(self) -> Self:
        each(self.dropout, len(self.hidden_units), "dropout", "hidden layers")
        return self


class CnnHyperparameters(Hyperparameters):
    """A convolutional network: blocks of convolutions, with max pooling between them."""

    filters: Annotated[tuple[Units, ...], Field(strict=False, min_length=1, max_length=4)]
    convolutions: Annotated[  # per block, as many as `filters`
        tuple[Annotated[int, Field(ge=1, le=8)], ...], Field(strict=False, min_length=1)
    ]
    kernel_size: Layers[Kernel]  # in each block
    padding: Literal["same", "valid"]
    pool_last: bool  # max pooling after the last block too
    head: Literal["flatten", "average"]  # what becomes of the last block's feature maps
    dense_units: Annotated[int, Field(ge=0, le=8192)]  # 0: no hidden dense layer
    block_dropout: Layers[Dropout]  # after each block

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.convolutions) != len(self.filters):
            raise ValueError(
                f"convolutions has {len(self.convolutions)} blocks, filters {len(self.filters)}"
            )
        blocks = len(self.filters)
        each(self.dropout, 1, "dropout", "hidden dense layers")
        each(self.block_dropout, blocks, "block_dropout", "blocks")
        kernels = each(self.kernel_size, blocks, "kernel_size", "blocks")
        size = IMAGE_SIZE
        for block, (convolutions, kernel) in enumerate(
            zip(self.convolutions, kernels, strict=True), 1
        ):
            if self.padding == "valid":
                size -= convolutions * (kernel - 1)
            if block < len(self.filters) or self.pool_last:
                size //= 2
            if size < 1:
                raise ValueError(
                    f"block {block} leaves nothing of the {IMAGE_SIZE}×{IMAGE_SIZE} pixels: use"
                    " padding same, fewer convolutions or a smaller kernel_size"
                )
        return self


Number = TypeVar("Number", int, float)


def each(
    value: Number | Sequence[Number], count: int, name: str = "", what: str = ""
) -> list[Number]:
    """Return a value for each of `count` layers, from one for all or one by one.

    A list may be longer, and its end goes unused, so that a search over the number of layers can
    search a value for each.

    Raises:
        ValueError: a list is too short; the message names it.
    """
    if not isinstance(value, Sequence):
        return [value] * count
    if len(value) < count:
        raise ValueError(f"{name} has {len(value)} values for {count} {what}")
    return list(value[:count])


RECORDS: dict[str, type[Hyperparameters]] = {"mlp": MlpHyperparameters, "cnn": CnnHyperparameters}


def parse(model: str, values: dict[str, Any], source: str) -> Hyperparameters:
    """Return the checked record of one architecture.

    Args:
        model: a key of RECORDS.
        values: hyperparameter → value.
        source: what an error message begins with.

    Raises:
        UserError: unknown architecture; a hyperparameter is missing, unknown, or impossible.
    """
    if model not in RECORDS:
        raise UserError(f"{source}: unknown model {model!r}: choose from {', '.join(RECORDS)}")
    try:
        return RECORDS[model].model_validate(values)
    except ValidationError as error:
        raise UserError(f"{source}: {explain(error)}") from None


def read(model: str, path: Path) -> Hyperparameters:
    """Return the record in a JSON file, as `tune` or a user wrote it.

    Raises:
        UserError: the file is missing, no JSON, or no complete record.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected an object of hyperparameters")
    return parse(model, content, str(path))


def explain(error: ValidationError, prefix: str = "") -> str:
    """Return a validation error as one line: which key, what is wrong, what it was."""
    parts = []
    problems = error.errors(include_url=False)
    places = {problem["loc"][:-1] for problem in problems}
    for problem in problems:
        if problem["type"] == "too_short" and problem["loc"] in places:
            continue  # what is wrong with its items has been said
        key = ".".join(_shown(part) for part in problem["loc"] if part not in (ALL, EACH))
        key = ".".join(part for part in (prefix, key) if part)
        message = problem["msg"].removeprefix("Value error, ")
        message = message.replace("tuple", "list").replace("Tuple", "List")
        if problem["type"] == "extra_forbidden":
            message = "unknown key"
        elif problem["type"] == "missing":
            message = "is missing"
        elif isinstance(problem["input"], (str, int, float, bool)):
            message += f", not {_shown(repr(problem['input']))}"
        parts.append(f"{key}: {message}" if key else message)
    return "; ".join(parts)


def _shown(part: object) -> str:
    """Return a key or a value on one line, cut where it would fill the screen."""
    text = " ".join(str(part).split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
