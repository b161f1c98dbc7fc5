"""The names of the classes: of pictures, or in a text file."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pydantic import TypeAdapter, ValidationError

from sidebyside.config.dataset import MAX_CLASSES, ClassNames
from sidebyside.config.validation import explain
from sidebyside.core.errors import UserError, quoted
from sidebyside.data.picture_files import PictureFile, listed

MAX_BYTES = 1 << 20  # of a file of class names


def of_pictures(
    files: Sequence[PictureFile], name: str, named: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the names of the classes in their order.

    The order is that of `named`; otherwise by number if all names are numbers, else by code points.

    Args:
        files: the pictures.
        name: the data set's folder in error messages, as the user knows it.
        named: the names in dataset.class_names, or None.

    Raises:
        UserError: there are too few or too many classes, or `named` are not those of the pictures.
    """
    present = {picture.label for picture in files}
    if len(present) == 1:
        raise UserError(f"{name} has one class, expected at least 2: {_advice(files, name)}")
    if len(present) > MAX_CLASSES:
        raise UserError(
            f"{name} has {len(present)} classes, expected at most {MAX_CLASSES}: merge some or"
            " leave some out"
        )
    if named is None:
        numbers = all(name.isascii() and name.isdigit() for name in present)
        return tuple(sorted(present, key=lambda name: (int(name) if numbers else 0, name)))
    absent, unlisted = sorted(set(named) - present), sorted(present - set(named))
    if absent or unlisted:
        faults = [f"no pictures of {listed(absent)}"] if absent else []
        faults += [f"not listed, but with pictures: {listed(unlisted)}"] if unlisted else []
        raise UserError(f"params.yaml: dataset.class_names: {'; '.join(faults)}")
    return tuple(named)


def _advice(files: Sequence[PictureFile], name: str) -> str:
    """Return advice on pictures of one class, whose folder may contain those of the classes."""
    label = files[0].label
    paths = [PurePosixPath(picture.file).parts for picture in files]
    below = sorted({path[1] for path in paths if path[0] == label and len(path) > 2})
    if below:
        return f"if {listed(below)} are classes, set dataset.path to {name}/{label}"
    return f"add pictures of a class beside {quoted(label)}"


def read_names(path: Path, name: str) -> tuple[str, ...]:
    """Return the class names in a text file, one per line, in the order of the labels.

    Args:
        path: the file.
        name: its name in error messages, as the user knows it.

    Raises:
        UserError: the file is missing or not UTF-8, or a name is empty or occurs twice.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{name}: larger than any list of {MAX_CLASSES} names")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"params.yaml: dataset.class_names: {name} is not a file") from None
    except UnicodeDecodeError:
        raise UserError(f"{name} is not text in UTF-8: save it as UTF-8") from None
    try:
        names = tuple(line.strip() for line in lines)
        while names and not names[-1]:
            names = names[:-1]
        return TypeAdapter(ClassNames).validate_python(names)
    except ValidationError as error:
        raise UserError(f"{name}: {explain(error)}") from None
