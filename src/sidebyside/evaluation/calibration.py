"""Measure calibration: do predicted probabilities match observed frequencies?"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sidebyside.evaluation.predictions import Labels, Probabilities, predicted_labels


class Bin(NamedTuple):
    """One bin of a reliability diagram: the images with `low` < probability ≤ `high`."""

    low: float
    high: float
    images: int
    confidence: float  # mean probability of the predicted class; NaN without images
    accuracy: float  # NaN without images


def calibration_bins(labels: Labels, probabilities: Probabilities, bins: int) -> tuple[Bin, ...]:
    """Group images by the probability of their predicted class into bins of equal width.

    Args:
        labels: true classes, uint8 [N].
        probabilities: predicted probability of each class, [N, classes].
        bins: number of bins between 0 and 1; each includes its upper limit.
    """
    edges = np.linspace(0, 1, bins + 1)
    confidences = probabilities.max(axis=1).astype(np.float64)
    correct = predicted_labels(probabilities) == labels
    indices = np.digitize(confidences, edges[1:-1], right=True)
    table = []
    for index in range(bins):
        members = indices == index
        count = int(members.sum())
        table.append(
            Bin(
                float(edges[index]),
                float(edges[index + 1]),
                count,
                float(confidences[members].mean()) if count else math.nan,
                float(correct[members].mean()) if count else math.nan,
            )
        )
    return tuple(table)


def expected_calibration_error(table: Sequence[Bin]) -> float:
    """Return Σ images/N · |accuracy − confidence| over the bins (Guo et al., 2017)."""
    total = sum(row.images for row in table)
    filled = (row for row in table if row.images)
    return sum(row.images / total * abs(row.accuracy - row.confidence) for row in filled)
