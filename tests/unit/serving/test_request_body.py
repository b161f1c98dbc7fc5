"""Bodies of requests in every form that MLflow's scoring server accepts."""

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

from sidebyside.serving.request_body import (
    CSV,
    JSON,
    MAXIMUM_IMAGES,
    MAXIMUM_SIZE,
    BodyReader,
    InvalidRequestError,
)

IMAGES = np.arange(2 * 784).reshape(2, 28, 28) % 256
ROWS = IMAGES.reshape(2, 784)
READER = BodyReader((28, 28))
NAMES = [f"pixel{number}" for number in range(784)]


def csv_body(rows: list[list[Any]], names: list[str] = NAMES) -> bytes:
    return "".join(",".join(map(str, row)) + "\n" for row in [names, *rows]).encode()


def bodies(pixel: object) -> dict[str, tuple[str, bytes]]:
    """Return a body of each form, its first pixel replaced."""
    images: list[Any] = IMAGES.tolist()
    rows: list[Any] = ROWS.tolist()
    images[0][0][0] = rows[0][0] = pixel
    records = [dict(zip(NAMES, row, strict=True)) for row in rows]
    contents = {
        "inputs": images,
        "instances": images,
        "dataframe_split": {"columns": NAMES, "index": [0, 1], "data": rows},
        "dataframe_records": records,
    }
    found = {form: (JSON, json.dumps({form: value}).encode()) for form, value in contents.items()}
    return found | {"csv": (CSV, csv_body(rows))}


FORMS = list(bodies(0))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_images(form: str) -> None:
    images = READER.read(*bodies(0)[form])
    assert images.dtype == np.uint8
    assert np.array_equal(images, IMAGES)


def test_a_table_may_lack_names_and_its_records_may_have_their_columns_in_any_order() -> None:
    split = json.dumps({"dataframe_split": {"data": ROWS.tolist()}}).encode()
    assert np.array_equal(READER.read(JSON, split), IMAGES)
    first, second = (dict(zip(NAMES, row, strict=True)) for row in ROWS.tolist())
    turned = dict(reversed(second.items()))
    records = json.dumps({"dataframe_records": [first, turned]}).encode()
    assert np.array_equal(READER.read(JSON, records), IMAGES)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("pixel", [0.5, 1.0, -1, 256, 10**12, True, None, "7", float("nan"), "٧"])
def test_what_is_no_pixel_is_refused_in_every_form(form: str, pixel: object) -> None:
    with pytest.raises(InvalidRequestError, match="integer"):
        READER.read(*bodies("7.0" if form == "csv" and pixel == "7" else pixel)[form])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "one of inputs, instances, dataframe_split, dataframe_records is needed"),
        ({"inputs": IMAGES.tolist(), "instances": IMAGES.tolist()}, "one of inputs, instances"),
        ({"inputs": IMAGES.tolist(), "params": {}}, "params: Extra inputs are not permitted"),
        ({"inputs": []}, "at least 1 item"),
        ({"inputs": IMAGES[:, :27].tolist()}, "at least 28 items"),
        ({"inputs": IMAGES[0].tolist()}, "valid list"),
        ({"inputs": "shirt"}, "valid list"),
        ({"inputs": [[]] * (MAXIMUM_IMAGES + 1)}, "at least 28 items"),
        ({"dataframe_split": {}}, "valid list"),
        ({"dataframe_records": [[]]}, "valid dictionary"),
        ({"dataframe_split": {"columns": NAMES[1:], "data": ROWS.tolist()}}, "783 different"),
        ({"dataframe_split": {"data": ROWS[:, 1:].tolist()}}, "at least 784 items"),
        ({"dataframe_records": [dict.fromkeys(NAMES[1:], 0)]}, "783 different columns"),
        (
            {"dataframe_records": [dict.fromkeys(NAMES, 0), dict.fromkeys(NAMES[1:], 0)]},
            "different columns",
        ),
        ([], "an object"),
    ],
)
def test_content_without_images_is_refused(content: object, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason):
        READER.read(JSON, json.dumps(content).encode())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Invalid JSON"),
        (b"a shirt", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[" * 100_000, "recursion limit"),
        (b'{"inputs": ' + b"9" * 5000 + b"}", "number out of range"),
    ],
)
def test_a_body_that_is_no_json_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason):
        READER.read(JSON, body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the CSV has no rows"),
        (csv_body([]), "the CSV has no rows"),
        (csv_body([[0] * 783]), "a row of the CSV has 783 values"),
        (csv_body([[0] * 784], NAMES[:1] * 784), "1 different columns"),
        (
            csv_body([]) + (b"0," * 783 + b"0\n") * (MAXIMUM_IMAGES + 1),
            f"the CSV has more than {MAXIMUM_IMAGES} rows",
        ),
        (b"\xff\xfe", "not UTF-8"),
        (b'pixel\n"0', "invalid CSV"),
        (b"pixel\n" + b"9" * 200_000, "invalid CSV"),
    ],
)
def test_an_invalid_table_of_text_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match=reason):
        READER.read(CSV, body)


