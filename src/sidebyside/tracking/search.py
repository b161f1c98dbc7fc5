"""Log hyperparameter searches to MLflow: a run per search, with a child run per trial.

A stage and `make backfill` log through the same functions, so that both create the same runs,
except for the curves of failed trials, which are not in any file. Entries that are already in the
store do not change.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sidebyside.config.dataset import Dataset
from sidebyside.tracking.differences import show_searched
from sidebyside.tracking.origin import Origin, Record, log_inputs, machine_tags, origin_tags
from sidebyside.tracking.run import Epoch, Run
from sidebyside.tracking.run_tags import Tag
from sidebyside.tracking.runs import open_child, open_run
from sidebyside.tracking.views import Experiment, architecture_score, search_experiment
from sidebyside.training.trial import trial_identity


@dataclass(frozen=True)
class TrackedSearch:
    """A search in MLflow."""

    experiment: Experiment
    dataset: str  # name of the data set
    run_name: str
    model: str  # the architecture
    origin: Origin
    record: Record  # with seed, settings, space, searched, data_sha256 and classes

    @property
    def tags(self) -> dict[str, Tag]:
        """Tags of the search's run and of those of its trials."""
        origin = origin_tags(self.origin, self.dataset, self.record["data_sha256"])
        return {"model": self.model, "seed": self.record["seed"], **origin}

    def trial_name(self, number: int) -> str:
        """Name of a trial's run."""
        return f"{self.origin.item}-trial-{number}"


def tuning(dataset: Dataset, model: str, origin: Origin, record: Record) -> TrackedSearch:
    """Return the search of the tune stage for an architecture."""
    return TrackedSearch(
        search_experiment(dataset), dataset.name, f"search-{model}", model, origin, record
    )


def open_search(root: Path, search: TrackedSearch) -> AbstractContextManager[Run]:
    """Open the run of a search.

    Args:
        root: root of the checkout, whose MLflow store gets the run.
        search: the search.
    """
    strategy = search.record["settings"]["strategy"]
    names = ", ".join(search.record["searched"]) or "no hyperparameter"
    return open_run(
        root,
        search.experiment,
        search.run_name,
        search.origin.key,
        tags=search.tags,
        description=f"{strategy.capitalize()} search over {names}, with a child run per trial",
    )


def log_search_inputs(run: Run, search: TrackedSearch) -> None:
    """Log the settings, space and data sets of a search."""
    record = search.record
    parameters = {**record["settings"], "space": record["space"]}
    log_inputs(run, parameters, record["data_sha256"], record["classes"])


@contextmanager
def open_trial(
    run: Run, search: TrackedSearch, number: int, values: Mapping[str, Any], epochs: int
) -> Iterator[Run]:
    """Open the run of a trial below its search's, and log its hyperparameters.

    Args:
        run: run of the search.
        search: the search.
        number: number of the trial.
        values: all hyperparameters of the trial.
        epochs: maximum number of epochs.
    """
    key = f"{search.origin.key}-{trial_identity(values, epochs)}"
    tags = {**search.tags, "trial": number}
    what = f"Trial {number} of {search.run_name}"
    with open_child(run, search.trial_name(number), key, tags=tags, description=what) as child:
        child.log_parameters({**values, "epochs": epochs})
        yield child


def log_trial(
    run: Run, search: TrackedSearch, history: Sequence[Epoch], scores: Mapping[str, float]
) -> None:
    """Log the curves and scores of a complete trial.

    Args:
        run: the run, from `open_trial`.
        search: the search.
        history: history of the first execution.
        scores: means over the executions.
    """
    run.log_epochs(history)
    run.log_metrics(
        {
            **{f"best_{name}": value for name, value in scores.items()},
            architecture_score(search.model): scores["val_accuracy"],
        }
    )


def log_search(
    run: Run,
    search: TrackedSearch,
    record: Record,
    histories: Mapping[int, Sequence[Epoch]],
    trials: tuple[Sequence[str], Sequence[Sequence[Any]]],
    chosen: Mapping[str, Any],
) -> None:
    """Log everything about a complete search, including entries missed during the search.

    A failed trial has only its row in the table.

    Args:
        run: the run, from `open_search`.
        search: the search.
        record: the content of search.json.
        histories: trial → rows of its first execution.
        trials: header and rows of trials.csv.
        chosen: the content of hyperparameters.json.
    """
    run.retry()
    run.log_tags(machine_tags(search.origin.machine))
    log_search_inputs(run, search)
    for trial in record["trials"]:
        if trial["scores"] is None:
            continue
        number, values = trial["number"], {**record["fixed"], **trial["searched"]}
        with open_trial(run, search, number, values, trial["epochs"]) as child:
            log_trial(child, search, histories[number], trial["scores"])
            child.log_tags(machine_tags(search.origin.machine))
    run.log_table("trials", *trials)
    run.log_metrics({f"best_{name}": value for name, value in record["best"].items()})
    run.log_text("hyperparameters.json", json.dumps(chosen, indent=2))
    run.store.attempt(partial(show_searched, run.store, search.experiment))
