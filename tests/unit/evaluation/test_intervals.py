import math

import numpy as np
import pytest

from sidebyside.evaluation.intervals import (
    Interval,
    mean_with_interval,
    paired_bootstrap,
    wilson_interval,
)


def test_the_wilson_interval_equals_a_published_one_and_stays_within_bounds() -> None:
    low, high = wilson_interval(81, 263, 0.95)  # Newcombe (1998), table I, method 3
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson_interval(10, 10, 0.95).high <= 1
    assert wilson_interval(10, 10, 0.95).low > 0.6


def test_the_bootstrap_interval_equals_that_of_resampled_images() -> None:
    differences = np.array([1] * 60 + [-1] * 30 + [0] * 410)
    random = np.random.default_rng(5)
    means = random.choice(differences, (20_000, 500)).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    found = paired_bootstrap(30, 60, 500, samples=20_000, confidence=0.95, seed=1)
    assert found.low == pytest.approx(low, abs=0.003)
    assert found.high == pytest.approx(high, abs=0.003)


def test_the_bootstrap_interval_depends_on_seed_and_confidence() -> None:
    def interval(seed: int = 1, confidence: float = 0.95) -> Interval:
        return paired_bootstrap(300, 400, 9999, samples=500, confidence=confidence, seed=seed)

    assert interval() == interval()
    assert interval() != interval(seed=2)
    assert interval(confidence=0.5).high < interval().high


def test_the_bootstrap_interval_depends_on_the_number_of_samples() -> None:
    few, many = (
        paired_bootstrap(300, 400, 9999, samples=samples, confidence=0.95, seed=1)
        for samples in (100, 1000)
    )
    assert few != many


def test_the_interval_over_seeds_is_a_t_interval() -> None:
    found = mean_with_interval([0.90, 0.91, 0.92], 0.95)
    assert found.seeds == 3
    assert found.mean == pytest.approx(0.91)
    assert found.deviation == pytest.approx(0.01)
    assert found.interval.high - 0.91 == pytest.approx(4.302653 * 0.01 / math.sqrt(3))


def test_one_seed_has_no_spread() -> None:
    found = mean_with_interval([0.9], 0.95)
    assert found.mean == 0.9
    assert math.isnan(found.deviation)
