from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from sidebyside.training.optimizer import FusedAdam, build_optimizer, scheduled_learning_rate
from tests.support.training import record_of


def normal(*shape: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(1, 2, shape).astype(np.float32)


def test_fused_adam_takes_the_same_steps_as_adam_of_keras() -> None:
    results = []
    for kind in (FusedAdam, keras.optimizers.Adam):
        variables = [keras.Variable(normal(7, 3)), keras.Variable(normal(3, seed=2))]
        optimizer = kind(0.1)
        optimizer.build(variables)
        for step in range(5):
            optimizer.learning_rate.assign(0.1 / (step + 1))
            optimizer.apply([tf.constant(v * (step - 1.5)) for v in variables], variables)
        results.append([np.asarray(v) for v in (*variables, *optimizer.variables)])
    for fused, builtin in zip(*results, strict=True):
        assert fused == pytest.approx(builtin, rel=1e-5, abs=1e-5)
    assert not np.allclose(results[0][0], normal(7, 3))


@pytest.mark.parametrize(("name", "momentum"), [("sgd", 0.0), ("nesterov", 0.9)])
def test_only_nesterov_has_momentum(name: str, momentum: float) -> None:
    optimizer = build_optimizer(record_of(optimizer=name))
    assert (optimizer.momentum, optimizer.nesterov) == (momentum, momentum > 0)


def rates(epochs: int = 10, steps: int = 100, **changes: Any) -> NDArray[np.float64]:
    record = record_of(**{"learning_rate": 0.1} | changes)
    return np.array(
        [scheduled_learning_rate(record, step / steps, epochs) for step in range(epochs * steps)]
    )


def test_the_rate_warms_up_to_its_peak_and_anneals_to_almost_zero() -> None:
    schedule = rates(warmup_epochs=2, schedule="cosine")
    assert 0 < schedule[0] < 0.001
    assert (np.diff(schedule[:201]) > 0).all()
    assert schedule.max() == schedule[200] == 0.1
    assert (np.diff(schedule[200:]) < 0).all()
    assert schedule[600] == pytest.approx(0.05)  # half-way down
    assert 0 < schedule[-1] < 1e-5


def test_a_constant_schedule_stays_at_its_peak_after_the_warm_up() -> None:
    assert set(rates(warmup_epochs=0, schedule="constant")) == {0.1}
    schedule = rates(warmup_epochs=0.5, schedule="constant")
    assert schedule[0] < 0.01
    assert set(schedule[50:]) == {0.1}


def test_a_warm_up_may_be_longer_than_the_training() -> None:
    schedule = rates(epochs=2, warmup_epochs=5, schedule="cosine")
    assert (np.diff(schedule) > 0).all()
    assert schedule[-1] < 0.1
