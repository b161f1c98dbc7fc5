"""Find the first difference between two files: array, key, cell, line or pixel, with its values."""

import csv
import io
import itertools
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def first_difference(expected: Path, new: Path) -> str | None:
    """Return the first difference between two files, or None for equal bytes.

    The suffix decides how files are parsed; files that cannot be parsed are compared byte by byte.
    """
    if not new.is_file():
        return "missing"
    first, second = expected.read_bytes(), new.read_bytes()
    if first == second:
        return None
    compare = READERS.get(expected.suffix, _lines)
    try:
        difference = compare(first, second)
    except Exception:  # parsers of damaged files raise many types
        difference = None
    return difference or _bytes(first, second)


def first_difference_below(expected: Path, new: Path) -> str | None:
    """Return the first file in a folder that differs and its difference; None for equal folders."""
    if expected.is_file():
        return first_difference(expected, new)
    names = sorted(
        {
            str(path.relative_to(folder))
            for folder in (expected, new)
            for path in folder.rglob("*")
            if path.is_file()
        }
    )
    for name in names:
        if not (expected / name).is_file():
            return f"{name}: not recorded"
        if difference := first_difference(expected / name, new / name):
            return f"{name}: {difference}"
    return None


def _npz(first: bytes, second: bytes) -> str | None:
    with np.load(io.BytesIO(first)) as a, np.load(io.BytesIO(second)) as b:
        return _arrays({name: a[name] for name in a}, {name: b[name] for name in b})


def _keras(first: bytes, second: bytes) -> str | None:
    with zipfile.ZipFile(io.BytesIO(first)) as a, zipfile.ZipFile(io.BytesIO(second)) as b:
        for name in sorted({*a.namelist(), *b.namelist()}):
            if name not in b.namelist():
                return f"member {name}: missing"
            if name not in a.namelist():
                return f"member {name}: not recorded"
            one, other = a.read(name), b.read(name)
            if one != other:
                compare = {".json": _json, ".h5": _weights}.get(Path(name).suffix, _bytes)
                return f"member {name}: {compare(one, other) or _bytes(one, other)}"
    return None


def _weights(first: bytes, second: bytes) -> str | None:
    import h5py  # noqa: PLC0415 (a large package that only models need)

    def arrays(content: bytes) -> dict[str, NDArray[Any]]:
        datasets: dict[str, NDArray[Any]] = {}

        def collect(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                datasets[name] = item[()]

        with h5py.File(io.BytesIO(content)) as file:
            file.visititems(collect)
        return datasets

    return _arrays(arrays(first), arrays(second))


def _arrays(expected: Mapping[str, NDArray[Any]], new: Mapping[str, NDArray[Any]]) -> str | None:
    for name in sorted(expected.keys() | new.keys()):
        if name not in new:
            return f"array {name}: missing"
        if name not in expected:
            return f"array {name}: not recorded"
    for name in sorted(expected):
        a, b = expected[name], new[name]
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            return f"array {name}: {b.dtype} {list(b.shape)}, not {a.dtype} {list(a.shape)}"
        unequal = np.argwhere(~np.isclose(a, b, rtol=0, atol=0, equal_nan=True))
        if len(unequal):
            index = tuple(int(i) for i in unequal[0])
            return (
                f"array {name}: {b[index]!s} at {list(index)}, not {a[index]!s};"
                f" {len(unequal):,} of {a.size:,} values differ"
            )
    return None


def _json(first: bytes, second: bytes) -> str | None:
    return _node(json.loads(first), json.loads(second), "")


def _node(expected: Any, new: Any, path: str) -> str | None:
    if isinstance(expected, dict) and isinstance(new, dict):
        return _mapping(expected, new, path)
    if isinstance(expected, list) and isinstance(new, list) and len(expected) == len(new):
        pairs = zip(expected, new, strict=True)
        nodes = (_node(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(pairs))
        return next(filter(None, nodes), None)
    if expected != new:
        return f"key {path}: {json.dumps(new)}, not {json.dumps(expected)}"
    return None


def _mapping(expected: dict[str, Any], new: dict[str, Any], path: str) -> str | None:
    for key in dict.fromkeys([*expected, *new]):
        child = f"{path}.{key}".lstrip(".")
        if key not in new:
            return f"key {child}: missing"
        if key not in expected:
            return f"key {child}: not recorded"
        if difference := _node(expected[key], new[key], child):
            return difference
    return None


def _csv(first: bytes, second: bytes) -> str | None:
    a, b = (list(csv.reader(io.StringIO(content.decode()))) for content in (first, second))
    if a[0] != b[0]:
        return f"columns {', '.join(b[0])}, not {', '.join(a[0])}"
    for number, (row, other) in enumerate(zip(a[1:], b[1:], strict=False), 1):
        for column, value, cell in zip(a[0], row, other, strict=True):
            if value != cell:
                return f"row {number}, column {column}: {cell}, not {value}"
    return f"{len(b) - 1} rows, not {len(a) - 1}" if len(a) != len(b) else None


def _png(first: bytes, second: bytes) -> str | None:
    from PIL import Image  # noqa: PLC0415 (a large package that only figures need)

    a, b = (
        np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")) for content in (first, second)
    )
    if a.shape != b.shape:
        return f"{b.shape[1]}×{b.shape[0]} pixels, not {a.shape[1]}×{a.shape[0]}"
    unequal = np.argwhere((a != b).any(axis=2))
    if not len(unequal):
        return None
    y, x = (int(i) for i in unequal[0])
    return (
        f"pixel at x={x}, y={y}: {b[y, x].tolist()}, not {a[y, x].tolist()};"
        f" {len(unequal):,} pixels differ"
    )


def _lines(first: bytes, second: bytes) -> str | None:
    pairs: Iterator[tuple[str | None, str | None]] = itertools.zip_longest(
        first.decode().splitlines(), second.decode().splitlines()
    )
    for number, (a, b) in enumerate(pairs, 1):
        if a != b:
            return f"line {number}: {_short(b)}, not {_short(a)}"
    return None


def _short(line: str | None) -> str:
    if line is None:
        return "end of file"
    return repr(line if len(line) <= SHOWN else f"{line[:SHOWN]}…")


def _bytes(first: bytes, second: bytes) -> str:
    at = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )
    return f"byte {at:,}; {len(second):,} bytes, not {len(first):,}"


SHOWN = 60  # maximum length of a line in a message

READERS: Mapping[str, Callable[[bytes, bytes], str | None]] = {
    ".npz": _npz,
    ".keras": _keras,
    ".json": _json,
    ".csv": _csv,
    ".png": _png,
}
