"""A split of a data set, such as train, val or test: images with their labels."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels."""

    images: NDArray[np.uint8]  # [N, height, width] or [N, height, width, 3]
    labels: NDArray[np.uint8]  # [N], index into the class names

    def __len__(self) -> int:
        return len(self.labels)


def split_digest(split: Split) -> str:
    """Return the SHA-256 of a split's shape, pixels and labels, in hexadecimal."""
    hasher = hashlib.sha256(repr(split.images.shape).encode())
    hasher.update(np.ascontiguousarray(split.images).data)
    hasher.update(np.ascontiguousarray(split.labels).data)
    return hasher.hexdigest()


def select(split: Split, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Split:
    """Return the chosen images, given by a mask or by their positions."""
    return Split(split.images[chosen], split.labels[chosen])
