"""Read IDX files, the format of the MNIST family of data sets."""

import gzip
import io
import math
import os
import struct
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sidebyside.config.dataset_description import LabelColumn
from sidebyside.core.errors import UserError
from sidebyside.core.files import open_regular
from sidebyside.data.archives import GZIP_MAGIC
from sidebyside.data.memory import require_memory

IMAGES_MAGIC = 0x803  # unsigned bytes, three dimensions
LABELS_MAGIC = 0x801  # unsigned bytes, one dimension
# Further magic numbers of labels: unsigned bytes in columns, and integers of 32 bits.
LABELS_MAGICS = (LABELS_MAGIC, 0x802, 0xC01, 0xC02)


def read_images(path: Path, name: str, *, transposed: bool = False) -> NDArray[np.uint8]:
    """Return the images in an IDX file or a gzip archive of it, uint8 [N, height, width].

    Args:
        path: the file.
        name: its name in error messages, as the user knows it.
        transposed: whether the file has the images column by column.

    Raises:
        UserError: wrong magic number or length, a damaged archive, or too large for the memory.
    """
    images: NDArray[np.uint8] = _read(path, name, (IMAGES_MAGIC,))
    return np.ascontiguousarray(images.transpose(0, 2, 1)) if transposed else images


def read_labels(path: Path, name: str, settings: LabelColumn) -> NDArray[np.int64]:
    """Return the labels in an IDX file or a gzip archive of it, int64 [N], counted from 0.

    Args:
        path: the file.
        name: its name in error messages, as the user knows it.
        settings: the smallest label, and the column of labels in several columns.

    Raises:
        UserError: wrong magic number or length, a damaged archive, several columns without
            `settings.column`, or a label below the smallest one.
    """
    labels = _read(path, name, LABELS_MAGICS)
    if labels.ndim == 2:
        columns = labels.shape[1]
        if settings.column is None or settings.column >= columns:
            raise UserError(
                f"{name}: labels have {columns} columns: set dataset.labels.column in"
                f" params.yaml to the one with the class, 0–{columns - 1}"
            )
        labels = labels[:, settings.column]
    counted = labels.astype(np.int64) - settings.first
    if len(counted) and counted.min() < 0:
        first = int(np.argmax(counted < 0))
        raise UserError(
            f"{name}: label {labels[first]} at {first} is below dataset.labels.first:"
            f" {settings.first}"
        )
    return counted


def is_complete(content: bytes) -> bool:
    """Return whether the bytes are an IDX file of images or labels, or a gzip archive of it."""
    try:
        _parse(io.BytesIO(content), None, "", (IMAGES_MAGIC, *LABELS_MAGICS))
    except UserError:
        return False
    return True


def _read(path: Path, name: str, magics: tuple[int, ...]) -> NDArray[Any]:
    with open_regular(path) as file:
        return _parse(file, os.fstat(file.fileno()).st_size, name, magics)


def _parse(file: IO[bytes], size: int | None, name: str, magics: tuple[int, ...]) -> NDArray[Any]:
    """Return the array in an open file; memory is taken only for what its header announces.

    Args:
        file: an IDX file or a gzip archive of it.
        size: of the file in bytes, if known; detects a false header before memory is taken.
        name: prefix of error messages.
        magics: the accepted magic numbers.
    """
    packed = file.read(2) == GZIP_MAGIC
    file.seek(0)
    try:
        if packed:
            with gzip.GzipFile(fileobj=file) as archive:
                return _parse_unpacked(io.BufferedReader(archive), None, name, magics)
        return _parse_unpacked(file, size, name, magics)
    except EOFError:
        raise UserError(f"{name}: the archive is truncated") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{name}: the archive is corrupted ({error})") from None


def _parse_unpacked(
    file: IO[bytes], size: int | None, name: str, magics: tuple[int, ...]
) -> NDArray[Any]:
    header_size = 4 + 4 * (magics[0] & 0xFF)
    start = file.read(4)
    magic = int.from_bytes(start, "big")
    if len(start) == 4 and magic in magics:
        header_size = 4 + 4 * (magic & 0xFF)
    header = start + file.read(header_size - 4)
    if len(header) < header_size:
        raise UserError(f"{name}: {len(header)} bytes, but an IDX header has {header_size}")
    if magic not in magics:
        expected = " or ".join(f"{one:#010x}" for one in magics)
        raise UserError(f"{name}: magic number is {magic:#010x}, expected {expected}")
    shape = struct.unpack(f">{magic & 0xFF}I", header[4:])
    dtype = np.dtype(">i4" if magic & 0xF00 == 0xC00 else np.uint8)
    announced = math.prod(shape) * dtype.itemsize
    if size is not None and size - header_size != announced:
        raise UserError(_mismatch(name, size - header_size, announced))
    require_memory(announced, name)
    content = file.read(announced + 1)
    if len(content) != announced:
        raise UserError(_mismatch(name, len(content), announced))
    return np.frombuffer(content, dtype).reshape(shape)


def _mismatch(name: str, actual: int, announced: int) -> str:
    return f"{name}: {actual} bytes of data, but the header announces {announced}"
