"""Read the pictures of a data set into images of one shape."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from sidebyside.config.dataset import MAX_SIDE, MIN_SIDE
from sidebyside.core.errors import UserError, printable
from sidebyside.data import picture
from sidebyside.data.picture import Header, Resize
from sidebyside.data.picture_files import PictureFile

THREADS = 4  # decoders that run at once
BATCH = 256  # pictures read before the first error among them is reported

Result = TypeVar("Result")


class Shape(NamedTuple):
    """Size and channels of the images of a data set."""

    height: int  # pixels
    width: int
    channels: Literal[1, 3]


class Unreadable(NamedTuple):
    """A picture that was skipped."""

    file: str
    reason: str


class Kind(NamedTuple):
    """The pictures of one format and mode."""

    format: str
    mode: str
    animated: bool
    pictures: int
    min_width: int  # pixels
    max_width: int
    min_height: int
    max_height: int


@dataclass(frozen=True, eq=False)
class Pictures:
    """The images of a data set, in the order of their files."""

    files: Sequence[PictureFile]  # those that were read
    headers: Sequence[Header]  # of `files`
    images: NDArray[np.uint8]  # [N, height, width(, 3)]
    unreadable: Sequence[Unreadable]


def find_size(
    root: Path, name: str, files: Sequence[PictureFile], *, skip: bool
) -> tuple[int, int]:
    """Return the height and width of all pictures.

    Args:
        root: the data set's folder.
        name: its name in error messages, as the user knows it.
        files: pictures below it.
        skip: whether unreadable pictures are skipped.

    Raises:
        UserError: the sizes differ or are out of range.
    """
    sizes: dict[tuple[int, int], str] = {}
    for file, header in _readable(_each(root, name, files, picture.read_header), skip, []):
        sizes.setdefault((header.height, header.width), file.file)
    if not sizes:
        raise UserError(f"{name}: no picture can be read")
    examples = " and ".join(
        f"{width}×{height} ({printable(file)})" for (height, width), file in list(sizes.items())[:2]
    )
    advice = f"give a height and width from {MIN_SIDE} to {MAX_SIDE}, such as size: [32, 32]"
    missing = "params.yaml: dataset.size is missing, but the pictures"
    if len(sizes) > 1:
        raise UserError(f"{missing} have {len(sizes)} sizes, such as {examples}: {advice}")
    ((height, width),) = sizes
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in (height, width)):
        raise UserError(f"{missing} are {examples}: {advice}")
    return height, width


def read(
    root: Path, name: str, files: Sequence[PictureFile], shape: Shape, rule: Resize, *, skip: bool
) -> Pictures:
    """Return the pictures as images of one shape.

    Args:
        root: the data set's folder.
        name: its name in error messages, as the user knows it.
        files: pictures below it.
        shape: shape of the images.
        rule: how a picture gets their size, as for `picture.resized`.
        skip: whether unreadable pictures are skipped; otherwise the first is an error.

    Raises:
        UserError: a picture cannot be read, or none can.
    """

    def prepare(content: bytes, name: str) -> tuple[Header, NDArray[np.uint8]]:
        image, _, header = picture.decode(content, name, shape.channels)
        return header, picture.resized(image, shape.height, shape.width, rule)

    axes = (shape.height, shape.width) + ((3,) if shape.channels == 3 else ())
    images = np.empty((len(files), *axes), np.uint8)
    kept: list[PictureFile] = []
    headers: list[Header] = []
    unreadable: list[Unreadable] = []
    for file, (header, pixels) in _readable(_each(root, name, files, prepare), skip, unreadable):
        images[len(kept)] = pixels
        kept.append(file)
        headers.append(header)
    if not kept:
        raise UserError(f"{name}: no picture can be read")
    return Pictures(kept, headers, images[: len(kept)], unreadable)


def _each(
    root: Path, name: str, files: Sequence[PictureFile], function: Callable[[bytes, str], Result]
) -> Iterator[tuple[PictureFile, Result | UserError]]:
    """Yield each picture with the function's result for its content and name, or its error."""

    def call(file: PictureFile) -> Result | UserError:
        shown = printable(f"{name}/{file.file}")
        try:
            return function(picture.read_content(root / file.file, shown), shown)
        except UserError as error:
            return error
        except MemoryError:
            return UserError(f"{shown}: there is not enough memory to decode it")

    # Filters of warnings belong to the process: the threads only change them within this block.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(files), BATCH):
            batch = files[start : start + BATCH]
            yield from zip(batch, pool.map(call, batch), strict=True)


def _readable(
    results: Iterator[tuple[PictureFile, Result | UserError]],
    skip: bool,
    unreadable: list[Unreadable],
) -> Iterator[tuple[PictureFile, Result]]:
    """Yield the pictures that can be read; append the others to `unreadable` or raise the first."""
    for file, result in results:
        if not isinstance(result, UserError):
            yield file, result
        elif skip:
            unreadable.append(Unreadable(file.file, str(result)))
        else:
            raise UserError(
                f"{result}: mend or remove it, or let `dataset.unreadable: skip` skip such pictures"
            )


def count_kinds(headers: Sequence[Header]) -> list[Kind]:
    """Return the kinds of pictures, the most frequent first."""
    kinds: dict[tuple[str, str, bool], list[Header]] = {}
    for header in headers:
        kinds.setdefault((header.format, header.mode, header.animated), []).append(header)
    rows = [
        Kind(
            *kind,
            len(members),
            *(min(one.width for one in members), max(one.width for one in members)),
            *(min(one.height for one in members), max(one.height for one in members)),
        )
        for kind, members in kinds.items()
    ]
    return sorted(rows, key=lambda row: (-row.pictures, row))
