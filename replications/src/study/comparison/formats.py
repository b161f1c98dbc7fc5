"""Format metrics, differences and hyperparameters for the page."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sidebyside.config.hyperparameters import per_layer
from study.comparison.findings import Number
from study.plan import CLASS_NAMES, PER_CLASS, PrintedModel

NOTHING = "–"
# Lists of hyperparameters with one value per layer → the hyperparameter that sets the layers.
LAYERS = {"dropout": "hidden_units", "block_dropout": "filters", "kernel_size": "filters"}
CLASS_METRICS = dict(zip(PER_CLASS, ("precision", "recall", "F1"), strict=True))
METRICS = {  # metric of a document or a claim → its name on the page
    "train_loss": "loss on the training data",
    "train_accuracy": "accuracy on the training data",
    "test_accuracy": "test accuracy",
    "test_loss": "test loss",
    "val_accuracy": "validation accuracy",
    "val_loss": "validation loss",
    "fit_accuracy": "training accuracy",
    "fit_loss": "training loss",
    "parameters": "parameters",
    "gap": "generalisation gap",
    "epochs": "epochs",
    "val_loss_changes": "step size of the validation loss",
    **{f"macro_{metric}": f"macro {label}" for metric, label in CLASS_METRICS.items()},
    **{
        f"{metric}.{name}": f"{label} of {name}"
        for metric, label in CLASS_METRICS.items()
        for name in CLASS_NAMES
    },
}


def number(metric: str, value: float) -> str:
    """Return a value: counts with commas, scores with four decimals, NaN as a dash."""
    if math.isnan(value):
        return NOTHING
    return f"{value:,.0f}" if metric in ("parameters", "epochs") else f"{value:.4f}"


def mean(metric: str, value: float, deviation: float) -> str:
    """Return a mean ± standard deviation, or the mean alone if there is no deviation."""
    spread = "" if math.isnan(deviation) else f" ± {number(metric, deviation)}"
    return number(metric, value) + spread


def interval(metric: str, low: float, high: float) -> str:
    """Return a range, or its only value."""
    ends = [low] if low == high else [low, high]
    return " … ".join(number(metric, end) for end in ends)


def signed(metric: str, value: float) -> str:
    """Return a difference with its sign; zero has a plus."""
    if metric == "parameters":
        return f"{value:+,.0f}"
    decimals = 6 if metric.endswith("_changes") else 4  # steps of a loss are small
    return f"{round(value, decimals) + 0.0:+.{decimals}f}"  # + 0.0 turns -0.0 into 0.0


def position(one: Number) -> str:
    """Return the position of a published number, and whether that is better or worse."""
    if one.compared.seeds == 1:
        return NOTHING
    if one.rating == one.compared.position:
        return one.rating
    return f"{one.compared.position} ({one.rating})"


def layers(h: Mapping[str, Any]) -> str:
    """Return the hidden layers of an MLP, or the blocks and the dense layer of a CNN."""
    if "hidden_units" in h:
        return "-".join(map(str, h["hidden_units"]))
    sizes = per_layer(h["kernel_size"], len(h["filters"]))
    size = "/".join(f"{side}×{side}" for side in dict.fromkeys(sizes))
    dense = f", dense {h['dense_units']}" if h["dense_units"] else ""
    return f"{'-'.join(map(str, h['filters']))} filters of {size}, {h['padding']} padding{dense}"


def dropout(h: Mapping[str, Any]) -> str:
    """Return the dropout rates of a model by kind of layer."""
    if "hidden_units" in h:
        hidden = per_layer(h["dropout"], len(h["hidden_units"]))
        rates = {"input": [h["input_dropout"]], "hidden": hidden}
    else:
        blocks = per_layer(h["block_dropout"], len(h["filters"]))
        rates = {"block": blocks, "hidden": per_layer(h["dropout"], 1)}
    texts = [f"{kind} {_rates(values)}" for kind, values in rates.items() if any(values)]
    return ", ".join(texts) or NOTHING


def _rates(rates: Sequence[float]) -> str:
    """Return one rate if all layers share it, else the rates in the order of the layers."""
    shown = {*rates} if len({*rates}) == 1 else rates
    return "/".join(f"{rate:g}" for rate in shown)


def optimizer(h: Mapping[str, Any]) -> str:
    """Return the optimizer with its learning rate and the L2 factor, if any."""
    l2 = f", L2 {h['l2']:g}" if h["l2"] else ""
    return f"{h['optimizer']} {h['learning_rate']:g}{l2}"


def epoch_limit(settings: Mapping[str, Any]) -> str:
    """Return the maximum number of epochs, with patience and metric of early stopping, if any."""
    if settings["patience"] >= settings["epochs"]:
        return f"{settings['epochs']}"
    metric = METRICS[settings["monitor"]]
    return f"{settings['epochs']}, patience {settings['patience']} ({metric})"


def row(part: PrintedModel) -> str:
    """Return the hyperparameters that distinguish the rows of the grid."""
    h = part.hyperparameters
    return f"{h['optimizer']} {h['learning_rate']:g}, batch {h['batch_size']}"


def values(models: Sequence[Mapping[str, Any]], names: Iterable[str]) -> str:
    """Return hyperparameters with their distinct values in one or more models."""
    return ", ".join(
        f"`{name}` {' or '.join(dict.fromkeys(_value(one, name) for one in models))}"
        for name in names
    )


def _value(h: Mapping[str, Any], key: str) -> str:
    """Return a hyperparameter as JSON; lists end at the last layer."""
    value, of_layers = h[key], h.get(LAYERS.get(key, ""))
    if of_layers and isinstance(value, Sequence):
        value = per_layer(value, len(of_layers))
    return json.dumps(value)
