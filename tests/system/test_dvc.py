"""Queries that the VS Code extension sends to DVC, and experiments that a user applies."""

import json

import pytest

from tests.support.checkout import Checkout
from tests.support.pipeline import NAMES, stages_run
from tests.support.stores import SEARCH, TRAINING, runs_of


def test_dvc_answers_the_queries_of_the_vs_code_extension(experiment: Checkout) -> None:
    (baseline, *_) = json.loads(experiment.run("dvc", "exp", "show", "--json").stdout)
    assert set(baseline["data"]["params"]) == {"params.yaml"}
    known = ["--granular", "--unchanged", "--json"]
    status = json.loads(experiment.run("dvc", "data", "status", *known).stdout)
    assert {f"models/{name}.keras" for name in NAMES} <= set(status["unchanged"])
    places = ["--out", "dvc_plots", "--split", "--json"]
    plots = json.loads(experiment.run("dvc", "plots", "diff", *places, "probe").stdout)
    assert "errors" not in plots
    assert {"accuracy", "loss", "confusion"} <= set(plots["data"])


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("lost", [False, True], ids=["store kept", "store lost"])
def test_the_runs_of_an_applied_experiment_are_complete_and_logged_once(
    own: Checkout, lost: bool
) -> None:
    def module(name: str) -> str:
        command = ("python", "-m", f"sidebyside.tracking.{name}")
        return str(own.run(*command, environment={"PYTHONPATH": "src"}).stdout)

    own.commit()
    changes = ("-S", "train.budget.mlp.epochs=3", "-S", "evaluate.bootstrap_samples=300")
    own.run("dvc", "exp", "run", "--temp", "--name", "probe", *changes)
    own.run("dvc", "exp", "apply", "probe")
    if lost:
        own.forget_runs()
        module("backfill")
    before = identities(own)
    assert len([name for name, _ in before if name == "comparison"]) == (1 if lost else 2)
    assert "logged" not in module("backfill")
    assert identities(own) == before
    runs = len(before)
    assert module("audit") == f"{runs} runs, {runs} of them complete\n"
    assert stages_run(own.run("dvc", "repro").stdout) == []


def identities(checkout: Checkout) -> list[tuple[str, str]]:
    """Return name and key of every run in a checkout's store."""
    return sorted(
        (str(run.info.run_name), run.data.tags["key"])
        for experiment in (TRAINING, SEARCH)
        for run in runs_of(checkout.root, experiment)
    )
