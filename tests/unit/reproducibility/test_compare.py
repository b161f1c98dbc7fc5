import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sidebyside.reproducibility.compare import first_difference, first_difference_below


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def grey(x: int = 0, value: int = 0, width: int = 4) -> bytes:
    pixels = np.zeros((3, width), np.uint8)
    pixels[1, x] = value
    return png(pixels)


IMAGES = np.zeros((2, 3), np.uint8)
CHANGED = np.array([[0, 0, 0], [0, 7, 9]], np.uint8)


@pytest.mark.parametrize(
    ("name", "expected", "new", "message"),
    [
        (
            *("a.npz", npz(images=IMAGES), npz(images=CHANGED)),
            "array images: 7 at [1, 1], not 0; 2 of 6 values differ",
        ),
        ("a.npz", npz(a=IMAGES, b=IMAGES), npz(a=IMAGES), "array b: missing"),
        (
            *("a.npz", npz(**dict.fromkeys("ebacd", IMAGES)), npz(x=IMAGES)),
            "array a: missing",  # the first by name, independent of the hash seed
        ),
        ("a.npz", npz(a=IMAGES), npz(a=IMAGES, b=IMAGES), "array b: not recorded"),
        (
            *("a.npz", npz(a=IMAGES), npz(a=IMAGES[:1])),
            "array a: uint8 [1, 3], not uint8 [2, 3]",
        ),
        (
            *("a.json", b'{"a": {"b": [1, 2]}}', b'{"a": {"b": [1, 3]}}'),
            "key a.b[1]: 3, not 2",
        ),
        ("a.json", b'{"a": 1, "b": 2}', b'{"a": 1}', "key b: missing"),
        ("a.json", b'{"a": 1}', b'{"a": 1, "b": {}}', "key b: not recorded"),
        ("a.csv", b"x,y\n1,2\n3,4\n", b"x,y\n1,2\n3,5\n", "row 2, column y: 5, not 4"),
        ("a.csv", b"x,y\n1,2\n", b"x,z\n1,2\n", "columns x, z, not x, y"),
        ("a.csv", b"x\n1\n2\n", b"x\n1\n", "1 rows, not 2"),
        (
            *("a.png", grey(), grey(x=2, value=9)),
            "pixel at x=2, y=1: [9, 9, 9, 255], not [0, 0, 0, 255]; 1 pixels differ",
        ),
        ("a.png", grey(), grey(width=5), "5×3 pixels, not 4×3"),
        ("a.md", b"one\ntwo\n", b"one\nzwei\n", "line 2: 'zwei', not 'two'"),
        ("a.html", b"one\ntwo\n", b"one\n", "line 2: end of file, not 'two'"),
        ("raw", b"\xff\x00\x01", b"\xff\x00\x02", "byte 2; 3 bytes, not 3"),
        ("a.json", b"{", b"[", "byte 0; 1 bytes, not 1"),  # not valid JSON
        ("a.json", b'{"a":1}', b'{"a": 1}', "byte 5; 8 bytes, not 7"),  # the same content
    ],
)
def test_the_first_difference_is_described(
    tmp_path: Path, name: str, expected: bytes, new: bytes, message: str
) -> None:
    for folder, content in (("a", expected), ("b", new)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(content)
    assert first_difference(tmp_path / "a" / name, tmp_path / "b" / name) == message
    assert first_difference(tmp_path / "a" / name, tmp_path / "a" / name) is None


def test_a_missing_file_is_a_difference(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    assert first_difference(tmp_path / "a", tmp_path / "b") == "missing"


def test_nan_equals_nan(tmp_path: Path) -> None:
    for name, value in (("a.npz", 1.0), ("b.npz", 2.0)):
        (tmp_path / name).write_bytes(npz(x=np.array([np.nan, value])))
    difference = first_difference(tmp_path / "a.npz", tmp_path / "b.npz")
    assert difference == "array x: 2.0 at [1], not 1.0; 1 of 2 values differ"


def test_a_different_weight_of_a_model_is_named(tmp_path: Path) -> None:
    import keras

    from sidebyside.models.saving import save_model

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="dense")])
    model.layers[0].set_weights([np.zeros((2, 1)), np.zeros(1)])
    save_model(tmp_path / "a.keras", model)
    model.layers[0].set_weights([np.array([[0.0], [0.5]]), np.zeros(1)])
    save_model(tmp_path / "b.keras", model)
    difference = first_difference(tmp_path / "a.keras", tmp_path / "b.keras")
    assert difference is not None
    assert difference.startswith(
        "member model.weights.h5: array layers/dense/vars/0: 0.5 at [1, 0]"
    )


def fill(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "1", "b": "2"}, None),
        ({"a": "1", "b": "3"}, "b: line 1: '3', not '2'"),
        ({"a": "1"}, "b: missing"),
        ({"a": "1", "b": "2", "c": "3"}, "c: not recorded"),
    ],
)
def test_the_first_different_file_of_a_folder_is_named(
    tmp_path: Path, files: dict[str, str], message: str | None
) -> None:
    expected = fill(tmp_path / "expected", a="1", b="2")
    assert first_difference_below(expected, fill(tmp_path / "new", **files)) == message


def test_a_file_in_place_of_a_folder_is_compared_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}')
    (tmp_path / "b.json").write_text('{"a": 2}')
    difference = first_difference_below(tmp_path / "a.json", tmp_path / "b.json")
    assert difference == "key a: 2, not 1"
