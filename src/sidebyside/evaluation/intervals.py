"""Confidence intervals: Wilson, Student, and the paired bootstrap."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sidebyside.core.seeding import generator


class Interval(NamedTuple):
    """Where a value lies with the stated confidence."""

    low: float
    high: float


class Spread(NamedTuple):
    """A score over several seeds."""

    seeds: int
    mean: float
    deviation: float  # sample standard deviation; NaN with one seed
    interval: Interval  # of the mean, Student's t; NaN with one seed


def wilson_interval(successes: int, total: int, confidence: float) -> Interval:
    """Return Wilson's score interval of a share (Wilson, 1927), which stays within 0 … 1."""
    result = stats.binomtest(successes, total).proportion_ci(confidence, method="wilson")
    return Interval(float(result.low), float(result.high))


def mean_with_interval(values: ArrayLike, confidence: float) -> Spread:
    """Return mean, standard deviation and the t interval of the mean of one score per seed."""
    sample = np.asarray(values, np.float64)
    mean = float(sample.mean())
    if len(sample) < 2:
        return Spread(len(sample), mean, math.nan, Interval(math.nan, math.nan))
    deviation = float(sample.std(ddof=1))
    reach = float(stats.t.ppf((1 + confidence) / 2, len(sample) - 1)) * deviation
    reach /= math.sqrt(len(sample))
    return Spread(len(sample), mean, deviation, Interval(mean - reach, mean + reach))


def paired_bootstrap(
    only_first: int, only_second: int, total: int, *, samples: int, confidence: float, seed: int
) -> Interval:
    """Return the percentile interval of the difference in accuracy, second minus first.

    Drawing all images anew with replacement and counting how many only the first, only the second,
    or neither of the two alone gets right is one multinomial draw: exact, and instant for any
    number of images.
    """
    shares = np.array([only_first, only_second, total - only_first - only_second]) / total
    drawn = generator(seed, "bootstrap").multinomial(total, shares, size=samples)
    differences = (drawn[:, 1] - drawn[:, 0]) / total
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
