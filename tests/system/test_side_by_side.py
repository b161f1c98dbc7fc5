"""A search gives the same bytes wherever its trials are trained, also if workers are killed."""

import contextlib
import hashlib
import itertools
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from sidebyside.config.parameters import Search
from sidebyside.core.jobs import Event, Executor, Job, News, inline
from sidebyside.execution.processes import processes
from sidebyside.training.jobs import training_arrays
from sidebyside.training.search import Follower, SearchTask, run_search
from tests.support.child_processes import children
from tests.support.datasets import dataset
from tests.support.images import noisy_split
from tests.support.training import EVERYTHING, MLP

SPACE = {**MLP, **EVERYTHING, "learning_rate": {"choice": [0.003, 0.01, 0.03, 10.0]}}
SETTINGS = Search(
    strategy="grid",
    trials=4,
    executions_per_trial=2,
    epochs=3,
    patience=3,
    images=0,
    objective="val_accuracy",
    parallel=4,
)
TASK = SearchTask("mlp", SPACE, SETTINGS, 1, dataset(), noisy_split(200), noisy_split(90), 1)
ARRAYS = training_arrays(TASK.train, TASK.val)


@contextlib.contextmanager
def follow(*_: object) -> Iterator[Follower]:
    yield Follower(lambda *_: None, lambda *_: None, lambda *_: None)


def outcome(folder: Path, execute: Executor) -> object:
    """Return everything that a search gives, with the digests of its checkpoints."""
    result = run_search(TASK, folder, follow, lambda *_: None, execute)
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.npz")
    }
    return result.record(TASK), result.epochs_table(), result.winner, files


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
