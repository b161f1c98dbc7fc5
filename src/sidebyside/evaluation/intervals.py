"""Confidence intervals: Wilson score, Student's t and the paired bootstrap."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from sidebyside.core.seeding import generator


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Spread(NamedTuple):
    """The distribution of a score over several seeds."""

    seeds: int
    mean: float
    deviation: float  # sample standard deviation; NaN with one seed
    interval: Interval  # of the mean, Student's t; NaN with one seed


def wilson_interval(successes: int, total: int, confidence: float) -> Interval:
    """Return the Wilson score interval of a proportion (Wilson, 1927), which lies within 0 and 1.

    Args:
        successes: number of successes.
        total: number of trials.
        confidence: level of the interval, such as 0.95.
    """
    result = stats.binomtest(successes, total).proportion_ci(confidence, method="wilson")
    return Interval(float(result.low), float(result.high))


def mean_with_interval(values: ArrayLike, confidence: float) -> Spread:
    """Return mean, standard deviation and t interval of the mean.

    Args:
        values: one score per seed.
        confidence: level of the interval, such as 0.95.
    """
    sample = np.asarray(values, np.float64)
    mean = float(sample.mean())
    if len(sample) < 2:
        return Spread(len(sample), mean, math.nan, Interval(math.nan, math.nan))
    deviation = float(sample.std(ddof=1))
    half_width = float(stats.t.ppf((1 + confidence) / 2, len(sample) - 1)) * deviation
    half_width /= math.sqrt(len(sample))
    return Spread(len(sample), mean, deviation, Interval(mean - half_width, mean + half_width))


def paired_bootstrap(
    only_first: int, only_second: int, total: int, *, samples: int, confidence: float, seed: int
) -> Interval:
    """Return the bootstrap percentile interval of the difference in accuracy, second minus first.

    Resampling the images with replacement and counting those that only the first or only the second
    model classifies correctly is one multinomial draw, whose cost does not depend on the number of
    images.

    Args:
        only_first: number of images that only the first model classifies correctly.
        only_second: number of images that only the second model classifies correctly.
        total: number of images.
        samples: number of bootstrap samples.
        confidence: level of the interval, such as 0.95.
        seed: `seed` of params.yaml.
    """
    shares = np.array([only_first, only_second, total - only_first - only_second]) / total
    drawn = generator(seed, "bootstrap").multinomial(total, shares, size=samples)
    differences = (drawn[:, 1] - drawn[:, 0]) / total
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
