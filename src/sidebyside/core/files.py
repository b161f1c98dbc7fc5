r"""Write files atomically and reproducibly, and read them strictly.

Text is written as UTF-8 with "\n" line ends and a final newline on every machine, so that equal
content gives equal bytes.

Tables use the csv module, not pandas: stages such as `download` and `preprocess` save the
0.4 s of importing pandas, and `pandas.read_csv` silently pads short rows.
"""

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import shlex
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextvars import ContextVar
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TextIO

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import CollectionNode, MappingNode

from sidebyside.core.errors import UserError, quoted

# Names in a folder that are not part of an output, as in .dvcignore: written by Python, file
# managers, editors, network file systems, and processes that were killed while writing.
IGNORED = (
    *("__pycache__", ".ipynb_checkpoints", ".DS_Store", "._*", "Thumbs.db", "desktop.ini"),
    *(".directory", ".nfs*", ".fuse_hidden*"),
    *("*~", "*.bak", "*.sw[op]", ".#*", "#*#", ".*.tmp"),
)

MAX_SHOWN = 80  # characters of a table's first row in an error message
MAX_TEXT_BYTES = 256 << 20  # of a JSON or CSV file
MAX_YAML_BYTES = 2 << 20  # parsing a mebibyte takes ten seconds
MAX_YAML_VALUES = 1_000_000

# Destination → temporary file with its new content; None outside of `write_atomically`.
_pending: ContextVar[dict[Path, Path] | None] = ContextVar("pending", default=None)


@contextlib.contextmanager
def write_atomically() -> Iterator[None]:
    """Replace all files written in the block at its end, or none if the block fails.

    The new contents are written beside the old files, so a full disk is detected before the first
    file is replaced: renaming needs no space.
    """
    pending: dict[Path, Path] = {}
    token = _pending.set(pending)
    try:
        yield
        for path in pending:
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        for path, temporary in pending.items():
            os.replace(temporary, path)
    finally:
        _pending.reset(token)
        for temporary in pending.values():
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` atomically and durably; create its folder if missing."""
    pending = _pending.get()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(
        f".{path.name}.tmp"
    )  # a process that was killed leaves it to be overwritten
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if pending is None:
            os.replace(temporary, path)
        else:
            pending[path] = temporary
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            # The error of a full disk names no file, or only the temporary one.
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text`, ending in exactly one newline."""
    write_bytes(path, (text.rstrip("\n") + "\n").encode())


def write_json(path: Path, content: Any) -> None:
    """Replace `path` by `content` as indented JSON with keys in the given order."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Replace `path` by a CSV table; floats have their shortest exact representation."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file to read its bytes.

    Opening a named pipe would wait for a writer, and a device may have no end.

    Raises:
        OSError: the file cannot be opened, or is a pipe, socket or device.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a folder raises its own error
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return path.open("rb")


def _open_text(
    path: Path, max_bytes: int, newline: str | None = None, encoding: str = "utf-8"
) -> TextIO:
    """Open a text file.

    Raises:
        OSError: the file cannot be opened, or is a pipe, socket or device.
        UserError: the file is larger than `max_bytes`.
    """
    file = open_regular(path)
    if os.fstat(file.fileno()).st_size > max_bytes:
        file.close()
        raise UserError(f"{path} is larger than {max_bytes >> 20} MiB")
    return io.TextIOWrapper(file, encoding=encoding, newline=newline)


