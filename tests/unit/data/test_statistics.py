import math
from fractions import Fraction

import numpy as np
import pytest

from sidebyside.data.splits import Split
from sidebyside.data.statistics import class_counts, count_duplicates, pixel_statistics
from tests.support.datasets import CLASS_NAMES
from tests.support.splits import grey_split


def test_every_class_has_a_count() -> None:
    counts = class_counts(grey_split([1, 2, 3], [0, 9, 9]), CLASS_NAMES)
    assert list(counts) == list(CLASS_NAMES)
    assert counts["T-shirt/top"] == 1
    assert counts["Ankle boot"] == 2
    assert counts["Bag"] == 0


def test_pixel_statistics_match_their_definitions() -> None:
    actual = pixel_statistics(grey_split([0, 0, 0, 200], [0, 1, 2, 3]).images)
    expected = {"mean": 50, "standard_deviation": 50 * 3**0.5, "background": 0.75}
    assert actual == pytest.approx(expected)


def test_pixel_statistics_are_computed_in_integers() -> None:
    images = np.random.default_rng(1).integers(0, 256, (200, 28, 28), dtype=np.uint8)
    pixels = [int(pixel) for pixel in images.reshape(-1)]
    mean = Fraction(sum(pixels), len(pixels))
    variance = Fraction(sum(pixel**2 for pixel in pixels), len(pixels)) - mean**2
    actual = pixel_statistics(images)
    assert actual["mean"] == float(mean)
    assert actual["standard_deviation"] == math.sqrt(variance)
    assert actual["background"] == pixels.count(0) / len(pixels)


def test_duplicates_are_counted_within_and_across_splits() -> None:
    splits = {
        "train": grey_split([1, 1, 1, 2], [0, 0, 5, 6]),
        "val": grey_split([2, 3, 1], [6, 6, 4]),
    }
    assert count_duplicates(splits) == [
        {"split": "train", "with": "train", "images": 2, "label_differs": 1},
        {"split": "train", "with": "val", "images": 4, "label_differs": 3},
        {"split": "val", "with": "train", "images": 2, "label_differs": 1},
        {"split": "val", "with": "val", "images": 0, "label_differs": 0},
    ]


def test_a_duplicate_is_compared_with_the_label_of_the_first_image() -> None:
    split = Split(np.zeros((3, 28, 28), np.uint8), np.array([0, 6, 6], np.uint8))
    assert count_duplicates({"train": split}) == [
        {"split": "train", "with": "train", "images": 2, "label_differs": 2}
    ]
