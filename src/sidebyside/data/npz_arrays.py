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


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays x_train, y_train and, if the file has them, x_test and y_test.

    Images are uint8 [N, height, width] or [N, height, width, 3], labels int64 [N].

    Raises:
        UserError: an array is missing or not an image or label array, the file is damaged or too
            large for the memory.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            members = {Path(name).stem for name in archive.namelist()}
            missing = [name for name in REQUIRED if name not in members]
            if missing or len(members & set(OPTIONAL)) == 1:
                missing = missing or sorted(set(OPTIONAL) - members)
                raise UserError(
                    f"{path.name}: has no {' and no '.join(missing)}, but"
                    f" {', '.join(sorted(members)[:9]) or 'nothing'}"
                )
            names = [name for name in (*REQUIRED, *OPTIONAL) if name in members]
            require_memory(sum(_announced(archive, name) for name in names), path.name)
            arrays = {name: _read(archive, name) for name in names}
    except (UserError, FileNotFoundError):
        raise
    except Exception as error:  # a damaged archive raises about ten types, zlib.error among them
        reason = " ".join(str(error).split())
        raise UserError(f"{path.name} is not a valid .npz file: {reason}") from None
    return {
        name: _images(array, f"{path.name}: {name}")
        if name.startswith("x")
        else _labels(array, f"{path.name}: {name}")
        for name, array in arrays.items()
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
