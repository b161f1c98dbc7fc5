import numpy as np
import pytest
from numpy.typing import NDArray

from sidebyside.config.paths import ModelName
from sidebyside.evaluation.paired_tests import mcnemar_p_value
from sidebyside.reporting.choice import Cost, cheapest, compare_with_best, level_with_best

BEST, NEAR, FAR = (ModelName("mlp", "original", seed) for seed in (1, 2, 3))


def correct(wrong: int) -> NDArray[np.bool_]:
    """Return 1000 images, of which the last ones are wrong."""
    return np.arange(1000) < 1000 - wrong


def test_a_difference_of_few_validation_images_is_level() -> None:
    near, far = compare_with_best(
        BEST,
        {NEAR: correct(54), BEST: correct(50), FAR: correct(90)},
        samples=500,
        confidence=0.95,
        seed=1,
    )
    assert (near.other, near.difference) == (NEAR, 0.004)
    assert near.p_value == mcnemar_p_value(0, 4) == 0.125
    assert far.p_value == pytest.approx(2 * mcnemar_p_value(0, 40))  # Holm
    assert 0 < far.interval.low < far.difference == 0.04 < far.interval.high
    assert level_with_best([near, far], 0.95) == [near]


def test_a_single_model_is_compared_with_none() -> None:
    assert not compare_with_best(BEST, {BEST: correct(5)}, samples=10, confidence=0.95, seed=1)


def test_operations_count_before_parameters_and_those_before_training_images() -> None:
    costs = {BEST: Cost(10, 5, 7), NEAR: Cost(10, 4, 9), FAR: Cost(11, 1, 1)}
    assert cheapest([BEST, NEAR, FAR], costs) == NEAR
    assert cheapest([BEST, FAR], costs) == BEST
    assert cheapest([FAR, NEAR], {FAR: costs[BEST], NEAR: costs[BEST]}) == FAR
