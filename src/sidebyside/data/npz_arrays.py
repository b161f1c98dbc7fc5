"""Read images and labels from an `.npz` file with the names x_train, y_train, x_test, y_test."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidebyside.core.errors import UserError
from sidebyside.core.files import open_regular
from sidebyside.data.memory import require_memory

REQUIRED = ("x_train", "y_train")
OPTIONAL = ("x_test", "y_test")


def read_arrays(path: Path, name: str) -> dict[str, NDArray[Any]]:
    """Return the arrays x_train, y_train and, if the file has them, x_test and y_test.

    Images are uint8 [N, height, width] or [N, height, width, 3], labels int64 [N].

    Args:
        path: the file.
        name: its name in error messages, as the user knows it.

    Raises:
        UserError: an array is missing or not an image or label array, the file is damaged or too
            large for the memory.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            members = {Path(member).stem for member in archive.namelist()}
            missing = [key for key in REQUIRED if key not in members]
            if missing or len(members & set(OPTIONAL)) == 1:
                missing = missing or sorted(set(OPTIONAL) - members)
                raise UserError(
                    f"{name}: has no {' and no '.join(missing)}, but"
                    f" {', '.join(sorted(members)[:9]) or 'nothing'}"
                )
            keys = [key for key in (*REQUIRED, *OPTIONAL) if key in members]
            require_memory(sum(_announced(archive, key) for key in keys), name)
            arrays = {key: _read(archive, key) for key in keys}
    except (UserError, FileNotFoundError):
        raise
    except Exception as error:  # a damaged archive raises about ten types, zlib.error among them
        reason = " ".join(str(error).split())
        raise UserError(f"{name} is not a valid .npz file: {reason}") from None
    return {
        key: _images(array, f"{name}: {key}")
        if key.startswith("x")
        else _labels(array, f"{name}: {key}")
        for key, array in arrays.items()
    }


def _announced(archive: zipfile.ZipFile, name: str) -> int:
    """Return the size in bytes of an array, which its header and its member must agree on."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{name} has a header of version {version}")
        read = np.lib.format.read_array_header_1_0
        shape, _, dtype = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)
        if dtype.hasobject:
            raise ValueError(f"{name} contains Python objects, not numbers")
        size = member.file_size - file.tell()
    announced = math.prod(shape) * dtype.itemsize
    if size != announced:
        raise ValueError(f"{name} has {size:,} bytes, but its header announces {announced:,}")
    return announced


def _read(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array


def _images(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] != 3):
        raise UserError(
            f"{name} has shape {list(array.shape)}, expected [N, height, width] for grey or"
            " [N, height, width, 3] for colour"
        )
    if array.dtype != np.uint8:
        raise UserError(f"{name} is {array.dtype}, expected uint8 with values from 0 to 255")
    return np.ascontiguousarray(array)


def _labels(array: NDArray[Any], name: str) -> NDArray[np.int64]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UserError(
            f"{name} is {array.dtype} {list(array.shape)}, expected a whole number per image"
        )
    if len(array) and (array.min() < 0 or array.max() > np.iinfo(np.int32).max):
        raise UserError(f"{name} has a label outside of the classes: {array.min()}")
    return array.astype(np.int64)
