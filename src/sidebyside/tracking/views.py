"""The experiments of a data set, and how MLflow's UI shows an experiment."""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sidebyside.config.dataset import Dataset
from sidebyside.reporting.formatting import architecture

CURVES = ("val_accuracy", "val_loss", "accuracy", "loss")  # learning curves that have a chart
VIEW = "columns"  # the name of an experiment's view in its address
TRAINING_PAGES = "workflowType=machine_learning"  # in an address, instead of those for LLMs
NOTE_TAG = "mlflow.note.content"
# The UI draws a run in the colour of this tag, or else in one derived from its id.
COLOUR_TAG = "mlflow.runColor"
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
    parameters: tuple[str, ...] = ()  # parameter columns
    bars: tuple[str, ...] = ()  # final scores, which have a bar chart: as curves, they are points
    # Architecture → axes of the parallel coordinates of its trials. Without any, the charts are
    # learning curves.
    parallel_coordinates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    backfill: str = "make backfill"  # the command that logs missing runs
    repeat: str = "dvc repro {stage}"  # the command that makes a run again


EXPERIMENT_TAG = "dvc.experiment"  # name of the DVC experiment that a run belongs to
DIFFERENCE = "difference"  # in accuracy between the models that a comparison is about
MODEL_SCORES = ("best_val_accuracy", "test_accuracy", DIFFERENCE)
# Columns that MLflow always shows, with their widths in pixels, which leave room for those above.
FIXED_COLUMNS = {"0": 73, "attributes.`Run Name`": 200, "runDateAndNestInfo": 120, "duration": 66}
CHARTS = 8  # of architectures in the view of a search; a tag has room for 5,000 characters
COMPARISON = "comparison"  # the run of a training experiment that compares all models


def training_experiment(dataset: Dataset) -> Experiment:
    """Return the experiment of the models trained on a data set, which has the data set's name."""
    return Experiment(
        name=dataset.name,
        description=f"Models trained on {_markdown(dataset.title)}: [table]({{view}}),"
        " [curves]({charts}). The note of each run *comparison* leads to the models side by side.",
        scores=MODEL_SCORES,
        bars=("best_val_accuracy", "best_val_loss", "test_accuracy", "test_log_loss"),
    )


def search_experiment(dataset: Dataset) -> Experiment:
    """Return the experiment of the hyperparameter searches on a data set."""
    return Experiment(
        name=f"{dataset.name}-search",
        description=f"Hyperparameter searches on {_markdown(dataset.title)}, with a child run per"
        " trial: [trials with their scores]({view}), [as parallel coordinates]({charts}).",
        scores=("best_val_accuracy", "best_val_loss"),
    )


def with_differing(experiment: Experiment, differing: Mapping[str, Sequence[str]]) -> Experiment:
    """Return an experiment whose view shows the parameters that differ between its runs.

    Args:
        experiment: an experiment of a data set.
        differing: architecture → parameters.
    """
    names = tuple(dict.fromkeys(itertools.chain.from_iterable(differing.values())))
    if experiment.bars:
        return replace(experiment, parameters=names)
    axes = {
        model: tuple(names) for model, names in itertools.islice(differing.items(), CHARTS) if names
    }
    return replace(experiment, parameters=names, parallel_coordinates=axes)


def architecture_score(model: str) -> str:
    """Return the metric that only trials of one architecture have.

    A chart of parallel coordinates shows all runs that have its parameters and metrics.
    """
    return f"{model}_val_accuracy"


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
    columns = _columns(experiment)
    view = {
        "searchFilter": "",
        "orderByKey": f"metrics.`{experiment.scores[0]}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [column for column in columns if column not in FIXED_COLUMNS],
        "columnOrder": list(columns),
        "columnWidths": columns,
        **charts(experiment),
    }
    address = f"#/experiments/{experiment_id}/runs?{TRAINING_PAGES}&viewStateShareKey={VIEW}"
    return {
        NOTE_TAG: experiment.description.format(
            view=address, charts=f"{address}&compareRunsMode=CHART"
        ),
        f"{VIEW_TAG}{VIEW}": json.dumps(view),
    }


def _columns(experiment: Experiment) -> dict[str, int]:
    """Return column → width in pixels, in their order, in the format of MLflow's UI."""
    names = {
        **{f"metrics.`{name}`": name for name in experiment.scores},
        f"tags.`{EXPERIMENT_TAG}`": EXPERIMENT_TAG,
        **{f"params.`{name}`": name for name in experiment.parameters},
    }
    return {**FIXED_COLUMNS, **{column: 30 + 6 * len(name) for column, name in names.items()}}


def charts(experiment: Experiment) -> dict[str, Any]:
    """Return the charts of an experiment's view by section, in the format of MLflow's UI.

    The UI adds a chart of every other metric below them.
    """
    sections: dict[str, list[dict[str, Any]]]
    if experiment.parallel_coordinates:
        sections = {
            f"{architecture(model)} trials": [
                {
                    "type": "PARALLEL",
                    "selectedParams": axes,
                    "selectedMetrics": [architecture_score(model)],
                }
            ]
            for model, axes in experiment.parallel_coordinates.items()
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
        if experiment.bars:
            sections["Scores"] = [{"type": "BAR", "metricKey": name} for name in experiment.bars]
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
