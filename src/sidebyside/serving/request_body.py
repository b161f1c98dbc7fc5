"""Read the images of a request to the scoring server.

A body has one of the forms that MLflow's scoring server accepts, and every form has the same
validation: pixels are integers from 0 to 255, and no pixel is missing.
"""

import csv
import io
from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from sidebyside.config.dataset import IMAGE_SIZE

MAXIMUM_IMAGES = 10_000  # of a request; as many as the test split has
PIXELS = IMAGE_SIZE**2
FORMS = ("inputs", "instances", "dataframe_split", "dataframe_records")
JSON, CSV = "application/json", "text/csv"
ADVICE = (
    f'send {{"inputs": [image, …]}}, each image {IMAGE_SIZE} rows of {IMAGE_SIZE} integers '
    "from 0 to 255, not scaled to 0…1"
)
TEXTS = {str(pixel): pixel for pixel in range(256)}

# Content is checked up to its first error only: ten million invalid pixels are not ten million
# errors, and nothing is larger than what it stands for.
STRICT = ConfigDict(strict=True)
Pixel = Annotated[int, Field(ge=0, le=255)]
Row = Annotated[list[Pixel], Field(min_length=IMAGE_SIZE, max_length=IMAGE_SIZE, fail_fast=True)]
Image = Annotated[list[Row], Field(min_length=IMAGE_SIZE, max_length=IMAGE_SIZE, fail_fast=True)]
FlatImage = Annotated[list[Pixel], Field(min_length=PIXELS, max_length=PIXELS, fail_fast=True)]
Name = str | int
SEVERAL = Field(min_length=1, max_length=MAXIMUM_IMAGES, fail_fast=True)
IMAGES = TypeAdapter(Annotated[list[Image], SEVERAL], config=STRICT)
ROWS = TypeAdapter(Annotated[list[FlatImage], SEVERAL], config=STRICT)
RECORDS = TypeAdapter(Annotated[list[dict[str, Any]], SEVERAL], config=STRICT)
COLUMNS = TypeAdapter(
    Annotated[list[Name], Field(max_length=PIXELS, fail_fast=True)], config=STRICT
)
INDEX = TypeAdapter(
    Annotated[list[Name], Field(max_length=MAXIMUM_IMAGES, fail_fast=True)], config=STRICT
)


class InvalidRequestError(Exception):
    """The body has no valid images; the text is the reason."""


def read_images(kind: str, body: bytes) -> NDArray[np.uint8]:
    """Return the images of a body, uint8 [N, 28, 28], at least one.

    Args:
        kind: JSON or CSV.
        body: JSON with `inputs` or `instances`, lists of images of 28 rows; JSON with
            `dataframe_split` or `dataframe_records`, or CSV with a header: tables with a row per
            image and a column per pixel, in the order of the image's rows.

    Raises:
        InvalidRequestError: it has another form, or an invalid or missing pixel.
    """
    return _read_csv(body) if kind == CSV else _read_json(body)


def _read_json(body: bytes) -> NDArray[np.uint8]:
    try:
        content = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequestError(f"Invalid JSON: {error}: {ADVICE}") from None
    given = _fields(content, FORMS)
    if len(given) != 1:
        raise InvalidRequestError(f"one of {', '.join(FORMS)} is needed: {ADVICE}")
    ((form, value),) = given.items()
    if form == "dataframe_split":
        table = _fields(value, ("columns", "index", "data"))
        _checked(INDEX, table.get("index", []), f"{form}.index")
        _check_columns(_checked(COLUMNS, table.get("columns", [*range(PIXELS)]), f"{form}.columns"))
        return _images(_checked(ROWS, table.get("data"), f"{form}.data"))
    if form == "dataframe_records":
        first, *others = _checked(RECORDS, value, form)
        _check_columns(first)
        if any(record.keys() != first.keys() for record in others):
            raise InvalidRequestError(f"{form}: the images have different columns")
        rows = [[record[name] for name in first] for record in (first, *others)]
        return _images(_checked(ROWS, rows, form))
    return _images(_checked(IMAGES, value, form))


def _fields(content: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields of a JSON object that are not null."""
    if not isinstance(content, dict):
        raise InvalidRequestError(f"Input should be an object: {ADVICE}")
    for name in content:
        if name not in names:
            raise InvalidRequestError(f"{name:.80}: Extra inputs are not permitted: {ADVICE}")
    return {name: value for name, value in content.items() if value is not None}


def _checked(form: TypeAdapter[Any], value: Any, name: str) -> Any:
    """Return a value that has the given form.

    Raises:
        InvalidRequestError: it has another one; the text has its first problem, and what to send.
    """
    try:
        return form.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, (name, *first["loc"])))
        raise InvalidRequestError(f"{where}: {first['msg']}: {ADVICE}") from None


def _read_csv(body: bytes) -> NDArray[np.uint8]:
    try:
        table = csv.reader(io.StringIO(body.decode("utf-8"), newline=""), strict=True)
        header, images = next(table, []), []
        for row in table:
            if len(row) != PIXELS:
                message = f"a row of the CSV has {len(row)} pixels instead of {PIXELS}"
                raise InvalidRequestError(message)
            images.append([TEXTS[text] for text in row])
            if len(images) > MAXIMUM_IMAGES:
                break
    except UnicodeDecodeError:
        raise InvalidRequestError("the CSV is not UTF-8") from None
    except csv.Error as error:
        raise InvalidRequestError(f"invalid CSV: {error}") from None
    except KeyError as error:
        text = f"{error.args[0]!r:.80}"
        raise InvalidRequestError(f"{text} is not a pixel: send integers from 0 to 255") from None
    if not 0 < len(images) <= MAXIMUM_IMAGES:
        found = "no rows" if not images else f"more than {MAXIMUM_IMAGES} rows"
        message = f"send a header and 1 to {MAXIMUM_IMAGES} rows of {PIXELS} integers"
        raise InvalidRequestError(f"the CSV has {found}: {message}")
    _check_columns(header)
    return _images(images)


def _check_columns(names: Iterable[Name]) -> None:
    distinct = set(names)
    if len(distinct) != PIXELS:
        raise InvalidRequestError(
            f"the table has {len(distinct)} different columns instead of {PIXELS}, one per pixel"
        )


def _images(pixels: Any) -> NDArray[np.uint8]:
    return np.array(pixels, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
