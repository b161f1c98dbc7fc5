"""Fashion-MNIST: its files, its splits, its class names."""

import hashlib
import io
import math
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fashion.errors import UserError
from fashion.files import write_bytes
from fashion.randomness import generator

IMAGE_SIZE = 28  # pixels, both ways
CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CLASSES = len(CLASS_NAMES)

IMAGES_MAGIC = 0x803  # unsigned bytes, three dimensions
LABELS_MAGIC = 0x801  # unsigned bytes, one dimension


# Bytes. TensorFlow uses an array that begins at a multiple of this as it lies in memory.
ALIGNMENT = 64
CHUNK = 1 << 20  # bytes that are read at once


class RawFile(NamedTuple):
    """One of the four published files, unpacked."""

    name: str
    size: int  # bytes
    sha256: str


# The unpacked bytes identify the data: packagers compress the same bytes differently. Checked
# against the MD5s that Zalando Research publishes for its archives.
TRAIN_IMAGES = RawFile(
    "train-images-idx3-ubyte",
    47_040_016,
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
)
TRAIN_LABELS = RawFile(
    "train-labels-idx1-ubyte",
    60_008,
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
)
TEST_IMAGES = RawFile(
    "t10k-images-idx3-ubyte",
    7_840_016,
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
)
TEST_LABELS = RawFile(
    "t10k-labels-idx1-ubyte",
    10_008,
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
RAW_FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels."""

    images: NDArray[np.uint8]  # [N, 28, 28], 0 is background
    labels: NDArray[np.uint8]  # [N], index into CLASS_NAMES

    def __len__(self) -> int:
        return len(self.labels)


def parse_images(content: bytes, name: str) -> NDArray[np.uint8]:
    """Return the images of an IDX file's bytes, uint8 [N, 28, 28].

    Raises:
        UserError: wrong magic number, image size or length; the message begins with `name`.
    """
    header = _header(content, name, IMAGES_MAGIC, 4)
    count, height, width = header
    if (height, width) != (IMAGE_SIZE, IMAGE_SIZE):
        raise UserError(
            f"{name}: images are {height}×{width} pixels, expected {IMAGE_SIZE}×{IMAGE_SIZE}"
        )
    pixels = _body(content, name, 16, count * height * width)
    return pixels.reshape(count, height, width)


def parse_labels(content: bytes, name: str) -> NDArray[np.uint8]:
    """Return the labels of an IDX file's bytes, uint8 [N].

    Raises:
        UserError: wrong magic number or length, or a label that is no class; the message begins
            with `name`.
    """
    (count,) = _header(content, name, LABELS_MAGIC, 2)
    labels = _body(content, name, 8, count)
    if count and labels.max() >= CLASSES:
        first = int(np.argmax(labels >= CLASSES))
        raise UserError(f"{name}: label {labels[first]} at {first} is outside 0–{CLASSES - 1}")
    return labels


def _header(content: bytes, name: str, magic: int, words: int) -> tuple[int, ...]:
    size = 4 * words
    if len(content) < size:
        raise UserError(f"{name}: {len(content)} bytes are too few for an IDX header of {size}")
    found, *dimensions = struct.unpack(f">{words}I", content[:size])
    if found != magic:
        raise UserError(f"{name}: magic number is {found:#010x}, expected {magic:#010x}")
    return tuple(dimensions)


def _body(content: bytes, name: str, start: int, size: int) -> NDArray[np.uint8]:
    found = len(content) - start
    if found != size:
        raise UserError(f"{name}: {found} bytes of data, its header announces {size}")
    return np.frombuffer(content, np.uint8, offset=start)


def read_raw(folder: Path, images: RawFile, labels: RawFile) -> Split:
    """Return a published pair of files as a split.

    Raises:
        UserError: a file is missing or malformed, or the two do not belong together.
    """
    split = Split(
        parse_images(_read(folder / images.name), images.name),
        parse_labels(_read(folder / labels.name), labels.name),
    )
    if len(split.images) != len(split.labels):
        raise UserError(
            f"{images.name} holds {len(split.images)} images,"
            f" {labels.name} holds {len(split.labels)} labels: they do not belong together"
        )
    if not len(split):
        raise UserError(f"{images.name} holds no image")
    return split


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `dvc repro download`") from None


def stratified_split(split: Split, val_fraction: float, seed: int) -> tuple[Split, Split]:
    """Return (train, val): of each class, `val_fraction` goes to val; both keep file order.

    Drawn class by class with numpy: scikit-learn's splitter does the same, but importing it takes
    longer than the whole stage.

    Raises:
        UserError: a class would be left without an image in train or in val.
    """
    in_val = np.zeros(len(split), bool)
    for label in np.unique(split.labels):
        members = np.flatnonzero(split.labels == label)
        count = round(len(members) * val_fraction)
        if not 0 < count < len(members):
            raise UserError(
                f"preprocess.val_fraction: {val_fraction} of the {len(members)} images of class"
                f" {label} ({CLASS_NAMES[label]}) leaves train or val without one"
            )
        chosen = generator(seed, "split", int(label)).choice(members, count, replace=False)
        in_val[chosen] = True
    return (
        Split(split.images[~in_val], split.labels[~in_val]),
        Split(split.images[in_val], split.labels[in_val]),
    )


def sample(split: Split, images: int, random: np.random.Generator) -> Split:
    """Return `images` of the split, drawn without replacement and in file order, or all of it."""
    if images >= len(split):
        return split
    chosen = np.sort(random.choice(len(split), images, replace=False))
    return Split(split.images[chosen], split.labels[chosen])


def digest(split: Split) -> str:
    """Return the SHA-256 over a split's shape, pixels and labels, in hexadecimal."""
    hasher = hashlib.sha256(repr(split.images.shape).encode())
    hasher.update(np.ascontiguousarray(split.images).data)
    hasher.update(np.ascontiguousarray(split.labels).data)
    return hasher.hexdigest()


def class_counts(split: Split) -> dict[str, int]:
    """Return class name → number of images."""
    counts = np.bincount(split.labels, minlength=CLASSES).tolist()
    return dict(zip(CLASS_NAMES, counts, strict=True))


def pixel_statistics(images: NDArray[np.uint8]) -> dict[str, float]:
    """Return mean and standard deviation of all pixels (0–255) and the share of background.

    Whole numbers until the last division: sums of fractions have other last digits on another
    processor.
    """
    counts = np.bincount(images.reshape(-1), minlength=256).tolist()  # per grey value
    pixels = sum(counts)
    total = sum(value * count for value, count in enumerate(counts))
    squares = sum(value**2 * count for value, count in enumerate(counts))
    return {
        "mean": total / pixels,
        "standard_deviation": math.sqrt((pixels * squares - total**2) / pixels**2),
        "background": counts[0] / pixels,
    }


def count_duplicates(splits: Mapping[str, Split]) -> list[dict[str, str | int]]:
    """Return how many images are exactly repeated within each split and across each two.

    Each row counts the images of `split` that are equal to an earlier image of the same split, or
    to any image of another one (`with`), and of these the images whose label differs.
    """
    first_label = {
        name: dict(reversed(list(zip(_as_bytes(split), split.labels.tolist(), strict=True))))
        for name, split in splits.items()
    }
    rows: list[dict[str, str | int]] = []
    for name, split in splits.items():
        for other, labels in first_label.items():
            seen: set[bytes] = set()
            repeated = different = 0
            for image, label in zip(_as_bytes(split), split.labels.tolist(), strict=True):
                if (image in seen) if other == name else (image in labels):
                    repeated += 1
                    different += labels[image] != label
                seen.add(image)
            rows.append(
                {"split": name, "with": other, "images": repeated, "label_differs": different}
            )
    return rows


def _as_bytes(split: Split) -> list[bytes]:
    return [image.tobytes() for image in split.images]


def write_split(path: Path, split: Split) -> None:
    """Replace `path` by the split as an `.npz`, the same bytes for the same split.

    Not compressed: zlib's builds differ in their bytes.
    """
    buffer = io.BytesIO()
    np.savez(buffer, images=split.images, labels=split.labels)
    write_bytes(path, buffer.getvalue())


def read_split(path: Path) -> Split:
    """Return the split in a `.npz` file.

    Raises:
        UserError: the file is missing, damaged, or holds something other than a split.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            split = Split(_read_array(archive, "images"), _read_array(archive, "labels"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `dvc repro`") from None
    except Exception as error:  # a damaged archive raises some ten kinds, zlib's among them
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is no readable split: {reason}") from None
    if split.labels.dtype != np.uint8 or split.labels.ndim != 1 or not len(split):
        raise UserError(f"{path}: labels must be a row of uint8, at least one")
    expected = (len(split), IMAGE_SIZE, IMAGE_SIZE)
    if split.images.dtype != np.uint8 or split.images.shape != expected:
        raise UserError(
            f"{path}: images are {split.images.dtype} {list(split.images.shape)},"
            f" expected uint8 {list(expected)}"
        )
    if split.labels.max() >= CLASSES:
        raise UserError(f"{path}: a label is outside 0–{CLASSES - 1}")
    return split


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Return an array of an `.npz`, as `numpy.load` does, but aligned and without a second copy."""
    with archive.open(f"{name}.npy") as file:
        np.lib.format.read_magic(file)
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        if fortran_order or dtype.hasobject:
            raise ValueError(f"{name} is no plain array")
        size = math.prod(shape) * dtype.itemsize
        memory = np.empty(size + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        content = memory[start : start + size]
        for place in range(0, size, CHUNK):
            part = content[place : place + CHUNK]
            chunk = file.read(len(part))
            if len(chunk) < len(part):
                raise ValueError(f"{name} ends too early")
            part[:] = np.frombuffer(chunk, np.uint8)
        if file.read(1):  # at the end the checksum is held against what was read
            raise ValueError(f"{name} is longer than it says")
    return content.view(dtype).reshape(shape)
