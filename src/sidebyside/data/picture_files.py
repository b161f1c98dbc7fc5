"""List the pictures of a data set, each with its class, split and group.

The class comes from the folder (a sub-folder per class, or such sub-folders below a folder per
split) or from a CSV file with the columns file, label, and optionally split and group.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from sidebyside.config.dataset_description import OwnData
from sidebyside.core.errors import UserError, printable, quoted
from sidebyside.core.files import is_ignored, read_csv

SPLIT_FOLDERS = {"train", "training", "test", "testing", "val", "valid", "validation"}

# Of pictures, to notice those that are in no class; a picture is recognised by its content.
SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp"}


class PictureFile(NamedTuple):
    """A picture of a data set, not yet read."""

    file: str  # path below the data set's folder, with slashes
    label: str  # name of the class
    test: bool  # whether it belongs to a given test split
    group: str  # pictures of one group belong together; empty if there are no groups


def is_skipped(name: str) -> bool:
    """Return whether a file or folder of this name is not part of the data."""
    return name.startswith(".") or name == "__MACOSX" or is_ignored(name)


def list_pictures(root: Path, description: OwnData) -> list[PictureFile]:
    """Return the pictures of a data set, from its table if it has one.

    Args:
        root: the folder that contains them.
        description: the data set; error messages show its path.

    Raises:
        UserError: the folders or the table are not a data set.
    """
    name, group = description.path, description.group
    if description.list:
        return list_table(root, name, description.list, group)
    test = [description.test] if isinstance(description.test, str) else []
    return list_folders(root, name, test, group)


def list_folders(
    root: Path, name: str, test: Sequence[str], group: str | None
) -> list[PictureFile]:
    """Return the pictures below a folder per class, or per split and class.

    They are ordered by path, by code points and not by the rules of a language. Hidden files and
    those that file managers leave are ignored.

    Args:
        root: the data set's folder.
        name: its name in error messages, as the user knows it.
        test: names of the folders below `root` that hold the test split; if given, every other
            folder below `root` is part of the training data.
        group: regular expression that finds the group, as its first group, in the path below the
            class's folder; None if there are no groups.

    Raises:
        UserError: a folder or a picture is missing, a name is not text, or the expression does not
            match a path.
    """
    tops = _folders(root, name)
    if missing := [top for top in test if top not in tops]:
        raise UserError(
            f"params.yaml: dataset.test: {name} has no folder {quoted(missing[0])}:"
            f" it has {listed(tops)}"
        )
    if not test and tops and {top.lower() for top in tops} <= SPLIT_FOLDERS:
        raise UserError(
            f"{name}: the folders {listed(tops)} look like splits, not classes:"
            f" name the test split's folder in dataset.test"
        )
    found = []
    for top in tops if test else [""]:
        shown = f"{name}/{top}" if top else name
        _refuse_loose_pictures(root / top, shown)
        for label in _folders(root / top, shown):
            folder = f"{top}/{label}" if top else label
            files = list(_files(root, name, folder))
            if not files:
                raise UserError(
                    f"{shown}/{label} has no pictures: put some there, or delete the folder"
                )
            for file in files:
                below = file.removeprefix(f"{folder}/")
                found.append(PictureFile(file, label, top in test, _group(group, below, file)))
    if not found:
        raise UserError(f"{name} has no pictures: expected a sub-folder with pictures per class")
    return sorted(found)


def list_table(root: Path, name: str, table: str, group: str | None) -> list[PictureFile]:
    """Return the pictures in a CSV file with the columns file, label, split and group.

    Args:
        root: the data set's folder; the paths in the table are relative to it.
        name: its name in error messages, as the user knows it.
        table: path of the table below `root`.
        group: name of a column, or a regular expression for the path as for `list_folders`.

    Raises:
        UserError: the table is missing or not valid, names a file twice, outside `root` or that is
            missing, or an unknown split.
    """
    shown = f"dataset.list: {name}/{table}"
    if not (root / table).is_file():
        raise UserError(
            f"params.yaml: {shown} is not a file: put the table there, or correct the key"
        )
    try:
        rows = read_csv(root / table, ("file", "label"), shown)
        if not rows:
            raise UserError(f"{shown} has no rows")
    except UserError as error:
        raise UserError(
            f"{error}: save it as CSV in UTF-8 with commas, a first row with file and label, and a"
            " row per picture"
        ) from None
    found: dict[str, PictureFile] = {}
    for number, row in enumerate(rows, 1):
        file, place = row["file"], f"{shown}: row {number}"
        relative = PurePosixPath(file)
        if not file or relative.is_absolute() or ".." in relative.parts:
            raise UserError(f"{place}: file {quoted(file)} is not a path below {name}")
        file = relative.as_posix()
        if file in found:
            raise UserError(f"{place}: file {quoted(file)} is listed twice")
        _require_text(row["label"], f"{place}: label")
        split = row.get("split", "train")
        if split not in ("train", "test"):
            raise UserError(f"{place}: split {quoted(split)} is neither train nor test")
        if not (root / file).is_file():
            raise UserError(
                f"{place}: {name} has no file {quoted(file)}: put it there, or delete the row"
            )
        value = row[group] if group in row else _group(group, file, file)
        found[file] = PictureFile(file, row["label"], split == "test", value)
    return sorted(found.values())


def _folders(folder: Path, shown: str) -> list[str]:
    """Return the names of the folders in a folder, sorted."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    except NotADirectoryError:
        raise UserError(
            f"params.yaml: dataset.path: {shown} is a file: expected a folder with a sub-folder per"
            " class"
        ) from None
    kept = sorted(name for name in names if not is_skipped(name))
    for name in kept:
        _require_text(name, f"{shown}: the name of the folder")
    return kept


def _refuse_loose_pictures(folder: Path, shown: str) -> None:
    for entry in sorted(folder.iterdir()):
        if entry.suffix.lower() in SUFFIXES and not is_skipped(entry.name) and entry.is_file():
            name = printable(entry.name)
            advice = "move it to the folder of its class"
            if not _folders(folder, shown):
                advice += ", or set dataset.path to the folder that contains those of the classes"
            raise UserError(f"{shown}: {name} is in no class: {advice}")


def _files(root: Path, name: str, folder: str) -> Iterator[str]:
    """Yield the paths below `root` of all files below one of its folders."""
    for parent, folders, files in os.walk(root / folder):
        folders[:] = [each for each in folders if not is_skipped(each)]
        for each in files:
            if not is_skipped(each):
                file = (Path(parent) / each).relative_to(root).as_posix()
                if not _is_utf8(file):
                    raise UserError(f"{name}/{printable(file)}: the name is not UTF-8: rename it")
                yield file


def _is_utf8(text: str) -> bool:
    return text == text.encode(errors="replace").decode()


def _require_text(name: str, what: str) -> None:
    if not name.strip() or not name.isprintable():
        raise UserError(f"{what} {quoted(name)} is not printable text: rename it")


def _group(expression: str | None, text: str, file: str) -> str:
    if expression is None:
        return ""
    key = f"params.yaml: dataset.group: {quoted(expression)}"
    try:
        has_group = re.compile(expression).groups > 0
    except re.error:
        has_group = False
    if not has_group:
        raise UserError(
            f"{key} is neither a column of the table nor a regular expression with parentheses"
        )
    match = re.search(expression, text)
    if not match or match[1] is None:
        raise UserError(f"{key} does not match {quoted(file)}")
    return match[1]


def listed(names: Sequence[str]) -> str:
    """Return the first names in quotes."""
    return ", ".join(map(quoted, names[:9])) + (", …" if len(names) > 9 else "") or "none"
