"""Tell which images are unlike the training data: those far from every training image.

The distance of an image is that to the nearest training image: the root mean square of the
differences of their pixels, on a scale from 0 to 1. An image is unlike the training data if its
distance exceeds the limit, the 95th percentile of the distances of validation images. Hence about
5 % of images of the same kind are unlike the training data as well.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

QUANTILE = 0.95
VALIDATION = 1000  # maximum number of validation images that give the limit
VALUES = 40_000_000  # maximum number of values of training images in memory: 160 MB
ROWS = 250  # images compared at once

Images = NDArray[np.uint8]  # [N, height, width] or [N, height, width, 3]


class Distance(NamedTuple):
    """The distance of an image to the nearest training image."""

    value: float  # from 0 to 1
    limit: float

    @property
    def is_unlike(self) -> bool:
        """Whether the image is unlike the training data."""
        return self.value > self.limit


@dataclass(frozen=True, eq=False)
class Reference:
    """Training images, and the limit of the distance to them."""

    rows: NDArray[np.float32]  # [training images, values of an image], from 0 to 1
    limit: float

    def distances(self, images: Images) -> list[Distance]:
        """Return the distance of each image."""
        return [Distance(value, self.limit) for value in _nearest(self.rows, images).tolist()]


def reference(training: Images, validation: Images) -> Reference:
    """Return what images are compared with.

    Of large splits, images at equal intervals are used, so as to bound memory and time.

    Args:
        training: images, at least one.
        validation: images, at least one.
    """
    rows = _rows(_sample(training, max(1, VALUES // training[0].size)))
    distances = _nearest(rows, _sample(validation, VALIDATION))
    return Reference(rows, float(np.quantile(distances, QUANTILE)))


def _nearest(rows: NDArray[np.float32], images: Images) -> NDArray[np.float32]:
    """Return the distance of each image to the nearest row."""
    squares = np.einsum("ij,ij->i", rows, rows)
    nearest = []
    for start in range(0, len(images), ROWS):
        part = _rows(images[start : start + ROWS])
        # |a - b|² = |a|² - 2 a·b + |b|²: a matrix product, without an array per pair.
        differences = squares - 2 * part @ rows.T
        nearest.append(differences.min(1) + np.einsum("ij,ij->i", part, part))
    mean = np.concatenate(nearest) / np.float32(rows.shape[1])
    return np.sqrt(np.maximum(mean, 0))


def _rows(images: Images) -> NDArray[np.float32]:
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def _sample(images: Images, maximum: int) -> Images:
    """Return at most `maximum` images, at equal intervals."""
    chosen = np.linspace(0, len(images) - 1, min(maximum, len(images))).round().astype(np.intp)
    return images[chosen]
