import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from sidebyside.core.errors import UserError
from sidebyside.tracking import audit
from sidebyside.tracking.audit import all_runs, find_faults
from sidebyside.tracking.store import open_store
from sidebyside.tracking.views import training_experiment
from tests.support.datasets import dataset
from tests.support.stores import SEARCH, TRAINING

TAGS = {
    "key": "k",
    "git.commit": "c",
    "git.dirty": "false",
    "dvc.lock": "d",
    "requirements.lock": "r",
    "machine.fingerprint": "f",
    "dataset": TRAINING.name,
    "seed": "1",
    "data.train": "t",
    "data.val": "v",
}


def run(
    changes: Mapping[str, str | None] = MappingProxyType({}),
    name: str = "mlp-original-1",
    status: str = "FINISHED",
) -> Any:
    tags = {**TAGS, **changes}
    return SimpleNamespace(
        info=SimpleNamespace(run_name=name, status=status),
        data=SimpleNamespace(
            tags={key: value for key, value in tags.items() if value},
            metrics={"test_accuracy": 0.9},
        ),
        outputs=SimpleNamespace(model_outputs=["m"]),
        inputs=SimpleNamespace(dataset_inputs=["d"]),
    )


def test_a_complete_run_has_no_faults() -> None:
    assert find_faults(TRAINING.name, run()) == []
    assert find_faults(SEARCH.name, run(name="mlp-trial-1")) == []
    assert (
        find_faults(TRAINING.name, run({"data.train": None, "data.test": "x"}, "comparison")) == []
    )


@pytest.mark.parametrize("tag", [tag for tag in TAGS if tag != "git.dirty"])
def test_a_missing_tag_is_a_fault(tag: str) -> None:
    assert find_faults(TRAINING.name, run({tag: None})) == [f"no {tag}"]


def test_the_models_of_every_data_set_are_checked() -> None:
    other = training_experiment(dataset(name="icons")).name
    bare = run({"dataset": other})
    bare.outputs = None
    assert find_faults(other, bare) == ["no model"]
    assert find_faults(f"{other}-replications", bare) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"git.dirty": "true"}, "files differed from the commit"),
        ({"git.dirty": None}, "files differed from the commit"),
        ({"git.commit": "unknown"}, "git.commit unknown"),
        ({"machine.fingerprint": "unknown"}, "machine.fingerprint unknown"),
    ],
)
def test_an_unknown_origin_is_a_fault(changes: dict[str, str | None], fault: str) -> None:
    assert find_faults(TRAINING.name, run(changes)) == [fault]


def test_a_dvc_experiment_may_differ_from_the_commit() -> None:
    assert (
        find_faults(TRAINING.name, run({"git.dirty": "true", "dvc.experiment": "bfloat16"})) == []
    )


def test_a_trial_may_have_failed_but_not_been_killed() -> None:
    assert find_faults(SEARCH.name, run({"trial": "1"}, status="FAILED")) == []
    assert find_faults(SEARCH.name, run({"trial": "1"}, status="KILLED")) == ["status KILLED"]


@pytest.mark.parametrize("status", ["RUNNING", "KILLED", "FAILED"])
def test_any_status_but_finished_is_a_fault(status: str) -> None:
    assert find_faults(TRAINING.name, run(status=status)) == [f"status {status}"]


def test_the_run_of_a_trained_model_has_model_data_and_scores() -> None:
    empty = run()
    empty.outputs, empty.inputs, empty.data.metrics = None, None, {}
    assert find_faults(TRAINING.name, empty) == ["no model", "no data sets", "no test scores"]
    assert find_faults(SEARCH.name, empty) == []
    assert "no data.test" in find_faults(TRAINING.name, run(name="comparison"))


@pytest.fixture
def checkout(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project whose store is checked; it has no runs."""
    monkeypatch.setattr(audit, "CHECKOUT", root)
    monkeypatch.setattr(sys, "argv", ["audit"])
    return root


@pytest.mark.usefixtures("checkout")
def test_a_store_without_runs_is_an_error() -> None:
    with pytest.raises(
        UserError,
        match=r"^there are no runs: run `make repro backfill`$",
    ):
        audit.main()


def test_every_run_of_several_pages_is_checked(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(checkout)
    for experiment, count in ((TRAINING, 3), (SEARCH, 1)):
        number = store.require(partial(store.experiment, experiment))
        for start in range(1, count + 1):
            store.client.create_run(number, start_time=start, run_name=f"run-{start}")
    search = store.client.search_runs
    monkeypatch.setattr(store.client, "search_runs", partial(search, max_results=2))
    found = [(experiment, run.info.run_name) for experiment, run in all_runs(checkout)]
    assert found == [
        *((TRAINING.name, f"run-{start}") for start in (1, 2, 3)),
        (SEARCH.name, "run-1"),
    ]
    with pytest.raises(UserError, match=r"^4 runs are not complete"):
        audit.main()
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5
    assert printed[-1] == "4 runs, 0 of them complete"
