"""Descriptions of data sets: `dataset` in params.yaml, a built-in name or a mapping.

The built-in data sets are described by the files in config/datasets.
"""

import re
from functools import cache
from importlib import resources
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    model_validator,
)
from ruamel.yaml import YAML

from sidebyside.config.dataset import (
    MAX_SIDE,
    MIN_SIDE,
    ClassNames,
    Margin,
    Name,
    Preparation,
    Side,
)
from sidebyside.config.validation import (
    BUILT_IN,
    ONE_VALUE,
    OWN,
    VALUE_PER_LAYER,
    StrictModel,
    Text,
)
from sidebyside.core.errors import quoted

FOLDER = "data/local"  # of the user's own data
TEST_FRACTION = 0.2  # share of each class, where a data set has no test split and `test` is missing


def _test_split(value: Any) -> float | str:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and 0 < value < 1:
        return float(value)
    if isinstance(value, str) and value.isprintable() and "/" not in value.strip("/"):
        return value.strip("/")
    raise ValueError("must be a number between 0 and 1, or the name of a folder")


def _pair(value: Any) -> Any:
    """Refuse anything but two sides, in one line for both of them."""
    sides = value if isinstance(value, (list, tuple)) else []
    good = [type(side) is int and MIN_SIDE <= side <= MAX_SIDE for side in sides]
    if good != [True, True]:
        shown = f", not {sides!s:.80}" if sides else ""
        raise ValueError(
            f"must be [height, width], whole numbers from {MIN_SIDE} to {MAX_SIDE}, such as"
            f" [32, 32]{shown}"
        )
    return value


TestSplit = Annotated[float | str, PlainValidator(_test_split)]


class RawFile(StrictModel):
    """A published file; data/raw contains it under this name with these bytes.

    Packagers compress the same content differently, so the checksum is that of the unpacked file,
    unless `name` ends in .gz.
    """

    name: Annotated[Text, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    size: Annotated[int, Field(ge=1)]  # bytes
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Source(StrictModel):
    """Where to get the published files: exactly one of these."""

    folder: Text | None = None  # contains the files, unpacked or as .gz
    python: Text | None = None  # folder below an installed Python package, such as package/data
    url: Text | None = None  # URL of the directory that contains the files as .gz
    debian: Text | None = None  # name of a package, downloaded with apt-get
    npm: Text | None = None  # name@version of a package, downloaded with npm

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len([name for name, value in self if value]) != 1:
            raise ValueError(f"give exactly one of {', '.join(type(self).model_fields)}")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url must begin with http:// or https://, not {self.url!r}")
        return self


class LabelColumn(StrictModel):
    """Where an IDX file of labels has the class of an image."""

    first: Annotated[int, Field(ge=0, le=1000)] = 0  # the smallest label, which becomes class 0
    column: Annotated[int, Field(ge=0, le=1000)] | None = None  # of labels in several columns


class Description(StrictModel):
    """What the built-in data sets and the user's own have in common."""

    name: Name
    title: Text = ""  # as prose writes it; the name by default
    format: Literal["csv", "idx", "npz", "pictures"]
    mirror: bool = False  # whether the mirror image of an image belongs to the same class
    # Share of each class that becomes the test split, if the data have none; or, of pictures, the
    # name of the test split's folder, beside those for training.
    test: TestSplit | None = None
    labels: LabelColumn = LabelColumn()  # idx
    transposed: bool = False  # idx: columns before rows, as in EMNIST
    licence: Text = ""
    source: Text = ""
    citation: Text = ""

    @property
    def test_fraction(self) -> float | None:
        """Share of each class that becomes the test split, if it is stated."""
        return self.test if isinstance(self.test, float) else None

    @model_validator(mode="before")
    @classmethod
    def _titled(cls, content: Any) -> Any:
        if isinstance(content, dict) and not content.get("title") and "name" in content:
            return {**content, "title": content["name"]}
        return content


class BuiltIn(Description):
    """A published data set; content of a file in config/datasets."""

    height: Side
    width: Side
    class_names: ClassNames
    preparation: Preparation = "trim"
    margin: Margin = 0  # pixels that `trim` leaves at each edge
    maximum: Annotated[int, Field(ge=1, le=255)] = 255  # csv: the value of white
    # Default of augment.classes; all classes if empty.
    augmented_classes: Annotated[tuple[Text, ...], Field(strict=False)] = ()
    files: Annotated[tuple[RawFile, ...], Field(strict=False, min_length=1)]
    sources: Annotated[tuple[Source, ...], Field(strict=False, min_length=1)]


class OwnData(Description):
    """The user's own data in data/local."""

    format: Literal["idx", "npz", "pictures"]
    path: Annotated[Text, AfterValidator(lambda path: str(PurePosixPath(path)))]  # folder or file
    # Height and width.
    size: Annotated[tuple[Side, Side], Field(strict=False), BeforeValidator(_pair)] | None = None
    channels: Literal[1, 3] | None = None  # required for pictures
    resize: Preparation = "pad"
    # In the order of the labels, or a text file with a name per line.
    class_names: (
        Annotated[
            Annotated[Text, Tag(ONE_VALUE)] | Annotated[ClassNames, Tag(VALUE_PER_LAYER)],
            Discriminator(lambda value: ONE_VALUE if isinstance(value, str) else VALUE_PER_LAYER),
        ]
        | None
    ) = None
    group: Text | None = None  # pictures: regular expression on the path below the class's folder
    list: Text | None = None  # pictures: CSV with the columns file, label, split, group
    unreadable: Literal["refuse", "skip"] = "refuse"  # pictures

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, content: Any) -> Any:
        if not isinstance(content, (dict, cls)):
            raise ValueError(f"must be {' or '.join(BUILT_IN_NAMES)}, or a mapping (docs/data.md)")
        return content

    @model_validator(mode="after")
    def _located(self) -> Self:
        if self.name in BUILT_IN_NAMES:
            raise ValueError(
                f"name {quoted(self.name)} is that of a built-in data set: choose another"
            )
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts or not path.is_relative_to(FOLDER):
            raise ValueError(
                f"path must be a folder or file below {FOLDER}, not {quoted(self.path)}"
            )
        if path == PurePosixPath(FOLDER):
            raise ValueError(f"path must be a folder or file below {FOLDER}, not {FOLDER} itself")
        for key in ("class_names", "list"):
            file = getattr(self, key)
            if isinstance(file, str) and not _is_below(file, path):
                raise ValueError(
                    f"{key} must be the path of a file relative to {path}, such as"
                    f" {PurePosixPath(file).name or 'names.txt'}, not {quoted(file)}"
                )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = self.model_fields_set
        for name, formats in OF_FORMATS.items():
            if name in given and self.format not in formats:
                raise ValueError(f"{name} is for format {' and '.join(formats)}: remove it")
        if self.format == "pictures" and self.channels is None:
            raise ValueError("channels is missing: 1 for grey or 3 for colour")
        if self.format == "pictures" and self.resize == "trim":
            raise ValueError("resize must be stretch, pad or crop for pictures, not 'trim'")
        if isinstance(self.test, str) and (self.format != "pictures" or self.list):
            raise ValueError(f"test must be a number between 0 and 1 here, not {quoted(self.test)}")
        if self.group is not None and self.list is None:  # else it may be a column
            try:
                groups = re.compile(self.group).groups
            except re.error as error:
                raise ValueError(
                    f"group {quoted(self.group)} is not a regular expression: {error}"
                ) from None
            if not groups:
                raise ValueError("group must have a pair of parentheses around the group's name")
        return self

    @property
    def augmented_classes(self) -> tuple[str, ...]:
        """Default of augment.classes: all classes."""
        return ()

    @property
    def margin(self) -> int:
        """Pixels that `trim` leaves at each edge."""
        return 0

    @property
    def preparation(self) -> Preparation:
        """How a picture file becomes an image."""
        return self.resize


