from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from sidebyside.training.random_transforms import transform_randomly

IMAGES = np.random.default_rng(5).integers(1, 256, (400, 28, 28), dtype=np.uint8)


def transformed(
    images: NDArray[np.uint8], seed: tuple[int, int] = (1, 0), **options: Any
) -> NDArray[np.uint8]:
    options = {"flip": False, "shift": 0, "cutout": 0} | options
    return np.asarray(transform_randomly(tf.constant(images), tf.constant(seed), **options))


def test_without_transforms_the_images_are_unchanged() -> None:
    assert np.array_equal(transformed(IMAGES), IMAGES)


def test_half_of_the_images_are_flipped_horizontally() -> None:
    flipped = 0
    for image, result in zip(IMAGES, transformed(IMAGES, flip=True), strict=True):
        is_flipped = np.array_equal(result, image[:, ::-1])
        assert is_flipped or np.array_equal(result, image)
        flipped += is_flipped
    assert 160 < flipped < 240


@pytest.mark.parametrize("shift", [1, 3, 14])
def test_shifts_are_uniform_and_independent_in_both_directions(shift: int) -> None:
    results = transformed(IMAGES, shift=shift)
    found = []
    for image, result in zip(IMAGES, results, strict=True):
        padded = np.pad(image, shift)
        rows, columns = np.flatnonzero(result.any(1)), np.flatnonzero(result.any(0))
        down = rows[0] if rows[0] else rows[-1] - 27
        right = columns[0] if columns[0] else columns[-1] - 27
        top, left = shift - down, shift - right
        assert np.array_equal(result, padded[top : top + 28, left : left + 28])
        found.append((down, right))
    shifts = np.array(found)
    assert (shifts.min(0) == -shift).all()
    assert (shifts.max(0) == shift).all()
    assert len(np.unique(shifts[:, 0])) == 2 * shift + 1
    assert (np.abs(shifts.mean(0)) < 0.15 * shift).all()
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.2


@pytest.mark.parametrize("side", [1, 8, 28])
def test_cutout_sets_a_square_of_each_image_to_zero(side: int) -> None:
    sizes = []
    for image, result in zip(IMAGES, transformed(IMAGES, cutout=side), strict=True):
        hidden = result == 0
        rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
        height, width = len(rows), len(columns)
        assert hidden[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert hidden.sum() == height * width
        assert np.array_equal(result[~hidden], image[~hidden])
        # Only the edge of the image clips a square.
        assert height == side or rows[0] == 0 or rows[-1] == 27
        assert width == side or columns[0] == 0 or columns[-1] == 27
        sizes.append((height, width))
    assert np.array(sizes).min() >= 1
    assert np.array(sizes).max() == side if side < 28 else np.array(sizes).max() > 20


def test_transforms_depend_only_on_the_seed() -> None:
    options: dict[str, Any] = {"flip": True, "shift": 2, "cutout": 5}
    first = transformed(IMAGES, (3, 4), **options)
    tf.random.uniform([3])
    assert np.array_equal(transformed(IMAGES, (3, 4), **options), first)
    for other in ((3, 5), (4, 4)):
        assert not np.array_equal(transformed(IMAGES, other, **options), first)


def test_a_shift_does_not_depend_on_the_other_transforms() -> None:
    assert np.array_equal(
        transformed(transformed(IMAGES, (3, 4), flip=True), (3, 4), shift=2),
        transformed(IMAGES, (3, 4), flip=True, shift=2),
    )


@pytest.mark.parametrize("shape", [(8, 8), (32, 48, 3), (16, 9, 3)])
def test_images_of_any_shape_are_transformed_alike_in_all_channels(shape: tuple[int, ...]) -> None:
    height, width = shape[:2]
    grey = np.random.default_rng(2).integers(1, 256, (60, height, width), dtype=np.uint8)
    images = np.stack([grey] * 3, axis=-1) if len(shape) == 3 else grey
    results = transformed(images, flip=True, shift=1, cutout=4)
    assert results.shape == images.shape
    assert results.dtype == np.uint8
    assert not np.array_equal(results, images)
    if len(shape) == 3:
        assert np.array_equal(results[..., 0], results[..., 2])
        assert np.array_equal(results[..., 1], transformed(grey, flip=True, shift=1, cutout=4))
    rows, columns = (transformed(grey, cutout=4) == 0).nonzero()[1:]
    assert {*rows} == {*range(height)}  # a square may lie anywhere, at the edges too
    assert {*columns} == {*range(width)}
