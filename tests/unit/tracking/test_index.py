from functools import partial
from pathlib import Path

import pytest

from sidebyside.tracking.index import Index, all_runs
from sidebyside.tracking.runs import open_child, open_run
from sidebyside.tracking.store import open_store
from tests.support.stores import SEARCH, TRAINING


def test_runs_are_found_by_key_and_parent(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("a", "b"):
        with open_run(root, SEARCH, key, key) as search, open_child(search, "trial", "t"):
            pass
    store = open_store(root)
    monkeypatch.setattr(
        store.client, "search_runs", partial(store.client.search_runs, max_results=3)
    )
    found, experiment = Index(store), store.experiment(SEARCH)
    assert len(list(all_runs(store, experiment))) == 4
    (parent,) = found.find(experiment, "b", None)
    assert parent.info.run_name == "b"
    (child,) = found.find(experiment, "t", parent.info.run_id)
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert found.find(store.experiment(TRAINING), "b", None) == []


def test_a_run_that_is_added_again_replaces_the_earlier_one(root: Path) -> None:
    with open_run(root, TRAINING, "run", "k"):
        pass
    store = open_store(root)
    found, experiment = Index(store), store.experiment(TRAINING)
    (run,) = found.find(experiment, "k", None)
    found.add(run, "evaluated", "e")
    (again,) = found.find(experiment, "k", None)
    assert again.data.tags["evaluated"] == "e"
