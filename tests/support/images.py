"""Made-up images that a small network can tell apart, and their IDX files."""

import gzip
import hashlib
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from sidebyside.config.dataset_description import builtin
from sidebyside.data.idx import IMAGES_MAGIC, LABELS_MAGIC
from sidebyside.data.splits import Split

TRAIN, TEST = 400, 100  # images, a tenth of them of each class


def made_up(count: int, seed: int, classes: int = 10) -> Split:
    """Return `count` images of balanced classes, each class with its own coarse pattern."""
    patterns = np.random.default_rng(0).integers(0, 200, (classes, 7, 7))
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % classes).astype(np.uint8)
    coarse = patterns[labels].repeat(4, 1).repeat(4, 2)
    return Split((coarse + random.integers(0, 56, coarse.shape)).astype(np.uint8), labels)


def idx_images(split: Split) -> bytes:
    """Return the content of an IDX file of images."""
    return struct.pack(">4I", IMAGES_MAGIC, *split.images.shape) + split.images.tobytes()


def idx_labels(split: Split) -> bytes:
    """Return the content of an IDX file of labels."""
    return struct.pack(">2I", LABELS_MAGIC, len(split)) + split.labels.tobytes()


def replace_fashion_mnist(root: Path) -> None:
    """Write made-up data to data/local, and their sizes and checksums into the description."""
    train, test = made_up(TRAIN, 1), made_up(TEST, 2)
    contents = (idx_images(train), idx_labels(train), idx_images(test), idx_labels(test))
    names = [file.name for file in builtin("fashion-mnist").files]
    replace_files(root, dict(zip(names, contents, strict=True)))
    folder = root / "data/local"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(names, contents, strict=True):
        (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))


def replace_files(
    root: Path,
    contents: Mapping[str, bytes],
    sources: Sequence[Mapping[str, str]] = ({"folder": "data/local"},),
) -> None:
    """Write sizes and checksums of other files into the description of Fashion-MNIST.

    Args:
        root: a checkout.
        contents: name → content of the files.
        sources: where to get them.
    """
    path = root / "src/sidebyside/config/datasets/fashion-mnist.yaml"
    description = yaml.safe_load(path.read_text(encoding="utf-8"))
    description["files"] = [
        {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in contents.items()
    ]
    description["sources"] = [dict(source) for source in sources]
    path.write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")


def noisy_split(images: int) -> Split:
    """Return noise in which a white row gives the class away, in four images of five."""
    random = np.random.default_rng(images)
    labels = random.integers(0, 10, images).astype(np.uint8)
    pixels = random.integers(0, 200, (images, 28, 28)).astype(np.uint8)
    marked = np.flatnonzero(random.random(images) < 0.8)
    pixels[marked, labels[marked]] = 255
    return Split(pixels, labels)
