"""The experiments of a data set, and how MLflow's UI shows an experiment."""

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sidebyside.config.dataset import Dataset
from sidebyside.config.hyperparameters import RECORDS, Hyperparameters
from sidebyside.reporting.formatting import architecture

CURVES = ("val_accuracy", "val_loss", "accuracy", "loss")  # learning curves that have a chart
VIEW = "columns"  # the name of an experiment's view in its address
TRAINING_PAGES = "workflowType=machine_learning"  # in an address, instead of those for LLMs
NOTE_TAG = "mlflow.note.content"
KIND_TAG = "mlflow.experimentKind"  # without it the UI opens its pages for language models
# Marks the experiments of this project in a store that others use too.
PROJECT_TAG, PROJECT = "project", "sidebyside"
VIEW_TAG = "mlflow.sharedViewState."  # prefix of the tag in which the UI stores a shared view


@dataclass(frozen=True)
class Experiment:
    """An experiment: its name, and the description, columns and charts that the UI shows."""

    name: str
    description: str  # Markdown; {view} and {charts} become addresses of the view
    scores: tuple[str, ...]  # metric columns; runs are sorted by the first
    parameters: tuple[str, ...]  # parameter columns
    # Title → axes of a chart of parallel coordinates, which shows the runs that have all of these
    # parameters. Without any, the charts are learning curves.
    parallel_coordinates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    backfill: str = "make backfill"  # the command that logs missing runs


MODEL_SCORES = (
    *("test_accuracy", "test_f1_macro", "test_log_loss"),
    *("best_val_accuracy", "best_epoch"),
)
CHARTS = 8  # of architectures in the view of a search; a tag has room for 5,000 characters
COMPARISON = "comparison"  # the run of a training experiment that compares all models


def training_experiment(dataset: Dataset) -> Experiment:
    """Return the experiment of the models trained on a data set, which has the data set's name."""
    return Experiment(
        name=dataset.name,
        description=f"Models trained on {_markdown(dataset.title)}: one run per model, with its"
        " curves, test scores and the model itself, and one run that compares them."
        " [Scores side by side]({view}), [curves]({charts}). Select two or more models and press"
        " *Compare*.",
        scores=MODEL_SCORES,
        parameters=("model", "data", "seed", "learning_rate", "dropout", "parameters"),
    )


def search_experiment(dataset: Dataset) -> Experiment:
    """Return the experiment of the hyperparameter searches on a data set."""
    return Experiment(
        name=f"{dataset.name}-search",
        description=f"Hyperparameter searches on {_markdown(dataset.title)}: one run per search,"
        " with a child run per trial. [Trials with their scores]({view}),"
        " [as parallel coordinates]({charts}).",
        scores=("best_val_accuracy", "best_val_loss", "best_epochs"),
        parameters=tuple(
            dict.fromkeys(["learning_rate", "dropout", *map(_own, RECORDS.values()), "epochs"])
        ),
        parallel_coordinates={
            f"{architecture(model)} trials": _axes(record)
            for model, record in itertools.islice(RECORDS.items(), CHARTS)
        },
    )


def _axes(record: type[Hyperparameters]) -> tuple[str, ...]:
    """Return the main hyperparameters of an architecture."""
    names = (_own(record), "dropout", "learning_rate")
    return tuple(dict.fromkeys(name for name in names if name in record.model_fields))


def _own(record: type[Hyperparameters]) -> str:
    """Return the first hyperparameter of an architecture's own, else the learning rate."""
    own = (name for name in record.__annotations__ if name in record.model_fields)
    return next(own, "learning_rate")


def registered_model(dataset: str, architecture: str) -> str:
    """Return the name under which the models of an architecture for a data set are registered."""
    return f"{dataset}-{architecture}"


def markdown(text: str) -> str:
    """Return a text of the user's as Markdown that shows it literally, on one line."""
    return re.sub(r"([\\`*_\[\]<>&#|~])", r"\\\1", " ".join(text.split()))


def _markdown(text: str) -> str:
    """Return a text for a description, in which braces are places of addresses."""
    return markdown(text).replace("{", "{{").replace("}", "}}")


def view_tags(experiment: Experiment, experiment_id: str) -> dict[str, str]:
    """Return the tags with an experiment's description and view."""
    view = {
        "searchFilter": "",
        "orderByKey": f"metrics.`{experiment.scores[0]}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [
            *(f"metrics.`{name}`" for name in experiment.scores),
            *(f"params.`{name}`" for name in experiment.parameters),
        ],
        **charts(experiment),
    }
    address = f"#/experiments/{experiment_id}/runs?{TRAINING_PAGES}&viewStateShareKey={VIEW}"
    return {
        NOTE_TAG: experiment.description.format(
            view=address, charts=f"{address}&compareRunsMode=CHART"
        ),
        f"{VIEW_TAG}{VIEW}": json.dumps(view),
    }


def charts(experiment: Experiment) -> dict[str, Any]:
    """Return the charts of an experiment's view by section, in the format of MLflow's UI.

    The UI adds a chart of every other metric below them.
    """
    sections: dict[str, list[dict[str, Any]]]
    if experiment.parallel_coordinates:
        sections = {
            title: [
                {
                    "type": "PARALLEL",
                    "selectedParams": axes,
                    "selectedMetrics": [experiment.scores[0]],
                }
            ]
            for title, axes in experiment.parallel_coordinates.items()
        }
    else:
        sections = {
            "Curves": [
                {
                    "type": "LINE",
                    "metricKey": name,
                    "displayName": name,
                    "xAxisKey": "step",
                    "xAxisScaleType": "linear",
                    "scaleType": "linear",
                    "lineSmoothness": 0,
                    "range": {},
                    "yAxisKey": "metric",
                    "yAxisExpressions": [],
                    "useGlobalXaxisKey": True,
                    "useGlobalLineSmoothing": True,
                }
                for name in CURVES
            ]
        }
    shown = {"deleted": False, "isGenerated": False}
    return {
        "compareRunCharts": [
            {
                "uuid": f"{section}-{number}",
                "metricSectionId": section,
                "runsCountToCompare": 100,
                "showAllRuns": True,
                **shown,
                **one,
            }
            for section, settings in sections.items()
            for number, one in enumerate(settings, 1)
        ],
        "compareRunSections": [
            {
                "uuid": section,
                "name": section,
                "columns": min(len(settings), 2),
                "cardHeight": 300,  # pixels
                "display": True,
                "isReordered": False,
                **shown,
            }
            for section, settings in sections.items()
        ],
    }
