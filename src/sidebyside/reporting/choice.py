"""Choose the model to use on the validation split: the cheapest of those that are level.

The highest validation accuracy alone would call a model the best for a handful of images, which
another seed or split would have decided otherwise.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidebyside.config.paths import ModelName
from sidebyside.evaluation.intervals import Interval, paired_bootstrap
from sidebyside.evaluation.paired_tests import holm, mcnemar_p_value


class Cost(NamedTuple):
    """What a model costs, the first of most importance: a cheaper model compares as less."""

    operations: int  # floating-point operations of a prediction for one image
    parameters: int  # numbers in its file, those that are not trained included
    training_images: int


class ValComparison(NamedTuple):
    """The best model on the validation split against another; differences are best minus other."""

    other: ModelName
    difference: float  # of the validation accuracies
    interval: Interval  # of the difference, paired bootstrap
    p_value: float  # McNemar's exact test, corrected for the number of comparisons


def compare_with_best(
    best: ModelName,
    correct: Mapping[ModelName, NDArray[np.bool_]],
    *,
    samples: int,
    confidence: float,
    seed: int,
) -> list[ValComparison]:
    """Compare the best model with each other one on the validation images.

    Args:
        best: the model with the highest validation accuracy.
        correct: model → whether it classifies each validation image correctly, [N].
        samples: number of bootstrap samples.
        confidence: level of the intervals, such as 0.95.
        seed: `seed` of params.yaml.
    """
    others = [name for name in correct if name != best]
    counts = [
        (int((correct[name] & ~correct[best]).sum()), int((correct[best] & ~correct[name]).sum()))
        for name in others
    ]
    total = len(correct[best])
    p_values = holm([mcnemar_p_value(*pair) for pair in counts]) if counts else []
    return [
        ValComparison(
            name,
            (only_best - only_other) / total,
            paired_bootstrap(
                only_other, only_best, total, samples=samples, confidence=confidence, seed=seed
            ),
            p_value,
        )
        for name, (only_other, only_best), p_value in zip(others, counts, p_values, strict=True)
    ]


def level_with_best(comparisons: Sequence[ValComparison], confidence: float) -> list[ValComparison]:
    """Return the comparisons whose difference is not significant."""
    return [one for one in comparisons if one.p_value >= 1 - confidence]


def cheapest(names: Sequence[ModelName], costs: Mapping[ModelName, Cost]) -> ModelName:
    """Return the model with the lowest cost, the first of equal ones.

    Raises:
        ValueError: there are no names.
    """
    return min(names, key=lambda name: costs[name])
