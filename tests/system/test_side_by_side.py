"""A search gives the same bytes wherever its trials are trained, also if workers are killed."""

import itertools
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from sidebyside.core.jobs import Event, Job, News, inline
from sidebyside.execution.processes import processes
from tests.support.child_processes import children
from tests.support.searches import ARRAYS, outcome


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> object:
    return outcome(tmp_path_factory.mktemp("inline"), inline(ARRAYS))


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_any_number_of_processes_gives_the_same_bytes(
    at_once: int, expected: object, tmp_path: Path
) -> None:
    with processes(ARRAYS, at_once=at_once) as execute:
        assert outcome(tmp_path, execute) == expected


def test_processes_killed_in_the_middle_give_the_same_bytes(
    expected: object, tmp_path: Path
) -> None:
    with processes(ARRAYS, at_once=2) as run:
        epochs = itertools.count(1)

        def execute(jobs: Iterable[Job]) -> Iterator[Event]:
            for event in run(jobs):
                # A worker loads TensorFlow for seconds, so only two of the epochs end like this.
                if isinstance(event, News) and event.checkpoint and next(epochs) in (2, 5):
                    for pid in children():
                        os.kill(pid, signal.SIGKILL)
                yield event

        assert outcome(tmp_path, execute) == expected
    assert next(epochs) > 6
