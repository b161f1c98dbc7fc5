"""Prepare a picture that a client has sent, in the process in which `predict` reads a file."""

from pathlib import Path

from sidebyside.config.dataset import Dataset
from sidebyside.core.errors import UserError
from sidebyside.serving.confined_picture import read_confined
from sidebyside.serving.picture import Picture


def read_upload(content: bytes, folder: Path, dataset: Dataset) -> Picture:
    """Return a picture prepared for a classifier of a data set.

    Args:
        content: content of the picture's file.
        folder: a folder for the file, of one caller at a time.
        dataset: the data set.

    Raises:
        UserError: it is not a picture that can be read within the limits; no path is named.
    """
    path = folder / "picture"
    path.write_bytes(content)
    try:
        return read_confined(path, dataset)
    except UserError as error:
        raise UserError(str(error).replace(str(path), "the picture")) from None
    finally:
        path.unlink()
