"""Fashion-MNIST: its files, its splits, its class names."""

import hashlib
import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidebyside.config.dataset import CLASSES, IMAGE_SIZE
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_bytes

# Bytes. TensorFlow uses an array that begins at a multiple of this as it lies in memory.
ALIGNMENT = 64
CHUNK = 1 << 20  # bytes that are read at once


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels."""

    images: NDArray[np.uint8]  # [N, 28, 28], 0 is background
    labels: NDArray[np.uint8]  # [N], index into CLASS_NAMES

    def __len__(self) -> int:
        return len(self.labels)


def split_digest(split: Split) -> str:
    """Return the SHA-256 over a split's shape, pixels and labels, in hexadecimal."""
    hasher = hashlib.sha256(repr(split.images.shape).encode())
    hasher.update(np.ascontiguousarray(split.images).data)
    hasher.update(np.ascontiguousarray(split.labels).data)
    return hasher.hexdigest()


def write_split(path: Path, split: Split) -> None:
    """Replace `path` by the split as an `.npz`, the same bytes for the same split.

    Not compressed: zlib's builds differ in their bytes.
    """
    buffer = io.BytesIO()
    np.savez(buffer, images=split.images, labels=split.labels)
    write_bytes(path, buffer.getvalue())


def read_split(path: Path) -> Split:
    """Return the split in a `.npz` file.

    Raises:
        UserError: the file is missing, damaged, or holds something other than a split.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            split = Split(_read_array(archive, "images"), _read_array(archive, "labels"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `dvc repro`") from None
    except Exception as error:  # a damaged archive raises some ten kinds, zlib's among them
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is no readable split: {reason}") from None
    if split.labels.dtype != np.uint8 or split.labels.ndim != 1 or not len(split):
        raise UserError(f"{path}: labels must be a row of uint8, at least one")
    expected = (len(split), IMAGE_SIZE, IMAGE_SIZE)
    if split.images.dtype != np.uint8 or split.images.shape != expected:
        raise UserError(
            f"{path}: images are {split.images.dtype} {list(split.images.shape)},"
            f" expected uint8 {list(expected)}"
        )
    if split.labels.max() >= CLASSES:
        raise UserError(f"{path}: a label is outside 0–{CLASSES - 1}")
    return split


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Return an array of an `.npz`, as `numpy.load` does, but aligned and without a second copy."""
    with archive.open(f"{name}.npy") as file:
        np.lib.format.read_magic(file)
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        if fortran_order or dtype.hasobject:
            raise ValueError(f"{name} is no plain array")
        size = math.prod(shape) * dtype.itemsize
        memory = np.empty(size + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        content = memory[start : start + size]
        for place in range(0, size, CHUNK):
            part = content[place : place + CHUNK]
            chunk = file.read(len(part))
            if len(chunk) < len(part):
                raise ValueError(f"{name} ends too early")
            part[:] = np.frombuffer(chunk, np.uint8)
        if file.read(1):  # at the end the checksum is held against what was read
            raise ValueError(f"{name} is longer than it says")
    return content.view(dtype).reshape(shape)
