"""Bootstrap the difference between the F1 of two models, class by class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sidebyside.core.seeding import generator
from sidebyside.evaluation.intervals import Interval
from sidebyside.evaluation.results import ModelResult


def f1_difference_intervals(
    first: ModelResult,
    second: ModelResult,
    classes: Sequence[int],
    *,
    samples: int,
    confidence: float,
    seed: int,
) -> list[Interval]:
    """Return the paired bootstrap percentile interval of each class's F1, second minus first.

    For one class, an image is of one of eight kinds: it is of the class or not, and so predicted by
    each model or not. Resampling the images and counting the kinds is one multinomial draw.

    Args:
        first: results of the reference model.
        second: results of the other model, on the same images.
        classes: indices of the classes.
        samples: number of bootstrap samples.
        confidence: level of the intervals, such as 0.95.
        seed: `seed` of params.yaml.
    """
    intervals = []
    limits = [(1 - confidence) / 2, (1 + confidence) / 2]
    total = len(first.labels)
    for index in classes:
        kinds = np.zeros(total, np.int64)
        for bit, labels in enumerate((first.labels, first.predicted, second.predicted)):
            kinds += (labels == index).astype(np.int64) << bit
        shares = np.bincount(kinds, minlength=8) / total
        drawn = generator(seed, "bootstrap").multinomial(total, shares, size=samples)
        low, high = np.quantile(_f1(drawn, 2) - _f1(drawn, 1), limits)
        intervals.append(Interval(float(low), float(high)))
    return intervals


def _f1(counts: NDArray[np.int64], bit: int) -> NDArray[np.float64]:
    """Return the F1 of each sample, 0 where it is undefined.

    Args:
        counts: images of each kind [samples, 8]; bit 0 of a kind: of the class.
        bit: the bit that tells whether the model predicts the class.
    """
    kinds = np.arange(8)
    of_class, predicted = kinds & 1 > 0, kinds >> bit & 1 > 0
    correct = counts[:, of_class & predicted].sum(axis=1)
    total = counts[:, of_class].sum(axis=1) + counts[:, predicted].sum(axis=1)
    f1: NDArray[np.float64] = 2 * correct / np.maximum(total, 1)
    return f1
