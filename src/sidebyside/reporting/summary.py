"""Summarize the scores of a run for the terminal."""

from collections.abc import Mapping, Sequence

Metrics = Mapping[str, Mapping[str, Mapping[str, float]]]  # model → split → metric → value

COLUMNS = {  # heading → split, metric
    "val accuracy": ("val", "accuracy"),
    "test accuracy": ("test", "accuracy"),
    "test macro F1": ("test", "f1_macro"),
    "test log loss": ("test", "log_loss"),
}


def text(metrics: Metrics) -> str:
    """Return an aligned table of the scores, and the best model in a line below it.

    Args:
        metrics: content of reports/evaluate/metrics.json.

    Raises:
        ValueError: there is no model.
    """
    best = best_model(metrics)
    rows = [["model", *COLUMNS]]
    for name, splits in metrics.items():
        scores = [f"{splits[split][metric]:.4f}" for split, metric in COLUMNS.values()]
        rows.append([name, *scores])
    accuracy = metrics[best]["test"]["accuracy"]
    return "\n".join(
        [
            *_aligned(rows),
            "",
            f"Best model by validation accuracy: {best} (test accuracy {100 * accuracy:.2f} %)",
        ]
    )


def best_model(metrics: Metrics) -> str:
    """Return the model with the highest validation accuracy, the first of equal ones.

    As `evaluation.selection.best_model`, which needs predictions and loads scikit-learn.

    Raises:
        ValueError: there is no model.
    """
    return max(metrics, key=lambda name: metrics[name]["val"]["accuracy"])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        )
        for row in rows
    ]
