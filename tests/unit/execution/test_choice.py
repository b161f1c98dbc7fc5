from collections.abc import Mapping

import pytest

from sidebyside.core.fingerprint import machine_facts
from sidebyside.core.jobs import Done
from sidebyside.execution import choice
from sidebyside.execution.choice import executor, fitting, jobs_at_once
from tests.support.child_processes import children
from tests.support.jobs import job

MEBIBYTE = 1 << 20


@pytest.mark.parametrize(
    ("cores", "threads", "expected"), [(2, 2, 1), (4, 2, 2), (2, 1, 2), (1, 4, 1)]
)
def test_every_thread_has_a_core(
    cores: int, threads: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORES", str(cores))
    assert jobs_at_once(threads) == expected


@pytest.mark.parametrize(
    ("peak", "available", "number"),
    [(0, 100, 4), (10, None, 4), (10, 100, 4), (10, 25, 2), (10, 5, 1)],
)
def test_as_many_jobs_run_at_once_as_the_memory_suffices_for(
    peak: int, available: int | None, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = None if available is None else available * MEBIBYTE
    monkeypatch.setattr(choice, "available_memory", lambda: size)
    line = (
        f"{number} at once instead of 4: a trial needs up to 10 MiB of memory, and {available} MiB"
        " are available"
    )
    assert fitting(4, "trial", peak * MEBIBYTE) == (number, line if number < 4 else None)


@pytest.mark.parametrize(("at_once", "workers"), [(1, 0), (2, 2)])
def test_several_jobs_at_once_run_in_processes(at_once: int, workers: int) -> None:
    before = children()
    seen: list[Mapping[str, str]] = []
    with executor({}, machine_facts(1), at_once, seen.append) as run:
        assert not seen
        ends = [event for event in run([job("a", 1), job("b", 1)]) if isinstance(event, Done)]
        assert len(children() - before) == workers
    assert [end.result[0] for end in ends] == [1, 1]
    assert seen[0] == seen[-1] == machine_facts(1)
