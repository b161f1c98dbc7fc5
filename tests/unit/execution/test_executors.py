"""Executors run the same made-up jobs, in this process and in others that die and hang."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidebyside.core.errors import UserError
from sidebyside.core.fingerprint import machine_facts
from sidebyside.core.jobs import Arrays, Done, Event, Executor, Failed, Job, News, inline
from sidebyside.execution import child_process, supervision
from sidebyside.execution.detached import detached
from sidebyside.execution.processes import processes
from tests.support.child_processes import children, wait_until_gone
from tests.support.jobs import Count, job

ARRAYS: Arrays = {
    "train": np.arange(300, dtype=np.float32).reshape(20, 15),
    "none": np.empty((0, 3)),
}


@pytest.fixture(scope="module", params=["inline", "one process", "two processes", "detached"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "inline":
        yield inline(ARRAYS)
        return
    if request.param == "detached":
        with in_a_process_of_its_own(ARRAYS) as run:
            yield run
        return
    with processes(ARRAYS, at_once=1 + (request.param == "two processes")) as run:
        yield run


def in_a_process_of_its_own(arrays: Arrays) -> AbstractContextManager[Executor]:
    arguments = {"arrays": arrays, "at_once": 1}
    name = "sidebyside.execution.processes:processes"
    return detached(name, arguments, refusal="none", loss="start it again")


@pytest.fixture(scope="module")
def two() -> Iterator[Executor]:
    with processes({}, at_once=2) as run:
        yield run


def results(events: list[Event]) -> dict[str, Any]:
    """Return the sum of each job that succeeded."""
    return {event.job: event.result[0] for event in events if isinstance(event, Done)}


def counted(events: list[Event], name: str) -> list[int]:
    """Return the numbers that a job reported with a checkpoint."""
    return [e.content for e in events if isinstance(e, News) and e.job == name and e.checkpoint]


def errors(events: list[Event]) -> dict[str, Exception]:
    return {event.job: event.error for event in events if isinstance(event, Failed)}


def test_events_are_tagged_and_in_order_within_a_job(executor: Executor) -> None:
    events = list(executor([job("a", 3), job("b", 2), job("c", 0)]))
    assert results(events) == {"a": 6, "b": 3, "c": 0}
    for name, number in (("a", 3), ("b", 2)):
        own = [event for event in events if event.job == name]
        steps = [News(name, f"step {n}", None) for n in range(1, number + 1)]
        assert own[0:-1:2] == steps
        assert counted(events, name) == list(range(1, number + 1))
        assert isinstance(own[-1], Done)


def test_a_job_continues_from_its_checkpoint(executor: Executor) -> None:
    given = Job("a", "tests.support.jobs:count", Count(4), checkpoint=b"3 100")
    events = list(executor([given]))
    assert results(events) == {"a": 104}
    assert counted(events, "a") == [4]


def test_a_failing_job_gives_its_error_and_the_others_go_on(executor: Executor) -> None:
    jobs = [job("bad", 3, at=2, how="refuse"), job("bug", 2, at=0, how="err"), job("good", 2)]
    events = list(executor([*jobs, job("awkward", 2, at=1, how="err_awkwardly")]))
    assert results(events) == {"good": 3}
    bad, bug, awkward = (errors(events)[name] for name in ("bad", "bug", "awkward"))
    assert isinstance(bad, UserError)
    assert str(bad) == "the number is unlucky: choose another"
    assert not hasattr(bad, "__notes__")
    assert isinstance(bug, KeyError)
    assert "in misbehave" in "".join(bug.__notes__)  # where it was raised
    assert str(awkward) == "AwkwardError: 1 and 2"


def test_a_job_that_does_not_exist_fails(executor: Executor) -> None:
    events = list(executor([Job("a", "tests.support.jobs:missing", None)]))
    assert isinstance(errors(events)["a"], AttributeError)


def look_at_arrays(executor: Executor) -> Any:
    (done,) = executor([Job("a", "tests.support.jobs:look_at_arrays", None)])
    assert isinstance(done, Done)
    return done.result


def test_every_job_gets_the_arrays(executor: Executor) -> None:
    seen = look_at_arrays(executor)
    assert list(seen) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert seen[name].values == array.tolist()
        assert (seen[name].shape, seen[name].dtype) == (array.shape, array.dtype)


def test_processes_map_aligned_arrays_of_their_own() -> None:
    with processes(ARRAYS, at_once=2) as run:
        for _ in range(2):
            seen = look_at_arrays(run)["train"]
            assert seen.aligned
            assert seen.writeable  # TensorFlow uses read-only arrays not without a copy


def test_jobs_are_taken_when_they_can_start(executor: Executor) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[Job]:
        for number in range(4):
            taken.append(number)
            yield job(str(number), 1)

    for event in executor(jobs()):
        if isinstance(event, Done):
            assert len(taken) <= 3
            break


def test_processes_stay_alive(two: Executor) -> None:
    pids = [
        {event.result[1] for event in two([job("a", 1), job("b", 1)]) if isinstance(event, Done)}
        for _ in range(3)
    ]
    assert len(set().union(*pids)) <= 2
    assert os.getpid() not in pids[0]


def test_a_job_that_loses_its_worker_at_any_event_gives_the_same_result(
    two: Executor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = list(two([job("a", 2)]))
    ways = ["die", "die", "leave", "die", "die"]
    jobs = [job(f"{n}", 2, at=n, how=ways[n], once=tmp_path / f"{n}") for n in range(5)]
    events = list(two(jobs))
    assert results(events) == dict.fromkeys("01234", 3)
    assert errors(events) == {}
    for name in "01234":
        assert counted(events, name) == counted(whole, "a")  # none is repeated, none is missing
    reasons = {"die": "killed by SIGKILL", "leave": "ended with 3"}
    assert sorted(capfd.readouterr().err.splitlines()) == [
        f"{n}: worker {reasons[how]}: continues from its last checkpoint in another"
        for n, how in enumerate(ways)
    ]


def test_a_job_that_kills_every_worker_fails_in_one_line_and_alone(two: Executor) -> None:
    events = list(two([job("bad", 2, at=2, how="die"), job("good", 3)]))
    assert results(events) == {"good": 6}
    assert str(errors(events)["bad"]).startswith(
        "bad: 3 workers in a row ended, the last one killed by SIGKILL: end other programs"
    )
    assert counted(events, "bad") == [1]


def test_a_hanging_job_continues_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervision, "INTERVAL", 0.1)
    with processes({}, at_once=2, silence=4) as run:
        given = job("a", 2, at=2, how="hang", once=tmp_path / "hung")
        events = list(run([given, job("b", 9)]))
    assert results(events) == {"a": 3, "b": 45}
    assert counted(events, "a") == [1, 2]
    assert "a: worker silent for 4 s: continues" in capfd.readouterr().err


def test_a_process_stopped_in_the_middle_of_a_message_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(child_process, "STALLED", 1)
    with processes({}, at_once=1) as run:
        given = job("a", 1, at=1, how="stop_in_a_message", once=tmp_path / "stopped")
        assert results(list(run([given]))) == {"a": 1}
    assert "a: worker stopped in the middle of a message: continues" in capfd.readouterr().err


def test_the_end_of_the_block_ends_busy_and_idle_processes() -> None:
    before = children()
    with contextlib.suppress(ZeroDivisionError), processes({}, at_once=2) as run:
        for event in run([job("a", 1), job("b", 2, at=2, how="hang")]):
            if isinstance(event, Done):
                assert len(children() - before) == 2
                raise ZeroDivisionError
    assert children() <= before


def test_an_executor_whose_process_ends_fails_in_one_line_and_can_be_used_again() -> None:
    before = children()
    with in_a_process_of_its_own({}) as run:
        with pytest.raises(UserError, match=r"^start it again$"):
            for _ in run([job("a", 9)]):
                (process,) = children() - before
                os.kill(process, signal.SIGKILL)
        assert results(list(run([job("b", 2)]))) == {"b": 3}
    assert children() <= before


def test_an_executor_whose_process_ends_at_once_is_refused_in_one_line() -> None:
    refused = detached("os:_exit", {"status": 1}, refusal="none", loss="start it again")
    with pytest.raises(UserError, match=r"^none$"), refused:
        pass


def test_an_executor_that_cannot_be_used_says_why_and_leaves_no_process() -> None:
    before = children()
    arguments = {"arrays": {}, "machine": machine_facts(1), "at_once": 1, "address": "x"}
    name = "sidebyside.execution.ray_cluster:connected"
    refused = detached(name, {**arguments, "anywhere": False}, refusal="none", loss="none")
    with pytest.raises(UserError, match=r"^RAY_ADDRESS"), refused:
        pass
    assert children() <= before


DRIVER = """
import os
from sidebyside.execution.processes import processes
from tests.support.jobs import job
with processes({}, at_once=2) as run:
    for event in run([job("a", 2, at=2, how="hang"), job("b", 2, at=2, how="hang")]):
        print(open(f"/proc/self/task/{os.getpid()}/children").read(), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_processes_end_with_the_process_that_started_them(number: signal.Signals) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert driver.stdout is not None
    pids = [{int(pid) for pid in driver.stdout.readline().split()} for _ in range(4)][-1]
    assert len(pids) == 2
    driver.send_signal(number)
    driver.wait(20)
    driver.stdout.close()
    wait_until_gone(pids)
