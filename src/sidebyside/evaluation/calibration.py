"""Calibration: do predicted probabilities match observed frequencies?"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sidebyside.evaluation.predictions import Labels, Probabilities, predicted_labels


class Bin(NamedTuple):
    """One bar of a reliability diagram: the images with `low` < probability ≤ `high`."""

    low: float
    high: float
    images: int
    confidence: float  # mean probability of the predicted class; NaN without an image
    accuracy: float  # NaN without an image


def calibration_bins(labels: Labels, probabilities: Probabilities, bins: int) -> tuple[Bin, ...]:
    """Return the table behind a reliability diagram: bins of equal width, closed above."""
    edges = np.linspace(0, 1, bins + 1)
    confidences = probabilities.max(axis=1).astype(np.float64)
    right = predicted_labels(probabilities) == labels
    places = np.digitize(confidences, edges[1:-1], right=True)
    table = []
    for place in range(bins):
        members = places == place
        count = int(members.sum())
        table.append(
            Bin(
                float(edges[place]),
                float(edges[place + 1]),
                count,
                float(confidences[members].mean()) if count else math.nan,
                float(right[members].mean()) if count else math.nan,
            )
        )
    return tuple(table)


def expected_calibration_error(table: Sequence[Bin]) -> float:
    """Return Σ count/N · |accuracy − confidence| over the bins (Guo et al., 2017)."""
    total = sum(row.images for row in table)
    filled = (row for row in table if row.images)
    return sum(row.images / total * abs(row.accuracy - row.confidence) for row in filled)
