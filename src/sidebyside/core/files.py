r"""Write files so that a reader sees the old content or the new, never half of it.

Text comes out the same on every machine: UTF-8, "\n" line ends, a final newline, no clock
times and no host names, so that equal results are equal bytes.
"""

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from sidebyside.core.errors import UserError

# File → its new content, written in full under another name; None outside of `together`.
_waiting: ContextVar[dict[Path, Path] | None] = ContextVar("waiting", default=None)


@contextlib.contextmanager
def write_atomically() -> Iterator[None]:
    """Replace all files that are written in the block when it ends, or none if it fails.

    A full disk shows while the new contents are written beside the old files; the renames at the
    end need no space.
    """
    waiting: dict[Path, Path] = {}
    before = _waiting.set(waiting)
    try:
        yield
        for path in waiting:
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        for path, temporary in waiting.items():
            os.replace(temporary, path)
    finally:
        _waiting.reset(before)
        for temporary in waiting.values():
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step that survives a crash; its folder is made."""
    waiting = _waiting.get()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")  # overwritten by the next try, if killed
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if waiting is None:
            os.replace(temporary, path)
        else:
            waiting[path] = temporary
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            # A full disk names no file, and the temporary one means nothing to a user.
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`, ending in exactly one newline."""
    write_bytes(path, (text.rstrip("\n") + "\n").encode())


def write_json(path: Path, content: Any) -> None:
    """Replace `path` by `content` as indented JSON, keys in the order given."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Replace `path` by a comma-separated table; floats have their shortest exact form."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML 1.2 file, read by the parser that DVC reads it with.

    So both see the same values: `010` is ten and `yes` is a word.

    Raises:
        UserError: the file is missing, is no YAML, gives a key twice, or holds anything but
            mappings, lists, text, numbers, truth values and null.
    """
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        values = list(_values(content))
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except RecursionError:
        raise UserError(f"{path.name} is not valid YAML: nested too deeply") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = f" in line {mark.line + 1}" if mark else ""
        raise UserError(f"{path.name} is not valid YAML: {error.problem}{line}") from None
    # Beside its own errors the parser raises whatever a malformed date or number leads to.
    except (YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise UserError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from None
    for value in values:
        if isinstance(value, int) and value.bit_length() > 64:
            raise UserError(f"{path.name}: a number of {value.bit_length()} bits is too large")
        if not (value is None or isinstance(value, (str, int, float))):
            raise UserError(f"{path.name}: {type(value).__name__} {value!s:.40} is not allowed")
    return content


def _values(content: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """Yield the keys and values of nested mappings and lists, those of aliases once.

    Aliases of aliases let a few lines stand for billions of values.
    """
    seen = set() if seen is None else seen
    if not isinstance(content, (dict, list)):
        yield content
    elif id(content) not in seen:
        for part in [*content, *content.values()] if isinstance(content, dict) else content:
            yield from _values(part, seen)
        seen.add(id(content))  # not before: what holds itself is nested too deeply


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        UserError: the file is missing, is no JSON, or gives a key twice.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_distinct)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `dvc repro` to make it") from None
    except RecursionError:
        raise UserError(f"{path} is not valid JSON: nested too deeply") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} is given twice")
    return content


def read_csv(path: Path, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return the rows of a comma-separated table, each as column → text.

    Args:
        path: the table.
        columns: those it must have; it may have others.

    Raises:
        UserError: the file is missing, is no table, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `dvc repro` to make it") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no comma-separated table: {error}") from None
    for column in columns:
        if column not in header:
            raise UserError(f"{path} has no column {column}")
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise UserError(f"{path}: row {number} has {len(row)} cells, expected {len(header)}")
    return [dict(zip(header, row, strict=True)) for row in rows]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal.

    Raises:
        UserError: the file is missing.
    """
    return _digest(path, hashlib.sha256())


def md5(path: Path) -> str:
    """Return the MD5 of a file's bytes in hexadecimal: the digest that DVC records.

    Raises:
        UserError: the file is missing.
    """
    return _digest(path, hashlib.md5(usedforsecurity=False))


def path_digest(path: Path) -> str:
    """Return the digest that DVC records of a file, or of a folder: the MD5 of its listing.

    Raises:
        UserError: the path is missing.
    """
    if not path.is_dir():
        return md5(path)
    files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    listing = [{"md5": md5(path / name), "relpath": name} for name in files]
    text = json.dumps(listing, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def _digest(path: Path, hasher: "hashlib._Hash") -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hasher).hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `dvc repro` to make it") from None
