"""Two processes, or two clones with one server, that log the same work."""

import contextlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from threading import Semaphore
from typing import Any

import pytest
from mlflow import MlflowClient

from sidebyside.core.errors import UserError
from sidebyside.tracking import concurrency
from sidebyside.tracking.backfill import ensure_opened
from sidebyside.tracking.index import Index
from sidebyside.tracking.run import Run
from sidebyside.tracking.runs import open_child, open_run, reopen_run
from sidebyside.tracking.store import Store, open_store
from sidebyside.tracking.views import Experiment
from tests.support.stores import SEARCH, TRAINING, client_of, points_of, runs_of

CURVE = [(epoch, epoch / 10) for epoch in range(1, 4)]


def log(run: Run) -> None:
    for epoch, value in CURVE:
        run.log_metrics({"val_accuracy": value}, step=epoch)


@pytest.fixture
def clones(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two clones that log to the database in `root`, which is not the own store of either."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    folders = [tmp_path / name for name in ("first clone", "second clone")]
    for folder in folders:
        folder.mkdir()
    return folders


# One project.


def test_a_run_that_another_process_logs_is_left_to_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(concurrency, "PATIENCE", 0.0)
    with open_run(root, SEARCH, "search", "k") as first:
        with open_run(root, SEARCH, "search", "k") as second:
            log(second)
            with open_child(second, "trial-1", "k-1") as trial:
                log(trial)
            with pytest.raises(UserError, match=r"^process \d+ \(`.*`, since .*\) is logging"):
                ensure_opened(second)
        log(first)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("process ")
    assert line.endswith(" is logging search to MLflow: this process does not log it")
    (run,) = runs_of(root, SEARCH)
    assert run.data.tags["logged"] == "k"
    assert points_of(root, run.info.run_id, "val_accuracy") == CURVE


def test_a_backfill_finds_what_was_logged_since_it_began(root: Path) -> None:
    store = open_store(root)
    store.index = Index(store)
    try:
        other = Store(store.uri, store.folder, local=True)
        assert other.index is None
        run_id = other.client.create_run(
            other.experiment(TRAINING), tags={"key": "k", "logged": "k"}
        ).info.run_id
        with open_run(root, TRAINING, "run", "k") as run:
            assert run.run_id == run_id
            assert run.marked
    finally:
        store.index = None


# Two clones.


def complete(root: Path, experiment: Experiment = TRAINING) -> list[Any]:
    return [run for run in runs_of(root, experiment) if "logged" in run.data.tags]


@pytest.mark.parametrize("first_ends_first", [True, False])
def test_two_clones_leave_one_complete_run(
    root: Path,
    clones: list[Path],
    capfd: pytest.CaptureFixture[str],
    first_ends_first: bool,
) -> None:
    with contextlib.ExitStack() as one, contextlib.ExitStack() as other:
        runs = [
            stack.enter_context(open_run(clone, TRAINING, "run", "k"))
            for stack, clone in zip((one, other), clones, strict=True)
        ]
        for run in runs:
            log(run)
        assert runs[0].run_id != runs[1].run_id
        (one if first_ends_first else other).close()
    (run,) = runs_of(root)
    assert run.info.run_id == runs[not first_ends_first].run_id
    assert run.data.tags["logged"] == "k"
    assert points_of(root, run.info.run_id, "val_accuracy") == CURVE
    with reopen_run(clones[first_ends_first], TRAINING, "run", "k", evaluated="e") as found:
        assert found.run_id == run.info.run_id
    assert capfd.readouterr().err == ""


def test_the_trials_of_a_search_go_with_it(root: Path, clones: list[Path]) -> None:
    with open_run(clones[0], SEARCH, "search", "k") as slow:
        with open_child(slow, "trial-1", "k-1") as trial:
            log(trial)
        with open_run(clones[1], SEARCH, "search", "k") as fast, open_child(fast, "t", "k-1") as t:
            log(t)
    assert {run.info.run_id for run in runs_of(root, SEARCH)} == {fast.run_id, t.run_id}


class InTurn:
    """A client whose calls wait for their turn."""

    def __init__(self, client: MlflowClient) -> None:
        self.client, self.turn, self.done = client, Semaphore(0), Semaphore(0)

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.turn.acquire()
            try:
                return getattr(self.client, name)(*arguments, **options)
            finally:
                self.done.release()

        return call


# Each process lists the runs, marks its own, lists again and deletes; the older run is "o".
@pytest.mark.parametrize("order", sorted({"".join(one) for one in permutations("oonn")}))
def test_of_two_runs_completed_at_the_same_moment_every_process_keeps_the_same(
    root: Path, clones: list[Path], order: str
) -> None:
    store = open_store(clones[0])
    experiment = store.experiment(TRAINING)
    runs = {name: store.client.create_run(experiment, tags={"key": "k"}) for name in "on"}
    clients = {name: InTurn(client_of(root)) for name in runs}
    with ThreadPoolExecutor(2) as pool:
        ends = [
            pool.submit(concurrency.mark_first, clients[name], run, "logged", "k")
            for name, run in runs.items()
        ]
        for name in f"on{order}":
            clients[name].turn.release()
            clients[name].done.acquire(timeout=30)
        for client in clients.values():
            client.turn.release(100)
        for end in ends:
            end.result()
    assert len(complete(root)) == len(runs_of(root)) == 1


def test_a_clone_resumes_its_own_run_and_removes_the_stopped_run_of_another(
    root: Path, clones: list[Path]
) -> None:
    with pytest.raises(KeyboardInterrupt), open_run(clones[0], TRAINING, "run", "k") as killed:
        log(killed)
        raise KeyboardInterrupt
    with (
        pytest.raises(KeyboardInterrupt),
        open_run(clones[1], TRAINING, "run", "k") as other,
    ):
        raise KeyboardInterrupt
    assert other.run_id != killed.run_id
    with open_run(clones[0], TRAINING, "run", "k") as resumed:
        log(resumed)
    assert resumed.run_id == killed.run_id
    (run,) = runs_of(root)
    assert run.info.run_id == killed.run_id
    assert points_of(root, run.info.run_id, "val_accuracy") == CURVE


def test_a_copy_of_a_clone_is_another_clone(tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    folder.mkdir()
    name = concurrency.clone_id(folder)
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert concurrency.clone_id(copy) != name
    moved = folder.rename(tmp_path / "moved")
    assert concurrency.clone_id(moved) == name
