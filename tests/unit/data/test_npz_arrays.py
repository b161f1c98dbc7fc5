import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidebyside.core.errors import UserError
from sidebyside.data import memory
from sidebyside.data.npz_arrays import read_arrays

GOOD: dict[str, Any] = {
    "x_train": np.arange(2 * 8 * 9, dtype=np.uint8).reshape(2, 8, 9),
    "y_train": np.array([0, 1]),
}


def written(folder: Path, arrays: dict[str, Any], *, packed: bool = False) -> Path:
    path = folder / "x.npz"
    (np.savez_compressed if packed else np.savez)(path, **arrays)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_arrays(path, path.name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_grey_images_are_read(tmp_path: Path, packed: bool) -> None:
    test = {"x_test": GOOD["x_train"][..., None], "y_test": np.array([[1], [0]], np.uint8)}
    arrays = read_arrays(written(tmp_path, {**GOOD, **test}, packed=packed), "x.npz")
    assert list(arrays) == ["x_train", "y_train", "x_test", "y_test"]
    assert np.array_equal(arrays["x_train"], GOOD["x_train"])
    assert np.array_equal(arrays["x_test"], GOOD["x_train"])
    assert arrays["y_test"].tolist() == [1, 0]


def test_colour_images_are_read_in_any_memory_order(tmp_path: Path) -> None:
    images = np.asfortranarray(np.arange(2 * 8 * 9 * 3, dtype=np.uint8).reshape(2, 8, 9, 3))
    arrays = read_arrays(written(tmp_path, {**GOOD, "x_train": images}), "x.npz")
    assert np.array_equal(arrays["x_train"], images)
    assert arrays["x_train"].flags.c_contiguous


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"x_train": np.zeros((2, 8, 8))}, "x_train is float64, expected uint8"),
        ({"x_train": np.zeros((2, 8, 8, 4), np.uint8)}, "x_train has shape [2, 8, 8, 4], expected"),
        ({"x_train": np.zeros((2, 64), np.uint8)}, "x_train has shape [2, 64], expected"),
        ({"y_train": np.zeros((2, 10))}, "y_train is float64 [2, 10], expected a whole number"),
        ({"y_train": np.array(["a", "b"])}, "y_train is <U1 [2], expected a whole number"),
        ({"y_train": np.array([-1, 0])}, "y_train has a label outside of the classes: -1"),
        ({"x_test": GOOD["x_train"]}, "x.npz: has no y_test, but x_test, x_train, y_train"),
        ({"y_train": np.array([None, 1])}, "y_train contains Python objects, not numbers"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    assert expected in refusal(written(tmp_path, {**GOOD, **change}))


def test_arrays_of_other_names_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, {"images": GOOD["x_train"], "labels": GOOD["y_train"]})
    assert refusal(path) == "x.npz: has no x_train and no y_train, but images, labels"


def test_a_file_that_is_not_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"not a zip file")
    assert refusal(tmp_path / "x.npz") == "x.npz is not a valid .npz file: File is not a zip file"


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, packed=True)
    content = bytearray(path.read_bytes())
    content[100] ^= 0xFF
    path.write_bytes(content)
    assert refusal(path).startswith("x.npz is not a valid .npz file: ")


def test_images_too_large_for_the_memory_are_refused_before_they_are_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 1 << 20)
    path = written(tmp_path, {**GOOD, "x_train": np.zeros((5000, 8, 8), np.uint8)}, packed=True)
    assert refusal(path).startswith("x.npz: images of 0 MiB need about 1 MiB of memory, but only 1")


def test_a_header_that_announces_more_than_the_member_has_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 28, 28)}
    np.lib.format.write_array_header_1_0(buffer, header)
    path = written(tmp_path, {"y_train": GOOD["y_train"]})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train.npy", buffer.getvalue())
    assert "x_train has 0 bytes, but its header announces 784,000,000,000" in refusal(path)
