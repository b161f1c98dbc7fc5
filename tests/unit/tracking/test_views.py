import json
from pathlib import Path

import pytest

from sidebyside.config.hyperparameters import RECORDS, Hyperparameters
from sidebyside.tracking.views import (
    Experiment,
    registered_model,
    search_experiment,
    training_experiment,
    view_tags,
)
from study.tracking import REPLICATIONS
from tests.support.datasets import dataset
from tests.support.stores import SEARCH, TRAINING, client_of


def test_the_description_links_to_a_view_of_the_main_columns(root: Path) -> None:
    found = client_of(root).get_experiment_by_name(TRAINING.name)
    assert found
    address = f"#/experiments/{found.experiment_id}/runs?workflowType=machine_learning"
    assert f"({address}&viewStateShareKey=columns)" in found.tags["mlflow.note.content"]
    view = json.loads(found.tags["mlflow.sharedViewState.columns"])
    assert view["orderByKey"] == "metrics.`test_accuracy`"
    assert {"metrics.`test_accuracy`", "params.`model`", "params.`data`"} <= {
        *view["selectedColumns"]
    }


@pytest.mark.parametrize("experiment", [TRAINING, SEARCH, REPLICATIONS], ids=lambda one: one.name)
def test_every_experiment_has_a_view(experiment: Experiment) -> None:
    tags = view_tags(experiment, "7")
    assert "(#/experiments/7/runs" in tags["mlflow.note.content"]
    assert len(json.loads(tags["mlflow.sharedViewState.columns"])["selectedColumns"]) > 5


def test_names_and_descriptions_are_those_of_the_data_set() -> None:
    icons = dataset(name="icons", title="Icons {view} <b>*x*</b>")
    experiments = training_experiment(icons), search_experiment(icons)
    assert [experiment.name for experiment in experiments] == ["icons", "icons-search"]
    assert registered_model("icons", "cnn") == "icons-cnn"
    for experiment in experiments:
        note = view_tags(experiment, "7")["mlflow.note.content"]
        assert r"Icons {view} \<b\>\*x\*\</b\>" in note
        assert "(#/experiments/7/runs" in note
        assert "Fashion" not in note


@pytest.mark.parametrize(
    ("experiment", "kind", "sections", "metrics"),
    [
        (TRAINING, "LINE", ["Curves"], {"val_accuracy", "val_loss", "accuracy", "loss"}),
        (SEARCH, "PARALLEL", ["MLP trials", "CNN trials"], {"best_val_accuracy"}),
    ],
)
def test_trainings_have_learning_curves_and_trials_parallel_coordinates(
    experiment: Experiment, kind: str, sections: list[str], metrics: set[str]
) -> None:
    view = json.loads(view_tags(experiment, "7")["mlflow.sharedViewState.columns"])
    assert [section["name"] for section in view["compareRunSections"]] == sections
    charts = view["compareRunCharts"]
    assert {chart["type"] for chart in charts} == {kind}
    ids = [section["uuid"] for section in view["compareRunSections"]]
    assert list(dict.fromkeys(chart["metricSectionId"] for chart in charts)) == ids
    assert len({chart["uuid"] for chart in charts}) == len(charts)
    shown = [chart.get("selectedMetrics", [chart.get("metricKey")]) for chart in charts]
    assert {metric for names in shown for metric in names} == metrics


def test_every_architecture_has_a_chart_of_its_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    class ResidualHyperparameters(Hyperparameters):
        blocks: int
        dropout: float

    monkeypatch.setitem(RECORDS, "residual", ResidualHyperparameters)
    assert search_experiment(dataset()).parallel_coordinates == {
        "MLP trials": ("hidden_units", "dropout", "learning_rate"),
        "CNN trials": ("filters", "dropout", "learning_rate"),
        "residual trials": ("blocks", "dropout", "learning_rate"),
    }
    columns = search_experiment(dataset()).parameters
    assert columns == ("learning_rate", "dropout", "hidden_units", "filters", "blocks", "epochs")


def test_the_view_of_many_architectures_has_room_in_a_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        record = type("Record", (RECORDS["cnn"],), {"short_name": f"residual network {number}"})
        monkeypatch.setitem(RECORDS, f"residual_{number}", record)
    tags = view_tags(search_experiment(dataset()), "7")
    assert max(map(len, tags.values())) < 5000  # characters in MLflow's database
