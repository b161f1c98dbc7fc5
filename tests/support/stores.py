"""Read the content of MLflow stores, in a form in which two stores can be compared."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow import MlflowClient

from sidebyside.tracking.registry import CLASSES_TAG, DATASET_TAG, FILE_TAG
from sidebyside.tracking.views import (
    PROJECT,
    PROJECT_TAG,
    Experiment,
    registered_model,
    search_experiment,
    training_experiment,
)
from tests.support.datasets import FASHION_MNIST

if TYPE_CHECKING:
    from tests.support.checkout import Checkout

TRAINING, SEARCH = training_experiment(FASHION_MNIST), search_experiment(FASHION_MNIST)
REGISTERED = {model: registered_model(FASHION_MNIST.name, model) for model in ("mlp", "cnn")}
DIGESTS = {
    FILE_TAG: "ab" * 32,
    DATASET_TAG: "cd" * 32,
    CLASSES_TAG: "ef" * 32,
}  # of the files of a registered model


def client_of(root: Path) -> MlflowClient:
    """Return a client of the store in a project's root."""
    return MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def runs_of(root: Path, experiment: Experiment = TRAINING) -> list[Any]:
    """Return all runs of an experiment, the oldest first."""
    client = client_of(root)
    found = client.get_experiment_by_name(experiment.name)
    assert found
    order = ["attributes.start_time ASC"]
    return list(client.search_runs([found.experiment_id], order_by=order))


def points_of(root: Path, run_id: str | None, metric: str) -> list[tuple[int, float]]:
    """Return step and value of every point of a metric."""
    assert run_id
    history = client_of(root).get_metric_history(run_id, metric)
    return [(point.step, point.value) for point in history]


def own_store(checkout: "Checkout") -> dict[str, Any]:
    """Return the content of a checkout's own store."""
    return content(client_of(checkout.root))


def content(client: MlflowClient) -> dict[str, Any]:
    """Return the content of a store, by names instead of ids."""
    found = {}
    for experiment in client.search_experiments(filter_string=f"tags.{PROJECT_TAG} = '{PROJECT}'"):
        runs = list(client.search_runs([experiment.experiment_id]))
        names = {run.info.run_id: run.info.run_name for run in runs}
        for run in runs:
            parent = names.get(run.data.tags.get("mlflow.parentRunId", ""))
            curves = {
                name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics
            }
            inputs = run.inputs.dataset_inputs if run.inputs else []
            path = (experiment.name, parent, run.info.run_name)
            assert path not in found
            found[path] = {
                "status": run.info.status,
                "parameters": run.data.params,
                "metrics": {
                    name: sorted({(point.step, point.value) for point in curve})
                    for name, curve in curves.items()
                },
                "files": sorted(files(client, run.info.run_id)),
                "data": sorted(entry.dataset.name for entry in inputs),
                "models": len(run.outputs.model_outputs) if run.outputs else 0,
            }
    champions = {
        model.name: champion(client, model.name) for model in client.search_registered_models()
    }
    return {"runs": found, "champions": champions}


def champion(client: MlflowClient, name: str) -> Mapping[str, str]:
    """Return run, model card and tags of a registered model's champion."""
    version = client.get_model_version_by_alias(name, "champion")
    assert version.run_id
    return {
        "run": str(client.get_run(version.run_id).info.run_name),
        "card": re.sub(r"#/[^)]*/runs/\w+", "address", str(version.description)),
        **version.tags,
    }


def files(client: MlflowClient, run: str, folder: str | None = None) -> Iterator[str]:
    """Yield the path of every artifact of a run."""
    for entry in client.list_artifacts(run, folder):
        if entry.is_dir:
            yield from files(client, run, entry.path)
        else:
            yield entry.path
