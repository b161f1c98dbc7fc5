"""Splits for tests of functions that take one."""

import numpy as np

from sidebyside.data.splits import Split


def random_split(per_class: int = 5) -> Split:
    """Return images of noise, the labels 0 to 9 in turn."""
    labels = np.tile(np.arange(10, dtype=np.uint8), per_class)
    images = np.random.default_rng(1).integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
    return Split(images, labels)


def grey_split(greys: list[int], labels: list[int]) -> Split:
    """Return images that have a single grey value each."""
    pixels = np.full((len(greys), 28, 28), np.array(greys, np.uint8)[:, None, None], np.uint8)
    return Split(pixels, np.array(labels, np.uint8))


def equal(first: Split, second: Split) -> bool:
    """Return whether two splits have the same images and labels in the same order."""
    return np.array_equal(first.images, second.images) and np.array_equal(
        first.labels, second.labels
    )
