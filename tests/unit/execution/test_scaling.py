"""The simulation of many workers."""

import pytest

from benchmarks.scaling import Driver, Work, simulate

FREE = Driver(0.0, 0.0)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_share_jobs_of_equal_length(workers: int) -> None:
    row = simulate([Work(3, 2.0)] * 8, workers, FREE, in_waves=False)
    assert row["seconds"] == pytest.approx(8 * 6 / workers)
    assert row["efficiency"] == pytest.approx(1)
    assert row["driver"] == 0


def test_a_wave_ends_before_the_next_begins() -> None:
    works = [Work(1, 10.0), Work(1, 1.0), Work(1, 1.0), Work(1, 10.0)]
    assert simulate(works, 2, FREE, in_waves=True)["seconds"] == pytest.approx(20)
    assert simulate(works, 2, FREE, in_waves=False)["seconds"] == pytest.approx(12)


def test_a_driver_that_is_busy_limits_the_workers() -> None:
    row = simulate([Work(10, 1.0)] * 100, 100, Driver(0.0, 0.1), in_waves=False)
    assert row["seconds"] == pytest.approx(101, rel=0.01)  # 1,000 epochs of 0.1 s, after the first
    assert row["driver"] == pytest.approx(1, abs=0.02)
