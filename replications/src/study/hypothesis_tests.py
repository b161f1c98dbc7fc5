"""Published numbers and sentences held against measured distributions."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from sidebyside.evaluation.intervals import Interval


class Comparison(NamedTuple):
    """A published number beside what several seeds gave."""

    published: str  # as printed
    mean: float
    deviation: float  # sample standard deviation; NaN with one seed
    low: float  # of the seeds
    high: float
    seeds: int
    difference: float  # mean less published
    verdict: str  # the published number lies "inside", "above" or "below" ours; see `compare`


class Difference(NamedTuple):
    """A metric less another, over the seeds."""

    difference: float
    interval: Interval  # of the difference of the means
    p_value: float  # two-sided; NaN where there are too few seeds
    verdict: str  # "held", "opposite": a difference the other way round, or "undecided"


class Agreement(NamedTuple):
    """Two columns of numbers for the same rows."""

    rank_correlation: float  # Spearman's; NaN where a column is constant
    mean_difference: float  # measured less published
    largest_difference: float  # in size


def compare(published: str, measured: Sequence[float]) -> Comparison:
    """Hold a printed number against measured ones.

    A printed number stands for all that are rounded to it: it counts as inside when that interval
    and the range of ours meet. What no seed changes is "equal" if it is; "one seed" has no range.
    """
    value = float(published)
    rounding = rounding_of(published)
    values = np.asarray(measured, np.float64)
    low, high = float(values.min()), float(values.max())
    if len(values) == 1:
        verdict = "one seed"
    elif value == low == high:
        verdict = "equal"
    elif value + rounding < low:
        verdict = "below"
    elif value - rounding > high:
        verdict = "above"
    else:
        verdict = "inside"
    mean = float(values.mean())
    deviation = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return Comparison(published, mean, deviation, low, high, len(values), mean - value, verdict)


def rounding_of(published: str) -> float:
    """Return half a unit of the last digit printed."""
    digits = len(published.partition(".")[2])
    return 0.5 * 10.0**-digits * (1 + 1e-9)  # what is rounded up to it is just inside


def difference(
    first: Sequence[float], second: Sequence[float], direction: str, confidence: float
) -> Difference:
    """Test whether the first model's metric is higher, or lower, than the second's.

    Welch's t test, two-sided, so that the opposite of a claim can be found as well.

    Args:
        first: the metric of the first model, a value per seed.
        second: of the second.
        direction: "higher" or "lower", as claimed of the first.
        confidence: of the interval and the verdict.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    gap = float(one.mean() - other.mean())
    if min(len(one), len(other)) < 2:
        return _untested(gap)
    if one.std() == 0 and other.std() == 0:  # the test divides by both
        return _certain(gap, direction)
    test = stats.ttest_ind(one, other, equal_var=False)
    return _judged(gap, test, direction, confidence)


def lowest(
    named: Sequence[Sequence[float]], others: Sequence[Sequence[float]], confidence: float
) -> Difference:
    """Test whether some classes have a lower metric than all others, in one model.

    Every named class is held against every other one by a paired t test, two-sided, as the classes
    of one seed are of one model. What is returned is the pair that speaks most against the claim,
    the one with the highest t. The claim holds if even that pair does, which needs no correction
    (intersection-union test, Berger 1982). It is the opposite if one pair is the other way round;
    the p-value is then corrected for the number of pairs (Bonferroni), and the interval is not.

    Args:
        named: the metric of the named classes, [classes, seeds].
        others: of all other classes.
        confidence: of the interval and the verdict.
    """
    gaps = (np.asarray(named)[:, None] - np.asarray(others)[None]).reshape(-1, len(named[0]))
    means = gaps.mean(1)
    if gaps.shape[1] < 2:
        return _untested(float(means.max()))
    with np.errstate(divide="ignore", invalid="ignore"):  # seeds that are all alike
        against = np.nan_to_num(means / gaps.std(1))  # t but for a factor
    worst = int(against.argmax())
    gap = float(means[worst])
    if gaps[worst].std() == 0:
        return _certain(gap, "lower")
    tests = len(gaps) if gap > 0 else 1
    return _judged(gap, stats.ttest_1samp(gaps[worst], 0), "lower", confidence, tests)


def corrected(outcomes: Sequence[Difference], confidence: float) -> list[str]:
    """Return the verdicts of many tests, corrected for their number.

    Sorted by p, a test is decided while p < (1 - confidence) / (those not yet decided): the chance
    that even one is wrong stays below 1 - confidence (Holm 1979). What cannot be tested stays
    undecided and is not counted.

    Args:
        outcomes: of single tests.
        confidence: that no verdict is wrong.
    """
    verdicts = ["undecided"] * len(outcomes)
    tested = [place for place, one in enumerate(outcomes) if not math.isnan(one.p_value)]
    tested.sort(key=lambda place: outcomes[place].p_value)
    for decided, place in enumerate(tested):
        if outcomes[place].p_value * (len(tested) - decided) >= 1 - confidence:
            break
        verdicts[place] = outcomes[place].verdict
    return verdicts


def _judged(gap: float, test: Any, direction: str, confidence: float, tests: int = 1) -> Difference:
    """Return what a test says, its p-value corrected for the number of tests it was chosen from."""
    found = test.confidence_interval(confidence)
    p_value = min(1.0, float(test.pvalue) * tests)
    verdict = _verdict(gap, direction) if p_value < 1 - confidence else "undecided"
    return Difference(gap, Interval(float(found.low), float(found.high)), p_value, verdict)


def _untested(gap: float) -> Difference:
    """Return what one seed says."""
    return Difference(gap, Interval(math.nan, math.nan), math.nan, "undecided")


def _certain(gap: float, direction: str) -> Difference:
    """Return what seeds say that are all alike."""
    if gap == 0:
        return Difference(gap, Interval(gap, gap), 1.0, "undecided")
    return Difference(gap, Interval(gap, gap), 0.0, _verdict(gap, direction))


def _verdict(gap: float, direction: str) -> str:
    return "held" if (gap > 0) == (direction == "higher") else "opposite"


def agreement(published: Sequence[float], measured: Sequence[float]) -> Agreement:
    """Return how two columns go together."""
    theirs, ours = np.asarray(published, np.float64), np.asarray(measured, np.float64)
    gaps = ours - theirs
    constant = np.ptp(theirs) == 0 or np.ptp(ours) == 0
    correlation = math.nan if constant else float(stats.spearmanr(theirs, ours).statistic)
    return Agreement(correlation, float(gaps.mean()), float(np.abs(gaps).max()))
