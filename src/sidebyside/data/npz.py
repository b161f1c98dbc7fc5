"""Splits as `.npz` files, the format of data/processed and of all training data."""

import io
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidebyside.config.dataset import Dataset
from sidebyside.core.errors import UserError
from sidebyside.core.files import open_regular, write_bytes
from sidebyside.data.splits import Split

ALIGNMENT = 64  # bytes; TensorFlow uses an array without copying it if its address is a multiple
CHUNK = 1 << 20  # bytes per read


def write_split(path: Path, split: Split) -> None:
    """Replace `path` by the split as an `.npz` file: equal splits give equal bytes.

    Not compressed, because the output of zlib differs between builds.
    """
    buffer = io.BytesIO()
    np.savez(buffer, images=split.images, labels=split.labels)
    write_bytes(path, buffer.getvalue())


def read_split(path: Path, dataset: Dataset) -> Split:
    """Return the split of a data set in an `.npz` file.

    Raises:
        UserError: the file is missing, damaged, or does not contain a split of this data set.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            members = sorted(archive.namelist())
            if members != ["images.npy", "labels.npy"]:  # among others: one of them twice
                raise ValueError(f"contains {', '.join(members[:9])}")
            size = os.fstat(file.fileno()).st_size
            split = Split(
                _read_array(archive, "images", size), _read_array(archive, "labels", size)
            )
        _check(split, dataset)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `dvc repro`") from None
    except Exception as error:  # a damaged archive raises about ten types, zlib.error among them
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not a valid split: {reason}: run `dvc repro`") from None
    return split


def _check(split: Split, dataset: Dataset) -> None:
    if split.labels.dtype != np.uint8 or split.labels.ndim != 1 or not len(split):
        raise ValueError("labels must be a non-empty one-dimensional array of uint8")
    expected = (len(split), *dataset.shape)
    if split.images.dtype != np.uint8 or split.images.shape != expected:
        raise ValueError(
            f"images are {split.images.dtype} {list(split.images.shape)},"
            f" expected uint8 {list(expected)}"
        )
    if split.labels.max() >= dataset.classes:
        raise ValueError(f"a label is outside 0–{dataset.classes - 1}")


def _read_array(archive: zipfile.ZipFile, name: str, file_size: int) -> NDArray[Any]:
    """Return an array of an `.npz` file, aligned to ALIGNMENT.

    `numpy.load` does not align arrays, and an aligned copy would double the memory. Memory is only
    taken for bytes that the file contains: an array must not be compressed, and its header must
    announce as many bytes as its member has.
    """
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    if member.file_size > file_size:
        raise ValueError(f"{name} is truncated")
    with archive.open(member) as file:
        np.lib.format.read_magic(file)
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        if fortran_order or dtype.hasobject:
            raise ValueError(f"{name} is not an array of numbers in C order")
        size = member.file_size - file.tell()
        announced = math.prod(shape) * dtype.itemsize
        if size != announced:
            raise ValueError(f"{name} has {size:,} bytes, but its header announces {announced:,}")
        memory = np.empty(size + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        content = memory[start : start + size]
        for offset in range(0, size, CHUNK):
            part = content[offset : offset + CHUNK]
            chunk = file.read(len(part))
            if len(chunk) < len(part):
                raise ValueError(f"{name} is truncated")
            part[:] = np.frombuffer(chunk, np.uint8)
        file.read(1)  # reaching the end makes zipfile verify the checksum
    return content.view(dtype).reshape(shape)
