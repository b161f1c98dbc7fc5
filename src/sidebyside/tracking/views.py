"""Experiments as MLflow's UI shows them: descriptions, columns and charts."""

import json
from typing import Any

TRAINING = "fashion-mnist"
SEARCH = "fashion-mnist-search"
REPLICATIONS = "fashion-mnist-replications"
COMPARISON = "comparison"  # the run of TRAINING that compares all models
EXPERIMENTS = {  # name → description; {view} and {charts} become addresses of its view below
    TRAINING: "One run per trained model, with its curves, test scores and the model itself, and"
    " one run that compares them. [Scores side by side]({view}), [curves]({charts}). Select an MLP"
    " and a CNN and press *Compare*.",
    SEARCH: "One run per search for hyperparameters, with a child run per trial."
    " [Trials with their scores]({view}), [as parallel coordinates]({charts}).",
    REPLICATIONS: "The published systems, rebuilt: one run per model and seed, and one per search,"
    " with a child run per trial. The number at the beginning of a name is the system's."
    " [Scores side by side]({view}), [curves]({charts}).",
}
_SCORES = ("test_accuracy", "test_f1_macro", "test_log_loss", "best_val_accuracy", "best_epoch")
_TRIAL_SCORES = ("best_val_accuracy", "best_val_loss", "best_epochs")
# The columns that matter: experiment → metrics, by the first of which it is sorted, and parameters.
COLUMNS = {
    TRAINING: (_SCORES, ("model", "data", "seed", "learning_rate", "dropout", "parameters")),
    SEARCH: (_TRIAL_SCORES, ("learning_rate", "dropout", "hidden_units", "filters", "epochs")),
    REPLICATIONS: (_SCORES, ("model", "data", "seed", "optimizer", "learning_rate", "batch_size")),
}
# The view's charts: of a metric by epoch, or of a score over the parameters of the trials that have
# all of them, which are those of one architecture.
CURVES = ("val_accuracy", "val_loss", "accuracy", "loss")
TRIALS = {
    "mlp": ("hidden_units", "dropout", "learning_rate"),
    "cnn": ("filters", "dropout", "learning_rate"),
}
VIEW = "columns"  # what the view is called in its address
NOTE_TAG = "mlflow.note.content"
KIND_TAG = "mlflow.experimentKind"  # without it the UI opens its pages for language models
VIEW_TAG = "mlflow.sharedViewState."  # what the UI keeps for an address that people share


def registered_model(architecture: str) -> str:
    """Return the name under which the models of an architecture are registered."""
    return f"{TRAINING}-{architecture}"


def experiment_tags(experiment: str, number: str) -> dict[str, str]:
    """Return the tags that describe an experiment and hold its view; none for one unknown.

    Args:
        experiment: its name.
        number: its id.
    """
    if experiment not in EXPERIMENTS:
        return {}
    metrics, parameters = COLUMNS[experiment]
    view = {
        "searchFilter": "",
        "orderByKey": f"metrics.`{metrics[0]}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [
            *(f"metrics.`{name}`" for name in metrics),
            *(f"params.`{name}`" for name in parameters),
        ],
        **charts(experiment),
    }
    address = f"#/experiments/{number}/runs?viewStateShareKey={VIEW}"
    return {
        NOTE_TAG: EXPERIMENTS[experiment].format(
            view=address, charts=f"{address}&compareRunsMode=CHART"
        ),
        f"{VIEW_TAG}{VIEW}": json.dumps(view),
    }


def charts(experiment: str) -> dict[str, Any]:
    """Return the charts of an experiment's view by section, in the terms of MLflow's UI.

    Those of all other metrics follow below; the UI adds them by itself.
    """
    if experiment == SEARCH:
        sections: dict[str, list[dict[str, Any]]] = {
            f"Trials of the {model}": [
                {
                    "type": "PARALLEL",
                    "selectedParams": axes,
                    "selectedMetrics": [COLUMNS[SEARCH][0][0]],
                }
            ]
            for model, axes in TRIALS.items()
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
