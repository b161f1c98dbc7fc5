from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fashion.batches import batches, change, draw
from fashion.data import Split
from fashion.hyperparameters import MlpHyperparameters

NONE: dict[str, Any] = {"flip": False, "shift": 0, "cutout": 0}


def changed(
    images: NDArray[np.uint8], seed: int = 1, epoch: int = 0, **options: Any
) -> NDArray[np.uint8]:
    options = NONE | options
    drawn = draw(len(images), seed, epoch, **options)
    return change(images.copy(), drawn, shift=options["shift"], cutout=options["cutout"])


IMAGES = np.random.default_rng(5).integers(1, 256, (400, 28, 28), dtype=np.uint8)


def test_images_are_left_alone_by_default() -> None:
    assert np.array_equal(changed(IMAGES), IMAGES)


def test_half_of_the_images_are_mirrored_exactly() -> None:
    mirrored = 0
    for image, result in zip(IMAGES, changed(IMAGES, flip=True), strict=True):
        turned = np.array_equal(result, image[:, ::-1])
        assert turned or np.array_equal(result, image)
        mirrored += turned
    assert 160 < mirrored < 240


@pytest.mark.parametrize("shift", [1, 3, 14])
def test_images_are_moved_by_whole_pixels_each_way_alike(shift: int) -> None:
    results = changed(IMAGES, shift=shift)
    found = []
    for image, result in zip(IMAGES, results, strict=True):
        padded = np.pad(image, shift)
        rows, columns = np.flatnonzero(result.any(1)), np.flatnonzero(result.any(0))
        down = rows[0] if rows[0] else rows[-1] - 27
        right = columns[0] if columns[0] else columns[-1] - 27
        top, left = shift - down, shift - right
        assert np.array_equal(result, padded[top : top + 28, left : left + 28])
        found.append((down, right))
    moves = np.array(found)
    assert (moves.min(0) == -shift).all()
    assert (moves.max(0) == shift).all()
    assert len(np.unique(moves[:, 0])) == 2 * shift + 1
    assert (np.abs(moves.mean(0)) < 0.15 * shift).all()
    assert abs(np.corrcoef(moves.T)[0, 1]) < 0.2  # down and right are drawn apart


@pytest.mark.parametrize("side", [1, 8, 28])
def test_a_square_of_each_image_becomes_background(side: int) -> None:
    sizes = []
    for image, result in zip(IMAGES, changed(IMAGES, cutout=side), strict=True):
        hidden = result == 0
        rows, columns = np.flatnonzero(hidden.any(1)), np.flatnonzero(hidden.any(0))
        height, width = len(rows), len(columns)
        assert hidden[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert hidden.sum() == height * width
        assert np.array_equal(result[~hidden], image[~hidden])
        # Only the frame cuts a square short.
        assert height == side or rows[0] == 0 or rows[-1] == 27
        assert width == side or columns[0] == 0 or columns[-1] == 27
        sizes.append((height, width))
    assert np.array(sizes).min() >= 1
    assert np.array(sizes).max() == side if side < 28 else np.array(sizes).max() > 20


def test_changes_follow_from_seed_and_epoch_alone() -> None:
    options: dict[str, Any] = {"flip": True, "shift": 2, "cutout": 5}
    first = changed(IMAGES, 3, 4, **options)
    np.random.default_rng().random(3)
    assert np.array_equal(changed(IMAGES, 3, 4, **options), first)
    for other in ((3, 5), (4, 4)):
        assert not np.array_equal(changed(IMAGES, *other, **options), first)
    # What is switched on beside it does not change where an image is moved to.
    assert np.array_equal(
        changed(changed(IMAGES, 3, 4, flip=True), 3, 4, shift=2),
        changed(IMAGES, 3, 4, flip=True, shift=2),
    )


# Epochs


def numbered(count: int) -> Split:
    """Return images whose first pixels are their number, with the number's last digit as label."""
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
    return Split(images, (np.arange(count) % 10).astype(np.uint8))


def numbers(images: NDArray[np.uint8]) -> list[int]:
    return [int(low) + 256 * int(high) for low, high in images[:, 0, :2]]


def record(**options: Any) -> MlpHyperparameters:
    values = NONE | {"batch_size": 32} | options
    return MlpHyperparameters.model_construct(**values)


def shown(split: Split, epoch: int, steps: int = 4, seed: int = 1) -> list[int]:
    """Return the numbers of the images in the order of an epoch, held against their labels."""
    found = []
    for images, labels in batches(split, record(), seed, epoch, steps):
        assert [number % 10 for number in numbers(images)] == labels.tolist()
        found += numbers(images)
    return found


def test_an_epoch_shows_every_image_once_each_time_in_another_order() -> None:
    split = numbered(300)
    first, second = shown(split, 0), shown(split, 1)
    assert sorted(first) == sorted(second) == list(range(300))
    assert first != second
    assert first != sorted(first)
    assert shown(split, 0) == first
    assert shown(split, 0, seed=2) != first


def test_some_batches_come_at_a_time_and_the_last_are_fewer() -> None:
    sizes = [len(images) for images, _ in batches(numbered(300), record(), 1, 0, 4)]
    assert sizes == [128, 128, 44]


def test_how_many_come_at_a_time_makes_no_difference() -> None:
    split = Split(IMAGES, np.zeros(len(IMAGES), np.uint8))
    h = record(flip=True, shift=2, cutout=5)
    whole = [np.concatenate([i for i, _ in batches(split, h, 1, 0, n)]) for n in (1, 3, 100)]
    assert np.array_equal(whole[0], whole[1])
    assert np.array_equal(whole[0], whole[2])


def test_the_split_itself_is_left_alone() -> None:
    split = Split(IMAGES.copy(), np.zeros(len(IMAGES), np.uint8))
    for _ in batches(split, record(flip=True, shift=3, cutout=5), 1, 0, 4):
        pass
    assert np.array_equal(split.images, IMAGES)
