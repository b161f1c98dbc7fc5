import math

import numpy as np
import pytest

from sidebyside.evaluation.calibration import calibration_bins, expected_calibration_error
from tests.support.results import one_hot, random_case


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    labels = np.zeros(10, np.uint8)
    classes = [0] * 6 + [1] * 4  # says 0.9, is right in 0.6
    table = calibration_bins(labels, one_hot(classes, 0.9), bins=10)
    assert expected_calibration_error(table) == pytest.approx(0.3)
    assert [row.images for row in table] == [0] * 8 + [10, 0]


def test_a_bin_includes_its_upper_limit_and_an_empty_one_has_no_accuracy() -> None:
    labels = np.zeros(2, np.uint8)
    table = calibration_bins(labels, np.vstack([one_hot([0], 0.5), one_hot([0], 1.0)]), 2)
    assert [(row.low, row.high, row.images) for row in table] == [(0, 0.5, 1), (0.5, 1, 1)]
    table = calibration_bins(labels, one_hot([0, 0]), 2)
    assert math.isnan(table[0].accuracy)
    assert math.isnan(table[0].confidence)


def test_the_confidence_of_a_bin_is_a_mean() -> None:
    probabilities = np.vstack([one_hot([0], share) for share in (0.91, 0.92, 0.99)])
    (row,) = calibration_bins(np.zeros(3, np.uint8), probabilities, 2)[1:]
    assert row.confidence == pytest.approx((0.91 + 0.92 + 0.99) / 3)


def test_float32_probabilities_are_averaged_in_float64() -> None:
    labels, probabilities = random_case(3000)
    probabilities = probabilities.astype(np.float32)
    (row,) = calibration_bins(labels, probabilities, 1)
    assert row.confidence == probabilities.max(axis=1).astype(np.float64).mean()