def _is_below(file: str, folder: PurePosixPath) -> bool:
    path = PurePosixPath(file)
    outside = path.is_absolute() or ".." in path.parts or path.is_relative_to(folder)
    return bool(path.parts) and not outside


OF_FORMATS = {
    "labels": ("idx",),
    "transposed": ("idx",),
    "size": ("pictures",),
    "channels": ("pictures",),
    "group": ("pictures",),
    "list": ("pictures",),
    "unreadable": ("pictures",),
}

_FILES = resources.files("sidebyside.config").joinpath("datasets")
BUILT_IN_NAMES = tuple(
    sorted(
        PurePosixPath(file.name).stem for file in _FILES.iterdir() if file.name.endswith(".yaml")
    )
)


@cache
def builtin(name: str) -> BuiltIn:
    """Return the description of a built-in data set.

    Raises:
        ValueError: there is none of this name.
    """
    if name not in BUILT_IN_NAMES:
        raise ValueError(
            f"unknown data set: choose from {', '.join(BUILT_IN_NAMES)},"
            " or describe your own data by a mapping (docs/data.md)"
        )
    text = _FILES.joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return BuiltIn.model_validate({"name": name, **YAML(typ="safe", pure=True).load(text)})


def _load(value: Any) -> Any:
    return builtin(value) if isinstance(value, str) else value


# The type of `dataset` in params.yaml.
DatasetDescription = Annotated[
    Annotated[BuiltIn, BeforeValidator(_load), Tag(BUILT_IN)] | Annotated[OwnData, Tag(OWN)],
    Discriminator(lambda value: BUILT_IN if isinstance(value, (str, BuiltIn)) else OWN),
]
