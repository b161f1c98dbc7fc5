"""Compute the tables and values of system 4's grid, which has one training per row."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from sidebyside.reporting.page import Cells
from study.comparison import formats, hypothesis_tests
from study.comparison.findings import ROW_ACCURACIES, ROW_LOSSES, Models, is_row, printed
from study.comparison.formats import METRICS
from study.plan import Plan


def by_layers(plan: Plan, models: Models, system: str) -> list[dict[str, Any]]:
    """Return the tables of the grid and the values of their captions, by number of layers."""
    tables = []
    for layers, names in rows(plan, system).items():
        theirs = [float(printed(plan.models[name])["test_accuracy"]) for name in names]
        ours = [models[name].metrics["test_accuracy"][0] for name in names]
        best_published, best_measured = (
            [
                formats.row(plan.models[name])
                for name, value in zip(names, values, strict=True)
                if value == max(values)
            ]
            for values in (theirs, ours)
        )
        tables.append(
            {
                "layers": layers,
                "source": plan.models[names[0]].source,  # the same for all: see `check_rows`
                "agreement": hypothesis_tests.agreement(theirs, ours),
                "best_published": best_published,
                "best_measured": best_measured,
                "accuracies": _table(plan, models, names, ROW_ACCURACIES, ("epochs",)),
                "losses": _table(plan, models, names, ROW_LOSSES),
            }
        )
    return tables


def rows(plan: Plan, system: str) -> dict[int, list[str]]:
    """Return number of hidden layers → names of the grid's rows."""
    found: dict[int, list[str]] = {}
    for name, part in plan.models.items():
        if part.system == system and is_row(name):
            found.setdefault(len(part.hyperparameters["hidden_units"]), []).append(name)
    return found


def _table(
    plan: Plan,
    models: Models,
    names: Sequence[str],
    metrics: Sequence[str],
    measured_only: Sequence[str] = (),
) -> Cells:
    """Return rows of the grid with their published and measured metrics.

    Args:
        plan: the plan.
        models: results of all models.
        names: models of the rows.
        metrics: metrics to compare.
        measured_only: metrics that the document does not print.
    """
    cells = []
    for name in names:
        part, measured = plan.models[name], models[name].metrics
        theirs = printed(part)
        texts = [formats.row(part)]
        for metric in metrics:
            value = measured[metric][0]  # of the only seed
            difference = formats.signed(metric, value - float(theirs[metric]))
            texts += [theirs[metric], formats.number(metric, value), difference]
        texts += [formats.number(metric, measured[metric][0]) for metric in measured_only]
        cells.append(texts)
    columns = [
        header
        for metric in metrics
        for header in (f"{METRICS[metric]}, published", "measured", "difference")
    ]
    return Cells(["Row", *columns, *(METRICS[metric] for metric in measured_only)], cells)


def stopped_by_limit(plan: Plan, models: Models, system: str) -> list[str]:
    """Return the rows of the grid whose training ended at the epoch limit."""
    return [
        f"{layers} hidden layers, {formats.row(plan.models[name])}"
        for layers, names in rows(plan, system).items()
        for name in names
        if models[name].metrics["epochs"][0] == plan.models[name].training.epochs
    ]


def loss_distances(plan: Plan, models: Models, system: str) -> dict[str, dict[str, float]]:
    """Return the mean absolute difference of the grid's losses from the published ones.

    Returns:
        "best" and "last" epoch → "fit" and "val" → distance in nats; empty without rows.
    """
    distances: dict[str, dict[str, list[float]]] = {}
    for name in (name for names in rows(plan, system).values() for name in names):
        theirs = printed(plan.models[name])
        (history,) = models[name].histories.values()  # a row has one seed
        best = history["val_loss"].index(min(history["val_loss"]))
        for kind, column in (("fit", "loss"), ("val", "val_loss")):
            for epoch, index in (("best", best), ("last", -1)):
                distance = abs(history[column][index] - float(theirs[f"{kind}_loss"]))
                distances.setdefault(epoch, {}).setdefault(kind, []).append(distance)
    return {
        epoch: {kind: fmean(values) for kind, values in kinds.items()}
        for epoch, kinds in distances.items()
    }
