"""New training images from old ones: rotated, zoomed, shifted, mirrored."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sidebyside.config.dataset import IMAGE_SIZE
from sidebyside.config.parameters import Transforms
from sidebyside.core.seeding import generator
from sidebyside.data.splits import Split

CENTRE = (IMAGE_SIZE - 1) / 2


class Transform(NamedTuple):
    """One drawn change of an image."""

    angle: float  # degrees, counter-clockwise
    zoom: float  # 1.1: a tenth larger
    down: float  # pixels
    right: float  # pixels
    flip: bool  # left to right, before the rest


def draw(limits: Transforms, random: np.random.Generator) -> Transform:
    """Return a transform drawn uniformly within the limits."""
    angle, zoom, down, right = random.uniform(-1, 1, 4)
    return Transform(
        angle * limits.rotation,
        1 + zoom * limits.zoom,
        down * limits.shift,
        right * limits.shift,
        random.random() < limits.flip,
    )


def apply(transform: Transform, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the changed image, uint8 [28, 28]; what comes in from outside is background.

    Rotation, zoom and shift are one affine map about the centre, so pixels are interpolated
    (linearly) once.
    """
    source = image[:, ::-1] if transform.flip else image
    angle = np.deg2rad(transform.angle)
    cosine, sine = np.cos(angle), np.sin(angle)
    # scipy asks where a pixel of the result comes from, hence the inverse: rotate back, shrink.
    matrix = np.array([[cosine, sine], [-sine, cosine]]) / transform.zoom
    offset = CENTRE - matrix @ (CENTRE + np.array([transform.down, transform.right]))
    # grid-constant: plain `constant` drops what lies between the outermost pixels and background.
    moved = ndimage.affine_transform(
        source.astype(np.float64), matrix, offset, order=1, mode="grid-constant"
    )
    return np.rint(moved).astype(np.uint8)


def augment(
    split: Split, classes: tuple[int, ...], copies: int, limits: Transforms, seed: int
) -> Split:
    """Return the split followed by `copies` new images of every image of `classes`.

    The change of an image depends on the seed, its index and the number of the copy alone: not on
    which other classes are augmented, nor on the order of work.
    """
    chosen = np.flatnonzero(np.isin(split.labels, classes))
    new = [
        apply(draw(limits, generator(seed, "augment", copy, int(index))), split.images[index])
        for copy in range(copies)
        for index in chosen
    ]
    if not new:
        return split
    return Split(
        np.concatenate([split.images, np.stack(new)]),
        np.concatenate([split.labels, np.tile(split.labels[chosen], copies)]),
    )
