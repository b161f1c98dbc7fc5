"""Made-up images that a small network can tell apart, and their IDX files."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np

from sidebyside.config.dataset import CLASSES, IMAGE_SIZE
from sidebyside.data.fashion_mnist import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from sidebyside.data.idx import IMAGES_MAGIC, LABELS_MAGIC
from sidebyside.data.splits import Split

TRAIN, TEST = 400, 100  # images, a tenth of them of each class


def made_up(count: int, seed: int) -> Split:
    """Return `count` images of balanced classes, each class with its own coarse pattern."""
    patterns = np.random.default_rng(0).integers(0, 200, (CLASSES, 7, 7))
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % CLASSES).astype(np.uint8)
    coarse = patterns[labels].repeat(IMAGE_SIZE // 7, 1).repeat(IMAGE_SIZE // 7, 2)
    return Split((coarse + random.integers(0, 56, coarse.shape)).astype(np.uint8), labels)


def idx_images(split: Split) -> bytes:
    """Return the content of an IDX file of images."""
    header = struct.pack(">4I", IMAGES_MAGIC, len(split), IMAGE_SIZE, IMAGE_SIZE)
    return header + split.images.tobytes()


def idx_labels(split: Split) -> bytes:
    """Return the content of an IDX file of labels."""
    return struct.pack(">2I", LABELS_MAGIC, len(split)) + split.labels.tobytes()


def replace_fashion_mnist(root: Path) -> None:
    """Write made-up data to data/local, and their sizes and checksums into `download`'s code."""
    train, test = made_up(TRAIN, 1), made_up(TEST, 2)
    contents = {
        "TRAIN_IMAGES": (TRAIN_IMAGES.name, idx_images(train)),
        "TRAIN_LABELS": (TRAIN_LABELS.name, idx_labels(train)),
        "TEST_IMAGES": (TEST_IMAGES.name, idx_images(test)),
        "TEST_LABELS": (TEST_LABELS.name, idx_labels(test)),
    }
    folder = root / "data/local"
    folder.mkdir(parents=True)
    with (root / "src/sidebyside/data/fashion_mnist.py").open("a") as module:
        for constant, (name, content) in contents.items():
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
            digest = hashlib.sha256(content).hexdigest()
            module.write(f'{constant} = RawFile("{name}", {len(content)}, "{digest}")\n')
        module.write(f"RAW_FILES = ({', '.join(contents)})\n")


def noisy_split(images: int) -> Split:
    """Return noise in which a white row gives the class away, in four images of five."""
    random = np.random.default_rng(images)
    labels = random.integers(0, 10, images).astype(np.uint8)
    pixels = random.integers(0, 200, (images, 28, 28)).astype(np.uint8)
    marked = np.flatnonzero(random.random(images) < 0.8)
    pixels[marked, labels[marked]] = 255
    return Split(pixels, labels)