class _Composer(Composer):
    """Refuse nested aliases, which can expand a few lines to billions of values."""

    def __init__(self, loader: Any) -> None:
        super().__init__(loader)
        self._sizes: dict[int, int] = {}  # id of a node → number of values, aliases expanded

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node."""
        is_alias = self.parser.check_event(AliasEvent)
        node = super().compose_node(parent, index)
        if is_alias:
            if id(node) not in self._sizes:
                raise ComposerError(problem="a value contains itself", problem_mark=node.start_mark)
            return node
        children = node.value if isinstance(node, CollectionNode) else []
        if isinstance(node, MappingNode):
            children = [part for pair in children for part in pair]
        self._sizes[id(node)] = 1 + sum(self._sizes[id(child)] for child in children)
        if self._sizes[id(node)] > MAX_YAML_VALUES:
            problem = f"aliases expand to more than {MAX_YAML_VALUES:,} values"
            raise ComposerError(problem=problem, problem_mark=node.start_mark)
        return node


class _Constructor(SafeConstructor):
    """Refuse values that JSON lacks and numbers of more than 64 bits, naming the line."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Return a node's value."""
        problem = ""
        try:
            value = super().construct_object(node, deep)
        # A malformed date or number makes the parser raise errors of these types.
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            value, problem = None, str(error).partition(";")[0]
        if isinstance(value, int) and value.bit_length() > 64:
            problem = f"a number of {value.bit_length()} bits is too large (64 bits at most)"
        elif value is not None and not isinstance(value, (dict, list, str, int, float)):
            problem = f"{type(value).__name__} {value!s:.40} is not allowed"
        if problem:
            raise ConstructorError(problem=problem, problem_mark=node.start_mark)
        return value


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML 1.2 file, parsed as DVC parses it.

    Both then see the same values: `010` is the number 10 and `yes` is text.

    Raises:
        UserError: the file is missing, too large or not valid YAML, has a duplicate key, or
            contains types other than mappings, lists, text, numbers, booleans and null.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer, yaml.Constructor = _Composer, _Constructor  # type: ignore[assignment]
    try:
        with _open_text(path, MAX_YAML_BYTES) as file:
            return yaml.load(file.read())
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except RecursionError:
        raise UserError(f"{path.name} is not valid YAML: nested too deeply") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = f" in line {mark.line + 1}" if mark else ""
        problem = " ".join(str(error.problem).split())
        raise UserError(f"{path.name} is not valid YAML: {problem}{line}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from None


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        UserError: the file is missing, too large or not valid JSON, or has a duplicate key.
    """
    try:
        with _open_text(path, MAX_TEXT_BYTES) as file:
            return json.load(file, object_pairs_hook=_without_duplicates)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `{_repro(path)}` to create it") from None
    except RecursionError:
        raise UserError(f"{path} is not valid JSON: nested too deeply") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        duplicate = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"duplicate key {duplicate!r}")
    return content


def read_csv(
    path: Path, columns: Sequence[str] = (), name: str | None = None
) -> list[dict[str, str]]:
    """Return the rows of a CSV table, each as column → text.

    A byte order mark at its beginning, as Excel writes it, and empty lines are ignored.

    Args:
        path: the table, in UTF-8.
        columns: required columns; other columns are allowed.
        name: its name in error messages; the path by default.

    Raises:
        UserError: the file is missing, too large or not a valid table, or lacks a column.
    """
    try:
        with _open_text(path, MAX_TEXT_BYTES, "", "utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row] or [[]]
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `{_repro(path)}` to create it") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{name or path} is not a valid CSV file: {error}") from None
    for column in columns:
        if column not in header:
            found = quoted(", ".join(header)[:MAX_SHOWN])
            raise UserError(f"{name or path} has no column {column}: its first row is {found}")
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise UserError(
                f"{name or path}: row {number} has {len(row)} cells, expected {len(header)}"
            )
    return [dict(zip(header, row, strict=True)) for row in rows]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal.

    Raises:
        UserError: the file is missing.
    """
    return _digest(path, hashlib.sha256())


def md5(path: Path) -> str:
    """Return the MD5 of a file's bytes in hexadecimal, the digest that DVC records.

    Raises:
        UserError: the file is missing.
    """
    return _digest(path, hashlib.md5(usedforsecurity=False))


def path_digest(path: Path) -> str:
    """Return the digest that DVC records: MD5 of a file, or of the listing of a folder.

    Raises:
        UserError: the path is missing.
    """
    if not path.is_dir():
        return md5(path)
    files = [file.relative_to(path) for file in path.rglob("*") if file.is_file()]
    names = sorted(file.as_posix() for file in files if not any(map(is_ignored, file.parts)))
    listing = [{"md5": md5(path / name), "relpath": name} for name in names]
    text = json.dumps(listing, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def is_ignored(name: str) -> bool:
    """Return whether a file or folder of this name is not part of an output."""
    return any(fnmatchcase(name, pattern) for pattern in IGNORED)


def _digest(path: Path, hasher: "hashlib._Hash") -> str:
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, lambda: hasher).hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `{_repro(path)}` to create it") from None


def _repro(path: Path) -> str:
    """Return the command that creates an output, for the working directory."""
    folders = (folder for folder in path.absolute().parents if (folder / "dvc.yaml").is_file())
    folder = os.path.relpath(next(folders, "."))
    return "dvc repro" if folder == "." else f"dvc --cd {shlex.quote(folder)} repro"


def keep_only(folder: Path, kept: Collection[Path]) -> None:
    """Delete all files below a folder except some, and empty folders; a missing folder is empty."""
    # From the inside out, so that folders are empty when their turn comes.
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path not in kept:
            path.unlink()
