import contextlib
import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidebyside.tracking.index import Index
from sidebyside.tracking.runs import open_run
from sidebyside.tracking.store import open_store
from tests.support.stores import TRAINING, client_of, content, points_of, runs_of

HISTORY = [{"epoch": epoch, "loss": 1 / epoch, "accuracy": epoch / 9} for epoch in (1, 2, 3)]


def log(root: Path) -> Any:
    """Log a run, or what it lacks if the store's runs have been indexed."""
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_parameters({"dropout": 0.5, "seed": 1})
        run.log_dataset("train", "ab" * 32, "training", {"images": 200})
        run.log_epochs(HISTORY)
        run.log_table("confusion", ["actual", "Bag"], [["Bag", 7]])
        run.log_figure("curves", b"\x89PNG")
        run.log_metrics({"test_accuracy": 0.75})
    return run


def index(root: Path) -> None:
    store = open_store(root)
    store.index = Index(store)


def edit(root: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(root / "mlflow.db")) as database, database:
        for statement in statements:
            assert database.execute(statement).rowcount


def artifacts(root: Path) -> Path:
    return Path(runs_of(root)[0].info.artifact_uri)


def replace_by_folder(file: Path) -> None:
    file.unlink()
    (file / "folder").mkdir(parents=True)


def replace_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("a file")


def replace_by_link(file: Path) -> None:
    other = file.parents[1] / "other"
    file.rename(other)
    other.write_text("other")
    file.symlink_to(other)


DAMAGES: dict[str, tuple[Callable[[Path], object], dict[str, int]]] = {
    "file": (lambda root: (artifacts(root) / "curves.png").unlink(), {"figure": 1}),
    "truncated": (lambda root: (artifacts(root) / "curves.png").write_bytes(b""), {"figure": 1}),
    "altered": (lambda root: (artifacts(root) / "curves.png").write_bytes(b"pngs"), {"figure": 1}),
    "file by a folder": (
        lambda root: replace_by_folder(artifacts(root) / "curves.png"),
        {"figure": 1},
    ),
    "folder by a file": (lambda root: replace_by_file(artifacts(root) / "tables"), {"table": 1}),
    "file by a link": (lambda root: replace_by_link(artifacts(root) / "curves.png"), {"figure": 1}),
    "folder": (lambda root: shutil.rmtree(artifacts(root)), {"table": 1, "figure": 1}),
    "mlruns": (lambda root: shutil.rmtree(root / "mlruns"), {"table": 1, "figure": 1}),
    "an epoch": (
        lambda root: edit(root, "DELETE FROM metrics WHERE key = 'loss' AND step = 2"),
        {"metric": 1},
    ),
    "a metric": (
        lambda root: edit(
            root,
            "DELETE FROM metrics WHERE key = 'accuracy'",
            "DELETE FROM latest_metrics WHERE key = 'accuracy'",
        ),
        {"metric": 3},
    ),
    "a parameter": (
        lambda root: edit(root, "DELETE FROM params WHERE key = 'dropout'"),
        {"parameter": 1},
    ),
    "a data set": (lambda root: edit(root, "DELETE FROM inputs"), {"dataset": 1}),
    "nothing": (lambda root: None, {}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_complete_run_gets_the_entries_that_it_has_lost(root: Path, damage: str) -> None:
    log(root)
    expected = content(client_of(root))
    inflict, lost = DAMAGES[damage]
    inflict(root)
    index(root)
    assert log(root).added == lost
    assert content(client_of(root)) == expected
    assert (artifacts(root) / "curves.png").read_bytes() == b"\x89PNG"
    assert log(root).added == {}


@pytest.mark.parametrize("tag", ["oops", '{"path": "t"}', "[1]", "7"])
def test_a_list_of_tables_that_a_user_has_edited_is_replaced(root: Path, tag: str) -> None:
    run = log(root)
    client_of(root).set_tag(run.run_id, "mlflow.loggedArtifacts", tag)
    (artifacts(root) / "tables/confusion.json").unlink()
    index(root)
    assert log(root).added == {"table": 1}
    listed = json.loads(runs_of(root)[0].data.tags["mlflow.loggedArtifacts"])
    assert listed == [{"path": "tables/confusion.json", "type": "table"}]


@pytest.mark.parametrize(
    ("value", "ahead"), [(0.75, 0), (float("nan"), 0), (0.75, 86_400_000)], ids=str
)
def test_a_score_that_was_changed_is_logged_again(root: Path, value: float, ahead: int) -> None:
    """Whatever the clock, in milliseconds ahead of this one, of the machine that changed it."""

    def log_score() -> Any:
        with open_run(root, TRAINING, "run", "k") as run:
            run.log_metrics({"test_accuracy": value})
        return run

    run_id, now = log_score().run_id, int(time.time() * 1000)
    client_of(root).log_metric(run_id, "test_accuracy", 0.8, timestamp=now + 1 + ahead)
    index(root)
    assert log_score().added == {"metric": 1}
    (found,) = runs_of(root)
    assert found.data.metrics["test_accuracy"] == pytest.approx(value, nan_ok=True)


def test_a_run_is_not_marked_as_complete_before_everything_was_read_back(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_epochs(HISTORY[:1])
        run.log_epochs(HISTORY[1:])
        edit(root, "DELETE FROM metrics WHERE key = 'loss' AND step < 3")
    assert "run: 2 metrics; `make backfill` logs it later" in capsys.readouterr().err
    (found,) = runs_of(root)
    assert "logged" not in found.data.tags
    assert not log(root).missed
    (found,) = runs_of(root)
    assert found.data.tags["logged"] == "k"
    assert len(points_of(root, found.info.run_id, "loss")) == 3


def test_a_run_is_logged_to_a_new_store_in_few_calls(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(root)
    calls = []
    store = open_store(root)
    for name in ("log_batch", "log_inputs", "log_artifacts", "get_metric_history"):

        def counted(*arguments: Any, called: str = name, **options: Any) -> Any:
            calls.append(called)
            return getattr(type(store.client), called)(store.client, *arguments, **options)

        monkeypatch.setattr(store.client, name, counted)
    log(root)
    assert sorted(calls) == ["log_artifacts", "log_batch", "log_inputs"]
