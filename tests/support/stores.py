"""What an MLflow store holds, in a form that two stores can be compared in."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mlflow import MlflowClient

from sidebyside.tracking.views import REPLICATIONS, SEARCH, TRAINING

if TYPE_CHECKING:
    from tests.support.checkout import Checkout


def own_store(checkout: "Checkout") -> dict[str, Any]:
    """Return what a checkout's own store holds."""
    with contextlib.chdir(checkout.root):  # the places of its artifacts are relative to it
        return content(MlflowClient(f"sqlite:///{checkout.root}/mlflow.db"))


def content(client: MlflowClient) -> dict[str, Any]:
    """Return what a store holds, by the names that people see."""
    found = {}
    for experiment in (TRAINING, SEARCH, REPLICATIONS):
        known = client.get_experiment_by_name(experiment)
        if known is None:
            continue
        runs = list(client.search_runs([known.experiment_id]))
        names = {run.info.run_id: run.info.run_name for run in runs}
        for run in runs:
            parent = names.get(run.data.tags.get("mlflow.parentRunId", ""))
            points = {
                name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics
            }
            inputs = run.inputs.dataset_inputs if run.inputs else []
            place = (experiment, parent, run.info.run_name)
            assert place not in found
            found[place] = {
                "status": run.info.status,
                "parameters": run.data.params,
                "metrics": {
                    name: sorted({(point.step, point.value) for point in curve})
                    for name, curve in points.items()
                },
                "files": sorted(files(client, run.info.run_id)),
                "data": sorted(entry.dataset.name for entry in inputs),
                "models": len(run.outputs.model_outputs) if run.outputs else 0,
            }
    champions = {
        model.name: found_version(client, model.name) for model in client.search_registered_models()
    }
    return {"runs": found, "champions": champions}


def found_version(client: MlflowClient, name: str) -> Mapping[str, str]:
    version = client.get_model_version_by_alias(name, "champion")
    assert version.run_id
    return {
        "run": str(client.get_run(version.run_id).info.run_name),
        "card": str(version.description),
        **version.tags,
    }


def files(client: MlflowClient, run: str, folder: str | None = None) -> Iterator[str]:
    for entry in client.list_artifacts(run, folder):
        if entry.is_dir:
            yield from files(client, run, entry.path)
        else:
            yield entry.path
