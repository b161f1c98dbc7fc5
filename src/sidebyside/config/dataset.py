"""The data set in use: its shape, classes and splits, as `preprocess` writes them.

Every later stage takes shapes and class names from this record; nothing else knows them.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sidebyside.config.validation import StrictModel, Text, read_record
from sidebyside.core.errors import quoted

# How a picture file becomes an image of the data set's shape. `trim` is for objects on a plain
# background: trim it, scale, centre, and invert to light on dark. The others are rules of resizing.
Preparation = Literal["trim", "stretch", "pad", "crop"]
MIN_SIDE, MAX_SIDE = 8, 128  # pixels
MAX_CLASSES = 200
Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)]
Margin = Annotated[int, Field(ge=0, le=63)]  # pixels


def _named(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "my-icons"
        raise ValueError(f"must be lower-case letters, digits and hyphens, such as {near}")
    for suffix in ("-search", "-replications"):
        if name.endswith(suffix):
            raise ValueError(f"must not end with {suffix}, as other experiments in MLflow do")
    return name


# Part of MLflow's names, such as fashion-mnist.
Name = Annotated[str, Field(max_length=60), AfterValidator(_named)]


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    for index, name in enumerate(names):
        if not name.strip():
            raise ValueError(f"class {index} has an empty name")
        if name in names[:index]:
            raise ValueError(f"class_names must be distinct, but {quoted(name)} occurs twice")
    return names


ClassNames = Annotated[
    tuple[Text, ...],
    Field(strict=False, min_length=2, max_length=MAX_CLASSES),
    AfterValidator(_distinct),
]


class SplitSummary(StrictModel):
    """One split of a data set."""

    images: Annotated[int, Field(ge=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # of shape, pixels and labels


class Dataset(StrictModel):
    """data/processed/dataset.json: shape, class names and splits of the data set."""

    name: Name
    title: str  # as prose writes it, such as Fashion-MNIST
    height: Side
    width: Side
    channels: Literal[1, 3]  # grey, or red, green and blue
    class_names: ClassNames
    mirror: bool  # whether the mirror image of an image belongs to the same class
    preparation: Preparation  # of picture files
    margin: Margin = 0  # pixels that `trim` leaves at each edge
    # Default of augment.classes; all classes if empty.
    augmented_classes: Annotated[tuple[str, ...], Field(strict=False)] = ()
    licence: str = ""
    source: str = ""  # where the data come from
    citation: str = ""
    splits: dict[str, SplitSummary]  # train, val and test

    @model_validator(mode="after")
    def _trimmed(self) -> Self:
        if self.preparation == "trim" and self.channels == 3:
            raise ValueError("resize must be stretch, pad or crop for images in colour, not 'trim'")
        if 2 * self.margin >= min(self.height, self.width):
            raise ValueError(f"margin {self.margin} leaves nothing of {self.height}×{self.width}")
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an image: [height, width], with a third axis for three channels."""
        return (self.height, self.width) if self.channels == 1 else (self.height, self.width, 3)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def read_dataset(path: Path) -> Dataset:
    """Return the content of dataset.json.

    Raises:
        UserError: the file is missing, is not valid JSON, or does not match the schema.
    """
    return read_record(path, Dataset)
