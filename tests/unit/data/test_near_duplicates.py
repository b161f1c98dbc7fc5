import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from sidebyside.data import near_duplicates
from sidebyside.data.near_duplicates import MAX_DISTANCE, NearDuplicate
from sidebyside.data.splits import Split

SHAPES = [(8, 8), (28, 28), (37, 9), (16, 24, 3), (128, 128, 3)]


def variants(shape: tuple[int, ...], images: int = 12) -> NDArray[np.uint8]:
    """Return images of noise, each followed by three copies that differ more and more from it."""
    random = np.random.default_rng(len(shape) + shape[0])
    originals = random.integers(40, 215, (images, 1, *shape))
    amounts = np.array([0, 3, 12, 25]).reshape(1, 4, *[1] * len(shape))
    noise = random.integers(-1, 2, (images, 4, *shape)) * amounts
    return np.asarray(originals + noise, np.uint8).reshape(-1, *shape)


def in_splits(images: NDArray[np.uint8]) -> dict[str, Split]:
    """Return the images dealt to three splits in turn."""
    labels = (np.arange(len(images)) % 2).astype(np.uint8)
    return {
        name: Split(images[start::3], labels[start::3])
        for start, name in enumerate(("train", "val", "test"))
    }


def deviation(image: NDArray[np.int64]) -> int:
    """Return the number of values, times the sum of squares of their deviations from the mean."""
    channels = image.reshape(*image.shape[:2], -1).transpose(2, 0, 1)
    return sum(
        len(channels) * (one.size * int((one**2).sum()) - int(one.sum()) ** 2) for one in channels
    )


def by_definition(splits: dict[str, Split]) -> list[NearDuplicate]:
    """Return the near duplicates, each pair compared in exact arithmetic."""
    rows = []
    for (name, split), (other_name, other) in itertools.product(splits.items(), repeat=2):
        for image, pixels in enumerate(split.images.astype(int)):
            found = []
            for index, compared in enumerate(other.images.astype(int)):
                values = pixels.size
                contrast = min(deviation(pixels), deviation(compared))
                squares = values * int(((pixels - compared) ** 2).sum())
                if (name, image) != (other_name, index) and 400 * squares <= 9 * contrast:
                    found.append((math.sqrt(squares / max(contrast, 1)), index))
            if found:
                distance, index = min(found)
                same = bool(split.labels[image] == other.labels[index])
                rows.append(NearDuplicate(name, image, other_name, index, round(distance, 4), same))
    order = list(splits)
    return sorted(
        rows, key=lambda row: (order.index(row[0]), row.image, order.index(row.other_split))
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_pairs_within_the_limit_are_found_at_any_shape(shape: tuple[int, ...]) -> None:
    splits = in_splits(variants(shape, 3 if math.prod(shape) > 10_000 else 12))
    found = near_duplicates.find(splits)
    assert found == by_definition(splits)
    assert 0 < len(found) < 3 * 48
    assert all(row.distance <= MAX_DISTANCE for row in found)


def test_the_blocks_of_the_search_do_not_change_its_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    splits = in_splits(variants((28, 28)))
    expected = near_duplicates.find(splits)
    monkeypatch.setattr(near_duplicates, "ROWS", 5)
    monkeypatch.setattr(near_duplicates, "PIXELS", 1000)
    assert near_duplicates.find(splits) == expected


def test_lower_bounds_are_exact_in_float32() -> None:
    random = np.random.default_rng(1)
    images = np.repeat(random.integers(0, 2, (300, 8, 8)) * 255, 4, 1).repeat(4, 2)
    prepared = near_duplicates._prepared([Split(images.astype(np.uint8), np.zeros(300, np.uint8))])
    cells = prepared.cells.astype(np.int64)
    assert cells.max() == 255
    exact = -((cells[:, None] - cells[None]) ** 2).sum(2) / 2
    half = -np.square(prepared.cells).sum(1, keepdims=True) / 2
    one = np.ones_like(half)
    product = np.hstack([prepared.cells, half, one]) @ np.hstack([prepared.cells, one, half]).T
    assert np.array_equal(product, exact)


def test_equal_images_without_contrast_are_duplicates_and_faint_ones_are_not() -> None:
    images = np.zeros((4, 8, 8), np.uint8)
    images[2, 0, 0] = images[3, 7, 7] = 1
    found = near_duplicates.find({"train": Split(images, np.array([0, 1, 0, 0], np.uint8))})
    assert found == [
        NearDuplicate("train", 0, "train", 1, 0.0, same_label=False),
        NearDuplicate("train", 1, "train", 0, 0.0, same_label=False),
    ]


def test_pictures_of_one_colour_and_different_noise_are_no_duplicates() -> None:
    noise = np.random.default_rng(1).integers(-9, 10, (2, 16, 16, 3))
    images = (noise + np.array([200, 100, 20])).astype(np.uint8)
    assert near_duplicates.find({"train": Split(images, np.zeros(2, np.uint8))}) == []


def test_memory_and_time_are_bounded_when_all_images_are_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(near_duplicates, "CANDIDATES", 3)
    images = np.tile(variants((8, 8), 1)[:1], (60, 1, 1))
    splits = in_splits(images)
    found = near_duplicates.find(splits)
    assert len(found) == 60 * 3  # each image has one in each split
    assert {row.distance for row in found} == {0.0}
    assert all(row.other == (row.image == 0 and row.split == row.other_split) for row in found)


def test_images_are_counted_for_each_pair_of_splits() -> None:
    images = variants((28, 28), 2)
    splits = {
        "train": Split(images[[0, 4]], np.array([0, 1], np.uint8)),
        "test": Split(images[[1, 3]], np.array([1, 0], np.uint8)),
    }
    found = near_duplicates.find(splits)
    assert near_duplicates.count(found, list(splits)) == [
        {"split": "train", "with": "train", "images": 0, "label_differs": 0},
        {"split": "train", "with": "test", "images": 1, "label_differs": 1},
        {"split": "test", "with": "train", "images": 1, "label_differs": 1},
        {"split": "test", "with": "test", "images": 0, "label_differs": 0},
    ]
