import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from sidebyside.config.dataset_description import LabelColumn
from sidebyside.core.errors import UserError
from sidebyside.data import memory
from sidebyside.data.idx import is_complete, read_images, read_labels

SETTINGS = LabelColumn()


def images_file(count: int, height: int = 28, width: int = 28, magic: int = 0x803) -> bytes:
    pixels = np.arange(count * height * width, dtype=np.uint32).astype(np.uint8)
    return struct.pack(">4I", magic, count, height, width) + pixels.tobytes()


def labels_file(labels: list[int], magic: int = 0x801) -> bytes:
    return struct.pack(">2I", magic, len(labels)) + bytes(labels)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x"


@pytest.mark.parametrize("packed", [False, True])
def test_images_are_read_in_order_row_by_row(path: Path, packed: bool) -> None:
    content = images_file(3, 28, 30)
    path.write_bytes(gzip.compress(content) if packed else content)
    images = read_images(path, path.name)
    assert images.shape == (3, 28, 30)
    assert images.dtype == np.uint8
    assert images[0, 0, :3].tolist() == [0, 1, 2]
    assert images[0, 1, 0] == 30
    assert images[1, 0, 0] == 840 % 256


def test_images_stored_column_by_column_are_transposed(path: Path) -> None:
    path.write_bytes(images_file(2, 8, 9))
    images = read_images(path, path.name, transposed=True)
    assert images.shape == (2, 9, 8)
    assert images[0, :3, 0].tolist() == [0, 1, 2]
    assert images.flags.c_contiguous


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "x: 0 bytes, but an IDX header has 16"),
        (images_file(1)[:15], "x: 15 bytes, but an IDX header has 16"),
        (images_file(1, magic=0x801), "x: magic number is 0x00000801, expected 0x00000803"),
        (b"\x89PNG" + bytes(30), "x: magic number is 0x89504e47, expected 0x00000803"),
        (b"\x1f\x8b" + bytes(30), "x: the archive is corrupted"),
        (gzip.compress(images_file(2))[:-9], "x: the archive is truncated"),
        (gzip.compress(images_file(2)[:-1]), "x: 1567 bytes of data, but the header announces"),
        (gzip.compress(images_file(2) + b"x"), "x: 1569 bytes of data, but the header announces"),
        (images_file(2)[:-1], "x: 1567 bytes of data, but the header announces 1568"),
        (images_file(2) + b"x", "x: 1569 bytes of data, but the header announces 1568"),
        (
            struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 28),
            "x: 0 bytes of data, but the header announces",
        ),
    ],
)
def test_malformed_images_are_refused(path: Path, content: bytes, expected: str) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_images(path, path.name)
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_images_too_large_for_the_memory_are_refused_before_they_are_read(
    path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 64 << 20)
    content = struct.pack(">4I", 0x803, 30_000, 28, 28)
    if packed:
        path.write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)
        os.truncate(path, 16 + 30_000 * 784)  # sparse
    with pytest.raises(UserError) as caught:
        read_images(path, path.name)
    assert str(caught.value).startswith(
        "x: images of 22 MiB need about 89 MiB of memory, but only 64 MiB are available"
    )


def test_labels_are_read_in_order(path: Path) -> None:
    path.write_bytes(labels_file([9, 0, 3]))
    assert read_labels(path, path.name, SETTINGS).tolist() == [9, 0, 3]


def test_labels_may_start_at_one(path: Path) -> None:
    path.write_bytes(labels_file([1, 26]))
    assert read_labels(path, path.name, LabelColumn(first=1)).tolist() == [0, 25]


def test_labels_may_be_integers_in_columns(path: Path) -> None:
    table = np.array([[5, 1, 7], [0, 2, 300]], ">i4")
    path.write_bytes(struct.pack(">3I", 0xC02, 2, 3) + table.tobytes())
    assert read_labels(path, path.name, LabelColumn(column=0)).tolist() == [5, 0]
    assert read_labels(path, path.name, LabelColumn(column=2)).tolist() == [7, 300]


@pytest.mark.parametrize(
    ("content", "settings", "expected"),
    [
        (b"1234567", SETTINGS, "x: 7 bytes, but an IDX header has 8"),
        (labels_file([1], 0x803), SETTINGS, "x: magic number is 0x00000803, expected 0x00000801"),
        (labels_file([1, 2])[:-1], SETTINGS, "x: 1 bytes of data, but the header announces 2"),
        (labels_file([1, 2]) + b"\0", SETTINGS, "x: 3 bytes of data, but the header announces 2"),
        (
            labels_file([1, 0]),
            LabelColumn(first=1),
            "x: label 0 at 1 is below dataset.labels.first: 1",
        ),
        (
            struct.pack(">3I", 0x802, 1, 3) + bytes(3),
            SETTINGS,
            "x: labels have 3 columns: set dataset.labels.column in params.yaml to the one with"
            " the class, 0–2",
        ),
        (
            struct.pack(">3I", 0x802, 1, 3) + bytes(3),
            LabelColumn(column=3),
            "x: labels have 3 columns: set dataset.labels.column",
        ),
    ],
)
def test_malformed_labels_are_refused(
    path: Path, content: bytes, settings: LabelColumn, expected: str
) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_labels(path, path.name, settings)
    assert str(caught.value).startswith(expected)


def test_a_named_pipe_is_refused_instead_of_waiting_for_a_writer(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(OSError, match="Not a regular file"):
        read_images(path, path.name)


def test_a_complete_file_is_told_from_a_damaged_one() -> None:
    assert is_complete(images_file(1))
    assert is_complete(gzip.compress(labels_file([3])))
    assert not is_complete(images_file(1)[:-1])
    assert not is_complete(b"")
