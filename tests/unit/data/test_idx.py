import os
import struct
from pathlib import Path

import numpy as np
import pytest

from sidebyside.core.errors import UserError
from sidebyside.data.fashion_mnist import RawFile
from sidebyside.data.idx import parse_images, parse_labels, read_raw

IMAGES = RawFile("some-images", 2000, "")
LABELS = RawFile("some-labels", 2000, "")


def images_file(count: int, height: int = 28, width: int = 28, magic: int = 0x803) -> bytes:
    pixels = np.arange(count * height * width, dtype=np.uint32).astype(np.uint8)
    return struct.pack(">4I", magic, count, height, width) + pixels.tobytes()


def labels_file(labels: list[int], magic: int = 0x801) -> bytes:
    return struct.pack(">2I", magic, len(labels)) + bytes(labels)


def test_images_are_read_in_order_row_by_row() -> None:
    images = parse_images(images_file(3), "x")
    assert images.shape == (3, 28, 28)
    assert images.dtype == np.uint8
    assert images[0, 0, :3].tolist() == [0, 1, 2]
    assert images[0, 1, 0] == 28
    assert images[1, 0, 0] == 784 % 256


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "x: 0 bytes, but an IDX header has 16"),
        (images_file(1)[:15], "x: 15 bytes, but an IDX header has 16"),
        (images_file(1, magic=0x801), "x: magic number is 0x00000801, expected 0x00000803"),
        (b"\x1f\x8b" + bytes(30), "x: magic number is 0x1f8b0000, expected 0x00000803"),
        (images_file(2, 32, 30), "x: images are 32×30 pixels, expected 28×28"),
        (images_file(2)[:-1], "x: 1567 bytes of data, but the header announces 1568"),
        (images_file(2) + b"x", "x: 1569 bytes of data, but the header announces 1568"),
        (
            struct.pack(">4I", 0x803, 2**32 - 1, 28, 28),
            "x: 0 bytes of data, but the header announces",
        ),
    ],
)
def test_malformed_images_are_refused(content: bytes, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_images(content, "x")
    assert str(caught.value).startswith(expected)


def test_images_of_another_shape_are_refused_even_with_the_same_size() -> None:
    content = bytes.fromhex("00000803 00000001 0000000e 00000038") + bytes(784)
    with pytest.raises(UserError, match="images are 14×56 pixels"):
        parse_images(content, "x")


def test_labels_are_read_in_order() -> None:
    labels = parse_labels(labels_file([9, 0, 3]), "x")
    assert labels.tolist() == [9, 0, 3]
    assert labels.dtype == np.uint8


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"1234567", "x: 7 bytes, but an IDX header has 8"),
        (labels_file([1], magic=0x803), "x: magic number is 0x00000803, expected 0x00000801"),
        (labels_file([1, 2])[:-1], "x: 1 bytes of data, but the header announces 2"),
        (labels_file([1, 2]) + b"\0", "x: 3 bytes of data, but the header announces 2"),
        (labels_file([1, 10, 255]), "x: label 10 at 1 is outside 0–9"),
        (labels_file([9, 10]), "x: label 10 at 1 is outside 0–9"),
    ],
)
def test_malformed_labels_are_refused(content: bytes, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_labels(content, "x")
    assert str(caught.value) == expected


def write_pair(folder: Path, images: bytes | None, labels: bytes | None) -> None:
    for file, content in ((IMAGES, images), (LABELS, labels)):
        if content is not None:
            (folder / file.name).write_bytes(content)


def test_a_pair_of_files_is_read_as_a_split(tmp_path: Path) -> None:
    write_pair(tmp_path, images_file(2), labels_file([4, 7]))
    split = read_raw(tmp_path, IMAGES, LABELS)
    assert len(split) == 2
    assert split.images.shape == (2, 28, 28)
    assert split.labels.tolist() == [4, 7]


@pytest.mark.parametrize(
    ("images", "labels", "expected"),
    [
        (None, labels_file([1]), r"some-images is missing: run `dvc repro download`"),
        (images_file(1), None, r"some-labels is missing: run `dvc repro download`"),
        (
            images_file(2),
            labels_file([1]),
            "some-images contains 2 images, but some-labels contains 1 label",
        ),
        (images_file(0), labels_file([]), "some-images contains no images"),
        (images_file(1)[:-1], labels_file([1]), "^some-images: 783 bytes of data"),
        (images_file(1), labels_file([11]), "^some-labels: label 11 at 0"),
        (labels_file([1]) + bytes(9), images_file(1), "^some-images: magic number"),
    ],
)
def test_an_invalid_pair_of_files_is_refused(
    tmp_path: Path, images: bytes | None, labels: bytes | None, expected: str
) -> None:
    write_pair(tmp_path, images, labels)
    with pytest.raises(UserError, match=expected) as caught:
        read_raw(tmp_path, IMAGES, LABELS)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(": run `dvc repro download`")


@pytest.mark.parametrize("name", [IMAGES.name, LABELS.name])
def test_a_file_larger_than_published_is_refused_before_it_is_read(
    tmp_path: Path, name: str
) -> None:
    write_pair(tmp_path, images_file(2), labels_file([1, 2]))
    os.truncate(tmp_path / name, 1 << 40)  # sparse: a terabyte on no disk
    with pytest.raises(
        UserError, match=rf"{name}: 1,099,511,627,776 bytes, expected 2,000: run `dvc repro"
    ):
        read_raw(tmp_path, IMAGES, LABELS)


def test_a_named_pipe_is_refused_instead_of_waiting_for_a_writer(tmp_path: Path) -> None:
    write_pair(tmp_path, None, labels_file([1]))
    os.mkfifo(tmp_path / IMAGES.name)
    with pytest.raises(OSError, match="Not a regular file"):
        read_raw(tmp_path, IMAGES, LABELS)
