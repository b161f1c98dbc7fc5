"""A small search with several executions, of which one trial fails, for tests of executors."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from sidebyside.config.parameters import Search
from sidebyside.core.jobs import Executor
from sidebyside.training.jobs import training_arrays
from sidebyside.training.search import Follower, SearchTask, run_search
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
TASK = SearchTask("mlp", SPACE, SETTINGS, 1, dataset(), noisy_split(200), noisy_split(90), 1, 2)
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
