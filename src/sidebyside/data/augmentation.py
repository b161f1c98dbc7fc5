"""Augment training images: rotate, zoom, shift and flip them at random."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sidebyside.config.dataset import Dataset
from sidebyside.config.parameters import Transforms
from sidebyside.core.errors import UserError
from sidebyside.core.seeding import generator
from sidebyside.data.splits import Split

MAX_SHOWN = 20  # class names in an error message


class Transform(NamedTuple):
    """Parameters of one random transform of an image."""

    angle: float  # degrees, counter-clockwise
    zoom: float  # 1.1: enlarged by a tenth
    down: float  # pixels
    right: float  # pixels
    flip: bool  # horizontally, before the other changes


def draw_transform(limits: Transforms, random: np.random.Generator) -> Transform:
    """Return a transform drawn uniformly within the limits."""
    angle, zoom, down, right = random.uniform(-1, 1, 4)
    return Transform(
        angle * limits.rotation,
        1 + zoom * limits.zoom,
        down * limits.shift,
        right * limits.shift,
        random.random() < limits.flip,
    )


def apply_transform(transform: Transform, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the transformed image, of the same shape; pixels from outside the image are 0.

    Rotation, zoom and shift are combined in one affine map about the centre, so that pixels are
    interpolated (linearly) only once.
    """
    source = image[:, ::-1] if transform.flip else image
    angle = np.deg2rad(transform.angle)
    cosine, sine = np.cos(angle), np.sin(angle)
    # scipy expects the inverse map, from output to input coordinates.
    matrix = np.array([[cosine, sine], [-sine, cosine]]) / transform.zoom
    centre = (np.array(image.shape[:2]) - 1) / 2
    offset = centre - matrix @ (centre + np.array([transform.down, transform.right]))
    if image.ndim == 2:
        return _moved(source, matrix, offset)
    return np.stack([_moved(source[..., channel], matrix, offset) for channel in range(3)], -1)


def _moved(
    channel: NDArray[np.uint8], matrix: NDArray[np.float64], offset: NDArray[np.float64]
) -> NDArray[np.uint8]:
    # `grid-constant` interpolates between the outermost pixels and 0; `constant` does not.
    moved = ndimage.affine_transform(
        channel.astype(np.float64), matrix, offset, order=1, mode="grid-constant"
    )
    return np.rint(moved).astype(np.uint8)


def chosen_classes(choice: Sequence[str], dataset: Dataset) -> tuple[int, ...]:
    """Return the labels of the classes to augment.

    Args:
        choice: names of classes, or `default`: the data set's own choice, or all classes.
        dataset: the data set.

    Raises:
        UserError: a name is not one of the data set.
    """
    if choice == "default":
        choice = dataset.augmented_classes or dataset.class_names
    for name in choice:
        if name not in dataset.class_names:
            names = dataset.class_names
            shown = ", ".join(names[:MAX_SHOWN]) + (", …" if len(names) > MAX_SHOWN else "")
            raise UserError(
                f"params.yaml: augment.classes: {dataset.title} has no class {name!r}: choose from"
                f" {shown}, or default"
            )
    return tuple(dataset.class_names.index(name) for name in choice)


def allowed_transforms(limits: Transforms, dataset: Dataset) -> Transforms:
    """Return the limits without flips if a mirror image may belong to another class.

    Raises:
        UserError: images could be shifted out of sight.
    """
    largest = min(dataset.height, dataset.width) // 2
    if limits.shift > largest:
        raise UserError(
            f"params.yaml: augment.transforms.shift: {limits.shift:g} is more than half of the"
            f" {dataset.height}×{dataset.width} pixels: at most {largest}"
        )
    return limits if dataset.mirror else limits.model_copy(update={"flip": 0.0})


def augment(
    split: Split, classes: tuple[int, ...], copies: int, limits: Transforms, seed: int
) -> Split:
    """Return the split followed by `copies` transformed copies of each image of `classes`.

    The transform of a copy depends only on the seed, the index of its image and the number of the
    copy, not on the other classes or the order of computation.

    Args:
        split: the original images.
        classes: labels.
        copies: number of copies of each image.
        limits: limits of the random transforms.
        seed: seed for the transforms.
    """
    chosen = np.flatnonzero(np.isin(split.labels, classes))
    new = [
        apply_transform(
            draw_transform(limits, generator(seed, "augment", copy, int(index))),
            split.images[index],
        )
        for copy in range(copies)
        for index in chosen
    ]
    if not new:
        return split
    return Split(
        np.concatenate([split.images, np.stack(new)]),
        np.concatenate([split.labels, np.tile(split.labels[chosen], copies)]),
    )
