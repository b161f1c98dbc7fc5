import os

import pytest

from sidebyside.core.errors import UserError
from sidebyside.execution.choice import executor, jobs_at_once


@pytest.mark.parametrize(
    ("cores", "threads", "expected"), [(2, 2, 1), (4, 2, 2), (2, 1, 2), (1, 4, 1)]
)
def test_every_thread_has_a_core(
    cores: int, threads: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOBS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    assert jobs_at_once(threads) == expected


def test_jobs_is_the_number_that_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBS", "3")
    assert jobs_at_once(2) == 3


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "²"])
def test_another_value_of_jobs_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBS", value)
    with (
        pytest.raises(UserError, match=r"^JOBS='.*' is not a whole number from 1: set it to"),
        executor({}, 1),
    ):
        pass
