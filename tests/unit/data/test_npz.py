import io
import os
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sidebyside.core.errors import UserError
from sidebyside.data.npz import ALIGNMENT, read_split, write_split
from sidebyside.data.splits import Split
from tests.support.datasets import dataset
from tests.support.splits import equal, grey_split, random_split

DATASET = dataset()
GOOD = random_split(per_class=1)


def test_a_written_split_is_read_back(tmp_path: Path) -> None:
    split = random_split()
    write_split(tmp_path / "deep/er/x.npz", split)
    assert equal(read_split(tmp_path / "deep/er/x.npz", DATASET), split)


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
        read_split(path, DATASET)
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
        read_split(tmp_path / "x.npz", DATASET)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.npz is missing: run `dvc repro`"):
        read_split(tmp_path / "x.npz", DATASET)


@pytest.mark.parametrize("images", [2, 2000])  # less and more than one chunk
def test_images_are_aligned_for_tensorflow(tmp_path: Path, images: int) -> None:
    split = Split(
        np.random.default_rng(1).integers(0, 256, (images, 28, 28), dtype=np.uint8),
        np.zeros(images, np.uint8),
    )
    write_split(tmp_path / "x.npz", split)
    actual = read_split(tmp_path / "x.npz", DATASET)
    assert equal(actual, split)
    assert actual.images.ctypes.data % ALIGNMENT == 0


def test_an_array_in_fortran_order_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.asfortranarray(GOOD.images), labels=GOOD.labels)
    with pytest.raises(
        UserError, match="is not a valid split: images is not an array of numbers in C order"
    ):
        read_split(tmp_path / "x.npz", DATASET)


def array(shape: object, content: bytes, descr: object = "|u1") -> bytes:
    """Return an .npy file with any header."""
    buffer = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + content


IMAGE = bytes(28 * 28)
IMAGES, LABELS = array((1, 28, 28), IMAGE), array((1,), b"\3")


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"images": array((10**4, 28, 28), IMAGE)}, "images has 784 bytes, but its header"),
        ({"images": array((10**13, 28, 28), IMAGE)}, "images has 784 bytes, but its header"),
        ({"images": array((2**62, 2**62, 4), IMAGE)}, "images has 784 bytes, but its header"),
        ({"images": array((1, 28, 28), IMAGE + b"x")}, "images has 785 bytes, but its header"),
        ({"labels": array((-1,), b"")}, "labels has 0 bytes, but its header announces -1"),
        ({"labels": array((1.5,), b"\3")}, "shape is not valid"),
        ({"labels": array((True, "x"), b"\3")}, "shape is not valid"),
        ({"labels": array((1,), b"\3", "|O")}, "labels is not an array of numbers"),
        ({"labels": array((1,), b"\3", "no type")}, ""),
        ({"labels": b"\x93NUMPY\1\0\xff\xff{" + b"(" * 60_000}, ""),
        ({"extra": b""}, "contains extra.npy, images.npy, labels.npy"),
        ({"../images": IMAGES}, "contains ../images.npy, images.npy, labels.npy"),
    ],
)
def test_a_lie_in_an_array_is_refused_before_memory_is_taken(
    tmp_path: Path, members: dict[str, bytes], reason: str
) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for name, content in ({"images": IMAGES, "labels": LABELS} | members).items():
            archive.writestr(f"{name}.npy", content)
    assert reason in refusal(tmp_path / "x.npz")


def refusal(path: Path) -> str:
    """Return why a file is not a valid split; reading it takes less than 16 MiB."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            read_split(path, DATASET)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith(f"{path} is not a valid split: ")
    assert message.endswith(": run `dvc repro`")
    assert "\n" not in message
    return message.removesuffix(": run `dvc repro`")


def test_a_member_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for name, content in (("labels", LABELS), ("images", IMAGES), ("labels", LABELS)):
            with warnings.catch_warnings(action="ignore"):
                archive.writestr(f"{name}.npy", content)
    assert refusal(tmp_path / "x.npz").endswith("contains images.npy, labels.npy, labels.npy")


def test_an_array_that_expands_is_refused(tmp_path: Path) -> None:
    images = array((10**5, 28, 28), bytes(28 * 28 * 10**5))
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("images.npy", images)
        archive.writestr("labels.npy", array((10**5,), bytes(10**5)))
    del images
    assert refusal(tmp_path / "x.npz").endswith("images is compressed")


def test_a_member_that_announces_more_than_the_file_has_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("labels.npy", LABELS)
        archive.writestr("images.npy", array((10**6, 28, 28), b""))
        archive.infolist()[1].file_size = archive.infolist()[1].compress_size = 784 * 10**6 + 128
    (tmp_path / "x.npz").write_bytes(content.getvalue())
    assert refusal(tmp_path / "x.npz").endswith("images is truncated")


def test_a_named_pipe_is_refused_instead_of_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npz")
    assert refusal(tmp_path / "x.npz").endswith(
        "Not a regular file: " + repr(str(tmp_path / "x.npz"))
    )


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
            actual = read_split(path, DATASET)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert equal(actual, split), f"byte {position} changes the split"
