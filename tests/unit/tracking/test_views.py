import json
from pathlib import Path

import pytest

from sidebyside.config.hyperparameters import RECORDS
from sidebyside.tracking.views import (
    CURVES,
    Experiment,
    registered_model,
    search_experiment,
    training_experiment,
    view_tags,
    with_differing,
)
from study.tracking import REPLICATIONS
from tests.support.datasets import dataset
from tests.support.stores import SEARCH, TRAINING, client_of


def test_the_description_links_to_a_view_sorted_by_validation_accuracy(root: Path) -> None:
    found = client_of(root).get_experiment_by_name(TRAINING.name)
    assert found
    address = f"#/experiments/{found.experiment_id}/runs?workflowType=machine_learning"
    assert f"({address}&viewStateShareKey=columns)" in found.tags["mlflow.note.content"]
    view = json.loads(found.tags["mlflow.sharedViewState.columns"])
    assert view["orderByKey"] == "metrics.`best_val_accuracy`"
    assert {"metrics.`test_accuracy`", "tags.`dvc.experiment`"} <= {*view["selectedColumns"]}


@pytest.mark.parametrize("experiment", [TRAINING, SEARCH, REPLICATIONS], ids=lambda one: one.name)
def test_every_experiment_has_a_view(experiment: Experiment) -> None:
    tags = view_tags(experiment, "7")
    assert "(#/experiments/7/runs" in tags["mlflow.note.content"]
    view = json.loads(tags["mlflow.sharedViewState.columns"])
    assert {*view["selectedColumns"]} < {*view["columnOrder"]} == {*view["columnWidths"]}


@pytest.mark.parametrize("experiment", [TRAINING, SEARCH], ids=lambda one: one.name)
def test_the_columns_of_three_hyperparameters_fit_a_window_of_1440_pixels(
    experiment: Experiment,
) -> None:
    shown = with_differing(experiment, {"mlp": ["hidden_units", "dropout", "learning_rate"]})
    view = json.loads(view_tags(shown, "7")["mlflow.sharedViewState.columns"])
    assert sum(view["columnWidths"].values()) <= 1440 - 222 - 32  # beside the menu, its margins


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


SEARCHED = {"mlp": ["hidden_units", "dropout"], "cnn": ["learning_rate"]}


@pytest.mark.parametrize(
    ("experiment", "kinds", "sections", "metrics"),
    [
        (
            TRAINING,
            {"LINE", "BAR"},
            ["Curves", "Scores"],
            {*CURVES, *TRAINING.bars},
        ),
        (
            with_differing(SEARCH, SEARCHED),
            {"PARALLEL"},
            ["MLP trials", "CNN trials"],
            {"mlp_val_accuracy", "cnn_val_accuracy"},
        ),
    ],
)
def test_trainings_have_curves_and_bars_and_trials_parallel_coordinates(
    experiment: Experiment, kinds: set[str], sections: list[str], metrics: set[str]
) -> None:
    view = json.loads(view_tags(experiment, "7")["mlflow.sharedViewState.columns"])
    assert [section["name"] for section in view["compareRunSections"]] == sections
    charts = view["compareRunCharts"]
    assert {chart["type"] for chart in charts} == kinds
    ids = [section["uuid"] for section in view["compareRunSections"]]
    assert list(dict.fromkeys(chart["metricSectionId"] for chart in charts)) == ids
    assert len({chart["uuid"] for chart in charts}) == len(charts)
    shown = [chart.get("selectedMetrics", [chart.get("metricKey")]) for chart in charts]
    assert {metric for names in shown for metric in names} == metrics


def test_the_view_has_the_parameters_that_differ() -> None:
    shown = with_differing(SEARCH, {**SEARCHED, "residual": []})
    assert shown.parameters == ("hidden_units", "dropout", "learning_rate")
    assert shown.parallel_coordinates == {
        "mlp": ("hidden_units", "dropout"),
        "cnn": ("learning_rate",),
    }
    assert not with_differing(TRAINING, SEARCHED).parallel_coordinates


def test_the_view_of_many_architectures_has_room_in_a_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    differing = {}
    for number in range(50):
        record = type("Record", (RECORDS["cnn"],), {"short_name": f"residual network {number}"})
        monkeypatch.setitem(RECORDS, f"residual_{number}", record)
        differing[f"residual_{number}"] = ["filters", "dropout", "learning_rate"]
    for experiment in (search_experiment(dataset()), training_experiment(dataset())):
        tags = view_tags(with_differing(experiment, differing), "7")
        assert max(map(len, tags.values())) < 5000  # characters in MLflow's database
