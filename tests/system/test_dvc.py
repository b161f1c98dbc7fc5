"""Queries that the VS Code extension sends to DVC."""

import json

from tests.support.checkout import Checkout
from tests.support.pipeline import (
    NAMES,
)


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
