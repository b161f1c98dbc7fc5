"""Select the data of the page's figures, and draw them."""

from collections.abc import Mapping, Sequence

import numpy as np

from sidebyside.config.search_space import searched_hyperparameters
from sidebyside.data.splits import Split
from sidebyside.evaluation.predictions import predicted_labels
from sidebyside.reporting import evaluation_plots, training_plots
from study.comparison import charts
from study.comparison.charts import Curve
from study.comparison.findings import Models, is_row, printed
from study.comparison.results import WARM_UP, SearchResult
from study.plan import CLASS_NAMES, Plan

Figures = dict[str, bytes]  # path beside the page → PNG
SWEPT = {  # hyperparameter → label of the axis
    "dropout": "Dropout",
    "learning_rate": "Learning rate",
    "batch_size": "Batch size",
}


def figures(
    plan: Plan, models: Models, searches: Mapping[str, SearchResult], test: Split
) -> Figures:
    """Return every figure of the page for which the plan has models or searches."""
    return {
        **_accuracies(plan, models),
        **_grid(plan, models),
        **_sweeps(plan, models, searches),
        **_class_f1(plan, models),
        **_curves(plan, models),
        **_confusion(plan, models),
        **_predictions(plan, models, test),
    }


def _accuracies(plan: Plan, models: Models) -> Figures:
    published: dict[str, float | None] = {}
    measured: dict[str, Sequence[float]] = {}
    for name, part in sorted(plan.trained.items(), key=lambda item: item[1].system):
        if not is_row(name):
            text, label = printed(part).get("test_accuracy"), f"{part.system}. {part.title}"
            published[label] = float(text) if text else None
            measured[label] = models[name].metrics["test_accuracy"]
    return {"figures/accuracy.png": charts.accuracies(published, measured)}


def _grid(plan: Plan, models: Models) -> Figures:
    parts: dict[str, list[tuple[float, float]]] = {}
    for name, row in plan.models.items():
        if is_row(name):
            published = float(printed(row)["test_accuracy"])
            layers = len(row.hyperparameters["hidden_units"])
            parts.setdefault(f"{layers} hidden layers", []).append(
                (published, models[name].metrics["test_accuracy"][0])
            )
    return {"figures/grid.png": charts.agreement(parts)} if parts else {}


def _sweeps(plan: Plan, models: Models, searches: Mapping[str, SearchResult]) -> Figures:
    """Return the sweeps of system 3, with and without L2: a panel per hyperparameter and epochs."""
    panels: dict[str, dict[str, Curve]] = {}
    for name, part in plan.searches.items():
        varied = [key for key in searched_hyperparameters(part.ranges()) if key != "l2"]
        if part.search.strategy != "grid" or len(varied) != 1 or varied[0] not in SWEPT:
            continue
        points: dict[float, list[tuple[float, float]]] = {}
        for trial in searches[name].trials:
            if trial["val_accuracy"]:  # a failed trial has none
                l2 = float(trial.get("l2", part.space["l2"]))
                points.setdefault(l2, []).append(
                    (float(trial[varied[0]]), float(trial["val_accuracy"]))
                )
        lines: dict[str, Curve] = {}
        for l2, pairs in sorted(points.items()):
            values, accuracies = zip(*sorted(pairs), strict=True)
            lines[_l2(l2)] = (values, accuracies)
        panels[SWEPT[varied[0]]] = lines
    if not panels:
        return {}
    epochs: dict[str, Curve] = {}
    for name, model in plan.models.items():
        if model.system == "3" and name.startswith("3-tyler"):
            curves = [one["val_accuracy"] for one in models[name].histories.values()]
            mean = np.mean(curves, axis=0).tolist()
            epochs[_l2(model.hyperparameters["l2"])] = (range(1, len(mean) + 1), mean)
    if epochs:
        panels["Epochs (mean over seeds)"] = epochs
    return {"figures/sweeps.png": charts.sweeps(panels)}


def _l2(value: float) -> str:
    return f"L2 {value:g}" if value else "without L2"


def _class_f1(plan: Plan, models: Models) -> Figures:
    shown = {name: part for name, part in plan.models.items() if "f1" in printed(part)}
    if not shown:
        return {}
    published = {
        part.title: [float(value) for value in printed(part)["f1"].split()]
        for part in shown.values()
    }
    measured = {part.title: models[name].of_classes("f1") for name, part in shown.items()}
    return {"figures/f1.png": charts.class_f1(published, measured)}


def _curves(plan: Plan, models: Models) -> Figures:
    """Return the curves of both models of each claim about the volatility of curves."""
    drawn = {}
    for claim in plan.claims:
        if claim.metric != "val_loss_changes":
            continue
        lines = {
            f"{name} seed {seed}": (plan.trained[name].title, history)
            for name in (claim.second, claim.first)
            for seed, history in models[name].histories.items()
        }
        drawn[f"figures/curves-{claim.second}.png"] = training_plots.curves(
            {label: history for label, (_, history) in lines.items()},
            {label: title for label, (title, _) in lines.items()},
        )
        losses = {
            plan.trained[name].title: [
                history["val_loss"] for history in models[name].histories.values()
            ]
            for name in (claim.second, claim.first)
        }
        drawn[f"figures/val-loss-{claim.second}.png"] = charts.settled(losses, WARM_UP + 1)
    return drawn


def _confusion(plan: Plan, models: Models) -> Figures:
    """Return the confusion matrices of systems 2 and 3, which print four each."""
    return {
        f"figures/confusion-{name}.png": evaluation_plots.confusion_matrix(
            models[name].confusion, CLASS_NAMES, f"{part.title}, seed {part.seeds[0]}"
        )
        for name, part in plan.models.items()
        if part.system in ("2", "3")
    }


def _predictions(plan: Plan, models: Models, test: Split) -> Figures:
    """Return thirty predictions of the last CNN of system 4, as in its document."""
    cnns = [name for name, part in plan.models.items() if (part.system, part.model) == ("4", "cnn")]
    if not cnns:
        return {}
    shown = models[cnns[-1]]
    return {
        "figures/predictions.png": evaluation_plots.predictions(
            test.images[: len(shown.labels)],
            shown.labels,
            predicted_labels(shown.probabilities),
            shown.probabilities,
            CLASS_NAMES,
            f"First test images: {plan.models[cnns[-1]].title}",
        )
    }
