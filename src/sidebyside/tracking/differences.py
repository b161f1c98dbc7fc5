"""Show in MLflow's tables and charts the parameters that differ between runs, and no others."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sidebyside.config.dataset import Dataset
from sidebyside.config.hyperparameters import RECORDS
from sidebyside.tracking.index import PARENT_TAG
from sidebyside.tracking.store import Store
from sidebyside.tracking.views import (
    Experiment,
    search_experiment,
    training_experiment,
    with_differing,
)

# Parameters that the name of a run shows, or that follow from others.
DERIVED = {"model", "data", "seed", "parameters", "flops_per_image"}


def show_searched(store: Store, search: Experiment) -> None:
    """Show the searched hyperparameters of an experiment's trials, unless its columns are fixed.

    Args:
        store: the store; its errors are raised, not handled as an outage.
        search: experiment with searches.
    """
    if not search.parameters:
        store.show(with_differing(search, _searched(store, search)))


def show_trained(store: Store, dataset: Dataset) -> None:
    """Show the parameters of a data set's models that were searched or differ between runs.

    Args:
        store: as for `show_searched`.
        dataset: the data set.
    """
    training = training_experiment(dataset)
    searched = _searched(store, search_experiment(dataset))
    trained = differing(_runs(store, training))
    names = {model: [*searched[model], *trained[model]] for model in RECORDS}
    store.show(with_differing(training, names))


def _searched(store: Store, search: Experiment) -> dict[str, list[str]]:
    return differing(run for run in _runs(store, search) if PARENT_TAG in run.data.tags)


def _runs(store: Store, experiment: Experiment) -> list[Any]:
    known = store.client.get_experiment_by_name(experiment.name)
    return list(store.client.search_runs([known.experiment_id])) if known else []


def differing(runs: Iterable[Any]) -> dict[str, list[str]]:
    """Return architecture → its parameters with several values, own hyperparameters first.

    Args:
        runs: MLflow's entities of the runs.
    """
    values: dict[str, dict[str, set[str]]] = {model: defaultdict(set) for model in RECORDS}
    for run in runs:
        for name, value in run.data.params.items():
            if run.data.tags.get("model") in values and name not in DERIVED:
                values[run.data.tags["model"]][name].add(value)
    found = {}
    for model, record in RECORDS.items():
        fields = [*record.__annotations__, *record.model_fields]
        names = [name for name, several in values[model].items() if len(several) > 1]
        rank = {name: fields.index(name) if name in fields else len(fields) for name in names}
        found[model] = sorted(names, key=lambda name: (rank[name], name))
    return found
