"""Read the images of a request to the scoring server.

A body has one of the forms that MLflow's scoring server accepts, and every form has the same
validation: values are integers from 0 to 255, and no value is missing. A value is a grey pixel, or
the red, green or blue of a pixel.
"""

import csv
import io
import json
import math
from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

MAXIMUM_SIZE = 50_000_000  # bytes of a body; 10,000 images of 28×28 pixels are 31 MB of JSON
MAXIMUM_IMAGES = 10_000  # of a request
FORMS = ("inputs", "instances", "dataframe_split", "dataframe_records")
JSON, CSV = "application/json", "text/csv"
TEXTS = {str(value): value for value in range(256)}

# Content is checked up to its first error only: ten million invalid values are not ten million
# errors, and nothing is larger than what it stands for.
STRICT = ConfigDict(strict=True)
Value = Annotated[int, Field(ge=0, le=255)]
Name = str | int


class InvalidRequestError(Exception):
    """The body has no valid images; the text is the reason."""


class BodyReader:
    """Reads the images of bodies, all of one shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Prepare the validation.

        Args:
            shape: [height, width] of grey images, [height, width, 3] of colour images.
        """
        self._shape = shape
        self._values = math.prod(shape)  # of an image
        largest = len(json.dumps(np.full(shape, 255).tolist())) + 2  # bytes of an image
        self.maximum_images = min(MAXIMUM_IMAGES, MAXIMUM_SIZE // largest)
        grey = len(shape) == 2
        items = "integers" if grey else "pixels of 3 integers (red, green, blue)"
        self._unit = "pixel" if grey else "pixel and colour"
        self._advice = (
            f'send {{"inputs": [image, …]}}, each image {shape[0]} rows of {shape[1]} {items}'
            " from 0 to 255, not scaled to 0…1"
        )
        image: Any = Value
        for length in reversed(shape):
            image = _list_of(image, length, length)
        row = _list_of(Value, self._values, self._values)
        self._images = _form(image, 1, self.maximum_images)
        self._rows = _form(row, 1, self.maximum_images)
        self._records = _form(dict[str, Any], 1, self.maximum_images)
        self._columns = _form(Name, 0, self._values)
        self._index = _form(Name, 0, self.maximum_images)

    def json_schema(self) -> dict[str, Any]:
        """Return the JSON schema of a JSON body: an object with one of FORMS."""
        split = {"index": self._index, "columns": self._columns, "data": self._rows}
        table = _object({name: form.json_schema() for name, form in split.items()}, ["data"])
        images, records = self._images.json_schema(), self._records.json_schema()
        forms = dict(zip(FORMS, (images, images, table, records), strict=True))
        return {"oneOf": [_object({name: schema}, [name]) for name, schema in forms.items()]}

    def read(self, kind: str, body: bytes) -> NDArray[np.uint8]:
        """Return the images of a body, uint8 [N, *shape], at least one.

        Args:
            kind: JSON or CSV.
            body: JSON with `inputs` or `instances`, lists of images as nested lists; JSON with
                `dataframe_split` or `dataframe_records`, or CSV with a header: tables with a row
                per image and a column per value, in the order of the nested lists.

        Raises:
            InvalidRequestError: it has another form, or an invalid or missing value.
        """
        return self._read_csv(body) if kind == CSV else self._read_json(body)

    def _read_json(self, body: bytes) -> NDArray[np.uint8]:
        try:
            content = from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise InvalidRequestError(f"Invalid JSON: {error}: {self._advice}") from None
        given = self._fields(content, FORMS)
        if len(given) != 1:
            raise InvalidRequestError(f"one of {', '.join(FORMS)} is needed: {self._advice}")
        ((form, value),) = given.items()
        if form == "dataframe_split":
            table = self._fields(value, ("columns", "index", "data"))
            self._checked(self._index, table.get("index", []), f"{form}.index")
            names = table.get("columns", [*range(self._values)])
            self._check_columns(self._checked(self._columns, names, f"{form}.columns"))
            return self._array(self._checked(self._rows, table.get("data"), f"{form}.data"))
        if form == "dataframe_records":
            first, *others = self._checked(self._records, value, form)
            self._check_columns(first)
            if any(record.keys() != first.keys() for record in others):
                raise InvalidRequestError(f"{form}: the images have different columns")
            rows = [[record[name] for name in first] for record in (first, *others)]
            return self._array(self._checked(self._rows, rows, form))
        return self._array(self._checked(self._images, value, form))

    def _fields(self, content: Any, names: tuple[str, ...]) -> dict[str, Any]:
        """Return the fields of a JSON object that are not null."""
        if not isinstance(content, dict):
            raise InvalidRequestError(f"Input should be an object: {self._advice}")
        for name in content:
            if name not in names:
                reason = f"{name:.80}: Extra inputs are not permitted"
                raise InvalidRequestError(f"{reason}: {self._advice}")
        return {name: value for name, value in content.items() if value is not None}

    def _checked(self, form: TypeAdapter[Any], value: Any, name: str) -> Any:
        """Return a value that has the given form.

        Raises:
            InvalidRequestError: it has another one; the text has its first problem, and what to
                send.
        """
        try:
            return form.validate_python(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, (name, *first["loc"])))
            raise InvalidRequestError(f"{where}: {first['msg']}: {self._advice}") from None

    def _read_csv(self, body: bytes) -> NDArray[np.uint8]:
        try:
            table = csv.reader(io.StringIO(body.decode("utf-8"), newline=""), strict=True)
            header, images = next(table, []), []
            for row in table:
                if len(row) != self._values:
                    message = f"a row of the CSV has {len(row)} values instead of {self._values}"
                    raise InvalidRequestError(message)
                images.append([TEXTS[text] for text in row])
                if len(images) > self.maximum_images:
                    break
        except UnicodeDecodeError:
            raise InvalidRequestError("the CSV is not UTF-8") from None
        except csv.Error as error:
            raise InvalidRequestError(f"invalid CSV: {error}") from None
        except KeyError as error:
            text = f"{error.args[0]!r:.80}"
            message = f"{text} is not the value of a pixel: send integers from 0 to 255"
            raise InvalidRequestError(message) from None
        if not 0 < len(images) <= self.maximum_images:
            found = "no rows" if not images else f"more than {self.maximum_images} rows"
            rows = f"1 to {self.maximum_images} rows of {self._values} integers"
            raise InvalidRequestError(f"the CSV has {found}: send a header and {rows}")
        self._check_columns(header)
        return self._array(images)

    def _check_columns(self, names: Iterable[Name]) -> None:
        distinct = set(names)
        if len(distinct) != self._values:
            raise InvalidRequestError(
                f"the table has {len(distinct)} different columns instead of {self._values}, one"
                f" per {self._unit}"
            )

    def _array(self, values: Any) -> NDArray[np.uint8]:
        return np.array(values, np.uint8).reshape(-1, *self._shape)


def _list_of(item: Any, minimum: int, maximum: int) -> Any:
    """Return the type of a list of items, with limits on their number."""
    return Annotated[list[item], Field(min_length=minimum, max_length=maximum, fail_fast=True)]


def _form(item: Any, minimum: int, maximum: int) -> TypeAdapter[Any]:
    """Return the validator of a list of items."""
    return TypeAdapter(_list_of(item, minimum, maximum), config=STRICT)


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """Return the JSON schema of an object without other properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
