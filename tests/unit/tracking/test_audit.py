import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from sidebyside.core.errors import UserError
from sidebyside.tracking import audit
from sidebyside.tracking.audit import every_run, lacks
from sidebyside.tracking.store import open_store
from sidebyside.tracking.views import SEARCH, TRAINING

TAGS = {
    "key": "k",
    "git.commit": "c",
    "git.dirty": "false",
    "dvc.lock": "d",
    "requirements.lock": "r",
    "machine.fingerprint": "f",
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


def test_a_complete_run_lacks_nothing() -> None:
    assert lacks(TRAINING, run()) == []
    assert lacks(SEARCH, run(name="mlp-trial-1")) == []
    assert lacks(TRAINING, run({"data.train": None, "data.test": "x"}, "comparison")) == []


@pytest.mark.parametrize("tag", [tag for tag in TAGS if tag != "git.dirty"])
def test_what_a_run_lacks_is_named(tag: str) -> None:
    assert lacks(TRAINING, run({tag: None})) == [f"no {tag}"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"git.dirty": "true"}, "made from files that differ from the commit"),
        ({"git.dirty": None}, "made from files that differ from the commit"),
        ({"git.commit": "unknown"}, "made outside a git repository"),
    ],
)
def test_a_run_that_cannot_be_traced_is_named(changes: dict[str, str | None], words: str) -> None:
    assert lacks(TRAINING, run(changes)) == [words]


def test_what_an_experiment_of_dvcs_changed_is_kept_by_dvc() -> None:
    assert lacks(TRAINING, run({"git.dirty": "true", "dvc.experiment": "bfloat16"})) == []


def test_a_trial_may_have_failed_but_not_been_left() -> None:
    assert lacks(SEARCH, run({"trial": "1"}, status="FAILED")) == []
    assert lacks(SEARCH, run({"trial": "1"}, status="KILLED")) == ["is KILLED"]


@pytest.mark.parametrize("status", ["RUNNING", "KILLED", "FAILED"])
def test_a_run_that_did_not_end_well_is_named(status: str) -> None:
    assert lacks(TRAINING, run(status=status)) == [f"is {status}"]


def test_a_trained_models_run_holds_model_data_and_scores() -> None:
    empty = run()
    empty.outputs, empty.inputs, empty.data.metrics = None, None, {}
    assert lacks(TRAINING, empty) == ["no model", "no datasets", "no test scores"]
    assert lacks(SEARCH, empty) == []
    assert "no data.test" in lacks(TRAINING, run(name="comparison"))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose store is its own and empty."""
    monkeypatch.setattr(audit, "CHECKOUT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["runs"])
    return tmp_path


def test_without_a_run_it_says_how_to_get_some(root: Path) -> None:
    with pytest.raises(UserError, match=r"^there are no runs: `dvc repro` makes them$"):
        audit.main()


def test_every_run_is_checked_however_many_pages_they_fill(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(root)
    for experiment, count in ((TRAINING, 3), (SEARCH, 1)):
        number = store.experiment(experiment)
        for start in range(1, count + 1):
            store.client.create_run(number, start_time=start, run_name=f"run-{start}")
    search = store.client.search_runs
    monkeypatch.setattr(store.client, "search_runs", partial(search, max_results=2))
    found = [(experiment, run.info.run_name) for experiment, run in every_run(root)]
    assert found == [*((TRAINING, f"run-{start}") for start in (1, 2, 3)), (SEARCH, "run-1")]
    with pytest.raises(UserError, match=r"^4 runs are not complete$"):
        audit.main()
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5
    assert printed[-1] == "4 runs, 0 of them complete"
