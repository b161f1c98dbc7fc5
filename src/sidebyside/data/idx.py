"""Read IDX files, the format of the MNIST family of data sets."""

import os
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sidebyside.config.dataset import CLASSES, IMAGE_SIZE
from sidebyside.core.errors import UserError
from sidebyside.core.files import open_regular
from sidebyside.data.fashion_mnist import RawFile
from sidebyside.data.splits import Split

IMAGES_MAGIC = 0x803  # unsigned bytes, three dimensions
LABELS_MAGIC = 0x801  # unsigned bytes, one dimension


def parse_images(content: bytes, name: str) -> NDArray[np.uint8]:
    """Return the images in the bytes of an IDX file, uint8 [N, 28, 28].

    Raises:
        UserError: wrong magic number, image size or length; `name` prefixes the message.
    """
    header = _header(content, name, IMAGES_MAGIC, 4)
    count, height, width = header
    if (height, width) != (IMAGE_SIZE, IMAGE_SIZE):
        raise UserError(
            f"{name}: images are {height}×{width} pixels, expected {IMAGE_SIZE}×{IMAGE_SIZE}"
        )
    pixels = _body(content, name, 16, count * height * width)
    return pixels.reshape(count, height, width)


def parse_labels(content: bytes, name: str) -> NDArray[np.uint8]:
    """Return the labels in the bytes of an IDX file, uint8 [N].

    Raises:
        UserError: wrong magic number or length, or a label outside the classes; `name` prefixes
            the message.
    """
    (count,) = _header(content, name, LABELS_MAGIC, 2)
    labels = _body(content, name, 8, count)
    if count and labels.max() >= CLASSES:
        first = int(np.argmax(labels >= CLASSES))
        raise UserError(f"{name}: label {labels[first]} at {first} is outside 0–{CLASSES - 1}")
    return labels


def _header(content: bytes, name: str, magic: int, words: int) -> tuple[int, ...]:
    size = 4 * words
    if len(content) < size:
        raise UserError(f"{name}: {len(content)} bytes, but an IDX header has {size}")
    actual, *dimensions = struct.unpack(f">{words}I", content[:size])
    if actual != magic:
        raise UserError(f"{name}: magic number is {actual:#010x}, expected {magic:#010x}")
    return tuple(dimensions)


def _body(content: bytes, name: str, start: int, size: int) -> NDArray[np.uint8]:
    actual = len(content) - start
    if actual != size:
        raise UserError(f"{name}: {actual} bytes of data, but the header announces {size}")
    return np.frombuffer(content, np.uint8, offset=start)


def read_raw(folder: Path, images: RawFile, labels: RawFile) -> Split:
    """Return a pair of published files as a split.

    Raises:
        UserError: a file is missing, malformed or larger than published, or the numbers of images
            and labels differ.
    """
    try:
        split = Split(
            parse_images(_read(folder, images), images.name),
            parse_labels(_read(folder, labels), labels.name),
        )
        if len(split.images) != len(split.labels):
            raise UserError(
                f"{images.name} contains {len(split.images)} images,"
                f" but {labels.name} contains {len(split.labels)} labels"
            )
        if not len(split):
            raise UserError(f"{images.name} contains no images")
    except UserError as error:
        raise UserError(f"{error}: run `dvc repro download`") from None
    return split


def _read(folder: Path, file: RawFile) -> bytes:
    path = folder / file.name
    try:
        with open_regular(path) as opened:
            size = os.fstat(opened.fileno()).st_size
            if size > file.size:
                raise UserError(f"{path}: {size:,} bytes, expected {file.size:,}")
            return opened.read()
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