def test_many_invalid_pixels_are_one_error() -> None:
    body = json.dumps({"inputs": np.full((200, 28, 28), 0.5).tolist()}).encode()
    with pytest.raises(InvalidRequestError, match=r"^inputs\.0\.0\.0: [^;]*valid integer"):
        READER.read(JSON, body)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (CSV, b"\n" * 200_000),
        (CSV, b"pixel\n" + b"0\n" * 200_000),
        (JSON, b'{"dataframe_split": {"columns": [' + b"[]," * 200_000 + b"0]}}"),
        (JSON, b'{"dataframe_split": {"index": [' + b"[]," * 200_000 + b"0]}}"),
        (JSON, b'{"dataframe_records": [{' + b'"": -1,' * 200_000 + b'"a": -1}]}'),
        (JSON, json.dumps(dict.fromkeys(map(str, range(100_000)))).encode()),
        (
            JSON,
            json.dumps({"dataframe_records": [dict.fromkeys(map(str, range(100_000)))]}).encode(),
        ),
        (JSON, json.dumps({"a" * 1_000_000: 1}).encode()),
    ],
    ids=["rows", "pixels", "columns", "index", "repeated", "names", "records", "name"],
)
def test_an_invalid_body_takes_no_more_memory_than_its_json(kind: str, body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidRequestError) as refused:
            READER.read(kind, body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 * len(body)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("shape", [(8, 8), (32, 48), (8, 12, 3), (128, 128, 3)])
def test_images_have_the_shape_of_the_data_set_in_every_form(shape: tuple[int, ...]) -> None:
    images = np.arange(2 * np.prod(shape)).reshape(2, *shape) % 256
    rows = images.reshape(2, -1).tolist()
    reader = BodyReader(shape)
    for content in ({"inputs": images.tolist()}, {"dataframe_split": {"data": rows}}):
        assert np.array_equal(reader.read(JSON, json.dumps(content).encode()), images)
    names = [f"value{number}" for number in range(len(rows[0]))]
    assert np.array_equal(reader.read(CSV, csv_body(rows, names)), images)
    short = {"inputs": images[:, 1:].tolist()}
    with pytest.raises(
        InvalidRequestError, match=f"at least {shape[0]} items .*{shape[0]} rows of"
    ):
        reader.read(JSON, json.dumps(short).encode())


def test_errors_name_the_colours_of_a_pixel() -> None:
    reader = BodyReader((8, 12, 3))
    grey = {"inputs": np.zeros((1, 8, 12), int).tolist()}
    with pytest.raises(
        InvalidRequestError,
        match=r"^inputs\.0\.0\.0: .*valid list: send .*each image 8 rows of 12 pixels of 3 integers"
        r" \(red, green, blue\) from 0 to 255",
    ):
        reader.read(JSON, json.dumps(grey).encode())
    with pytest.raises(InvalidRequestError, match=r"1 different .* 288, one per pixel and colour"):
        reader.read(CSV, csv_body([[0] * 288], ["x"] * 288))


@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (128, 128, 3)])
def test_as_many_images_are_allowed_as_fit_into_a_body(shape: tuple[int, ...]) -> None:
    allowed = BodyReader(shape).maximum_images
    image = len(json.dumps(np.full(shape, 255).tolist()))
    assert len('{"inputs": []}') + allowed * (image + 2) <= MAXIMUM_SIZE
    assert allowed == (MAXIMUM_IMAGES if np.prod(shape) < 1000 else MAXIMUM_SIZE // (image + 2))
