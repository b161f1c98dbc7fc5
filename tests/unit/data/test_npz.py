import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sidebyside.core.errors import UserError
from sidebyside.data.npz import ALIGNMENT, read_split, write_split
from sidebyside.data.splits import Split
from tests.support.splits import equal, grey_split, random_split

GOOD = random_split(per_class=1)


def test_a_written_split_is_read_back(tmp_path: Path) -> None:
    split = random_split()
    write_split(tmp_path / "deep/er/x.npz", split)
    assert equal(read_split(tmp_path / "deep/er/x.npz"), split)


def test_equal_splits_are_written_as_equal_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_split(tmp_path / "a.npz", random_split())
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    write_split(tmp_path / "b.npz", random_split())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_split_is_not_compressed(tmp_path: Path) -> None:
    write_split(tmp_path / "x.npz", random_split(1))
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"images": GOOD.images}, "is not a valid split"),
        ({"labels": GOOD.labels}, "is not a valid split"),
        ({"images": GOOD.images.astype(float), "labels": GOOD.labels}, "images are float64"),
        ({"images": GOOD.images[:, :27], "labels": GOOD.labels}, r"images are uint8 \[10, 27, 28"),
        ({"images": GOOD.images[:9], "labels": GOOD.labels}, r"expected uint8 \[10, 28, 28\]"),
        ({"images": GOOD.images, "labels": GOOD.labels.astype(int)}, "labels must be a non-empty"),
        ({"images": GOOD.images, "labels": GOOD.labels[:, None]}, "labels must be a non-empty"),
        ({"images": GOOD.images, "labels": np.uint8(3)}, "labels must be a non-empty"),
        ({"images": GOOD.images[:0], "labels": GOOD.labels[:0]}, "must be a non-empty"),
        ({"images": GOOD.images, "labels": GOOD.labels + 1}, "a label is outside 0–9"),
        ({"images": np.array([None]), "labels": GOOD.labels}, "is not a valid split"),
    ],
)
def test_an_npz_file_without_a_split_is_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], expected: str
) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=expected) as caught:
        read_split(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def not_a_zip(path: Path) -> None:
    path.write_bytes(b"not a zip file")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def bare_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, GOOD.images)


def truncated(path: Path) -> None:
    write_split(path, GOOD)
    path.write_bytes(path.read_bytes()[:-200])


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("damage", [not_a_zip, empty, bare_array, truncated, folder])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(tmp_path / "x.npz")
    with pytest.raises(UserError, match="is not a valid split") as caught:
        read_split(tmp_path / "x.npz")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.npz is missing: run `dvc repro`"):
        read_split(tmp_path / "x.npz")


@pytest.mark.parametrize("images", [2, 2000])  # less and more than one chunk
def test_images_are_aligned_for_tensorflow(tmp_path: Path, images: int) -> None:
    split = Split(
        np.random.default_rng(1).integers(0, 256, (images, 28, 28), dtype=np.uint8),
        np.zeros(images, np.uint8),
    )
    write_split(tmp_path / "x.npz", split)
    actual = read_split(tmp_path / "x.npz")
    assert equal(actual, split)
    assert actual.images.ctypes.data % ALIGNMENT == 0


def test_an_array_in_fortran_order_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.asfortranarray(GOOD.images), labels=GOOD.labels)
    with pytest.raises(
        UserError, match="is not a valid split: images is not an array of numbers in C order"
    ):
        read_split(tmp_path / "x.npz")


def test_a_truncated_array_is_refused(tmp_path: Path) -> None:
    header_and_data = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header_and_data, {"descr": "|u1", "fortran_order": False, "shape": (10**4, 28, 28)}
    )
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", header_and_data.getvalue() + bytes(28 * 28))
    with pytest.raises(UserError, match="is not a valid split: images is truncated"):
        read_split(tmp_path / "x.npz")


def test_an_array_longer_than_its_header_announces_is_refused(tmp_path: Path) -> None:
    write_split(tmp_path / "x.npz", random_split(1))
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content + b"\0")
    with pytest.raises(UserError, match="is longer than its header announces"):
        read_split(tmp_path / "y.npz")


def test_a_changed_byte_is_refused_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    split = grey_split([7] * 3, [1, 2, 3])
    write_split(path, split)
    content = path.read_bytes()
    pixels = content.index(bytes([7] * 784 * 3))
    for position in (
        *range(pixels),
        *range(pixels, pixels + 784 * 3, 97),  # all pixels are checked by the same checksum
        *range(pixels + 784 * 3, len(content)),
    ):
        changed = bytearray(content)
        changed[position] ^= 0xFF
        path.write_bytes(changed)
        try:
            actual = read_split(path)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert equal(actual, split), f"byte {position} changes the split"
