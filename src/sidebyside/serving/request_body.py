"""Read the images of a request to the scoring server.

A body has one of the forms that MLflow's scoring server accepts, and every form has the same
validation: pixels are integers from 0 to 255, and no pixel is missing.
"""

import csv
import io
from collections.abc import Iterable
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from sidebyside.config.dataset import IMAGE_SIZE
from sidebyside.config.validation import StrictModel

MAXIMUM_IMAGES = 10_000  # of a request; as many as the test split has
PIXELS = IMAGE_SIZE**2
FORMS = ("inputs", "instances", "dataframe_split", "dataframe_records")
JSON, CSV = "application/json", "text/csv"
ADVICE = (
    f'send {{"inputs": [image, …]}}, each image {IMAGE_SIZE} rows of {IMAGE_SIZE} integers '
    "from 0 to 255, not scaled to 0…1"
)
TEXTS = {str(pixel): pixel for pixel in range(256)}

# A list ends at its first error: ten million invalid pixels are not ten million errors.
Pixel = Annotated[int, Field(ge=0, le=255)]
Row = Annotated[list[Pixel], Field(min_length=IMAGE_SIZE, max_length=IMAGE_SIZE, fail_fast=True)]
Image = Annotated[list[Row], Field(min_length=IMAGE_SIZE, max_length=IMAGE_SIZE, fail_fast=True)]
FlatImage = Annotated[list[Pixel], Field(min_length=PIXELS, max_length=PIXELS, fail_fast=True)]
SEVERAL = Field(min_length=1, max_length=MAXIMUM_IMAGES, fail_fast=True)
Images = Annotated[list[Image], SEVERAL]


class InvalidRequestError(Exception):
    """The body has no valid images; the text is the reason."""


class Table(StrictModel):
    """A pandas table as `to_dict(orient="split")` writes it, a row per image."""

    columns: list[str | int] | None = None
    index: list[str | int] | None = None
    data: Annotated[list[FlatImage], SEVERAL]


class Body(StrictModel):
    """The content of a JSON body; exactly one of its forms is given."""

    inputs: Images | None = None
    instances: Images | None = None
    dataframe_split: Table | None = None
    dataframe_records: Annotated[list[dict[str, Pixel]], SEVERAL] | None = None


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
        content = Body.model_validate_json(body)
    except ValidationError as error:
        raise InvalidRequestError(_reason(error)) from None
    given = [form for form in FORMS if getattr(content, form) is not None]
    if len(given) != 1:
        raise InvalidRequestError(f"one of {', '.join(FORMS)} is needed: {ADVICE}")
    if content.dataframe_split:
        table = content.dataframe_split
        _check_columns(table.columns if table.columns is not None else range(PIXELS))
        return _images(table.data)
    if content.dataframe_records:
        first, *others = content.dataframe_records
        _check_columns(first)
        if any(record.keys() != first.keys() for record in others):
            raise InvalidRequestError("dataframe_records: the images have different columns")
        return _images([[record[name] for name in first] for record in content.dataframe_records])
    return _images(content.inputs or content.instances or [])


def _read_csv(body: bytes) -> NDArray[np.uint8]:
    try:
        header, *rows = csv.reader(io.StringIO(body.decode("utf-8"), newline=""), strict=True)
        images = [[TEXTS[text] for text in row] for row in rows]
    except UnicodeDecodeError:
        raise InvalidRequestError("the CSV is not UTF-8") from None
    except csv.Error as error:
        raise InvalidRequestError(f"invalid CSV: {error}") from None
    except KeyError as error:
        text = f"{error.args[0]!r:.80}"
        raise InvalidRequestError(f"{text} is not a pixel: send integers from 0 to 255") from None
    except ValueError:  # no header
        rows = []
    if not 0 < len(rows) <= MAXIMUM_IMAGES:
        message = f"send a header and 1 to {MAXIMUM_IMAGES} rows of {PIXELS} integers"
        raise InvalidRequestError(f"the CSV has {len(rows)} rows: {message}")
    _check_columns(header)
    if wrong := next((row for row in images if len(row) != PIXELS), None):
        raise InvalidRequestError(f"a row of the CSV has {len(wrong)} pixels instead of {PIXELS}")
    return _images(images)


def _check_columns(names: Iterable[str | int]) -> None:
    distinct = set(names)
    if len(distinct) != PIXELS:
        raise InvalidRequestError(
            f"the table has {len(distinct)} different columns instead of {PIXELS}, one per pixel"
        )


def _images(pixels: list[list[int]] | list[Image]) -> NDArray[np.uint8]:
    return np.array(pixels, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


def _reason(error: ValidationError) -> str:
    """Return the first problem that pydantic found, and what to send."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}: {ADVICE}" if where else f"{first['msg']}: {ADVICE}"
