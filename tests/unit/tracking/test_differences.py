import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sidebyside.tracking.differences import differing, show_searched, show_trained
from sidebyside.tracking.runs import open_child, open_run
from sidebyside.tracking.store import open_store
from sidebyside.tracking.views import Experiment
from tests.support.datasets import FASHION_MNIST
from tests.support.stores import SEARCH, TRAINING, client_of


def run(model: str | None, **parameters: str) -> Any:
    return SimpleNamespace(data=SimpleNamespace(params=parameters, tags={"model": model}))


def test_parameters_differ_between_runs_of_one_architecture_own_ones_first() -> None:
    found = differing(
        [
            run("mlp", dropout="0.1", epochs="5", hidden_units="[8]", l2="0", seed="1"),
            run("mlp", dropout="0.2", epochs="6", hidden_units="[4]", l2="0", seed="2"),
            run("cnn", dropout="0.1", l2="0.1"),
            run(None, dropout="0.7"),
            run("dropped", dropout="0.8"),
        ]
    )
    assert found == {"mlp": ["hidden_units", "dropout", "epochs"], "cnn": []}


def view(root: Path, experiment: Experiment) -> dict[str, Any]:
    found = client_of(root).get_experiment_by_name(experiment.name)
    assert found
    content: dict[str, Any] = json.loads(found.tags["mlflow.sharedViewState.columns"])
    return content


def test_views_show_what_was_searched_and_what_differs_between_models(root: Path) -> None:
    trials: Mapping[str, list[dict[str, float]]] = {
        "mlp": [{"dropout": 0.1, "l2": 0.5}, {"dropout": 0.2, "l2": 0.5}],
        "cnn": [{"learning_rate": 0.1}, {"learning_rate": 0.2}],
    }
    for model, values in trials.items():
        with open_run(root, SEARCH, f"search-{model}", model) as search:
            for number, one in enumerate(values):
                tags = {"model": model}
                with open_child(
                    search, f"{model}-{number}", f"{model}{number}", tags=tags
                ) as child:
                    child.log_parameters(one)
    for epochs in (5, 6):
        with open_run(root, TRAINING, "mlp", f"e{epochs}", tags={"model": "mlp"}) as trained:
            trained.log_parameters({"epochs": epochs, "dropout": 0.1, "patience": 2})
    store = open_store(root)
    show_searched(store, SEARCH)
    show_trained(store, FASHION_MNIST)
    axes = [chart["selectedParams"] for chart in view(root, SEARCH)["compareRunCharts"]]
    assert axes == [["dropout"], ["learning_rate"]]
    columns = view(root, TRAINING)["selectedColumns"]
    shown = [name for name in columns if name.startswith("params")]
    assert shown == ["params.`dropout`", "params.`epochs`", "params.`learning_rate`"]
