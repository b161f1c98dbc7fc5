"""Plots of training and search: learning curves and trials."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from sidebyside.reporting.plot_style import (
    COLOURS,
    Figure,
    MaxNLocator,
    PercentFormatter,
    legend_below,
    styled,
)

KEPT = "*"  # marker of the epoch or trial that was chosen
GREY = "#555555"
History = Mapping[str, Sequence[float]]  # column, such as val_loss → value per epoch


@styled
def curves(
    histories: Mapping[str, History],
    groups: Mapping[str, str] | None = None,
    kept_epochs: Mapping[str, int] | None = None,
) -> Figure:
    """Draw loss and accuracy by epoch, all models in one figure.

    Args:
        histories: model → column (loss, val_loss, accuracy, val_accuracy) → value per epoch.
        groups: model → group of models that share a colour and a line in the legend, such as
            models that differ only in their seed. By default each model is a group.
        kept_epochs: model → epoch, from 1, whose weights were kept, which is marked.
    """
    groups = groups or {name: name for name in histories}
    kept_epochs = kept_epochs or {}
    colours = dict(zip(dict.fromkeys(groups.values()), itertools.cycle(COLOURS), strict=False))
    many = len(colours) < len(groups)  # thin translucent lines, so none hides another
    figure = Figure(figsize=(6.6, 7.6))
    panels = figure.subplots(2, 1)
    named: set[str] = set()
    for name, history in histories.items():
        group = groups[name]
        for axes, column in zip(panels, ("loss", "accuracy"), strict=True):
            for key, line in ((column, "--"), (f"val_{column}", "-")):
                values = history[key]
                axes.plot(
                    range(1, len(values) + 1),
                    values,
                    line,
                    color=colours[group],
                    linewidth=(0.9 if many else 1.8) if line == "-" else (0.7 if many else 1.1),
                    alpha=0.7 if many else 1,
                    marker="o" if len(values) == 1 else "",
                    label=group if line == "-" and group not in named else None,
                )
            if name in kept_epochs:
                epoch = kept_epochs[name]
                kept = history[f"val_{column}"][epoch - 1]
                axes.plot(epoch, kept, KEPT, color=colours[group], markersize=9, clip_on=False)
        named.add(group)
    for axes, column in zip(panels, ("Loss", "Accuracy"), strict=True):
        axes.set_title(column)
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_ylabel("Cross-entropy (nats)")
    panels[1].set_ylabel("Accuracy")
    panels[1].yaxis.set_major_formatter(PercentFormatter(1))
    for line, label in (("-", "validation"), ("--", "training")):
        panels[0].plot([], [], line, color=GREY, label=label)
    if kept_epochs:
        panels[0].plot([], [], KEPT, color=GREY, markersize=9, label="epoch that was kept")
    legend_below(figure, panels[0], columns=3)
    return figure


@styled
def trials(objectives: Mapping[str, Sequence[float]], objective: str) -> Figure:
    """Draw the objective of every trial and mark the best, a panel per architecture, two a row.

    Args:
        objectives: architecture → objective of each trial in order, NaN for a failed trial.
        objective: name of the objective; lower is better if it ends in "loss".
    """
    columns = min(2, len(objectives))
    rows = math.ceil(len(objectives) / columns)
    figure = Figure(figsize=(max(4.5, 3.4 * columns), 3.1 * rows))
    panels = figure.subplots(rows, columns, squeeze=False).flat
    best_of = np.fmin if objective.endswith("loss") else np.fmax
    for axes, (model, values), colour in zip(
        panels, objectives.items(), itertools.cycle(COLOURS), strict=False
    ):
        score = np.asarray(values, np.float64)
        number = np.arange(1, len(score) + 1)
        axes.plot(number, score, "o", color=colour, label="trial")
        axes.step(number, best_of.accumulate(score), where="post", color=GREY, label="best so far")
        if not np.isnan(score).all():
            chosen = (np.nanargmin if objective.endswith("loss") else np.nanargmax)(score)
            axes.plot(
                number[chosen], score[chosen], KEPT, color="#d55e00", markersize=14, label="chosen"
            )
        axes.set_title(model)
        axes.set_xlabel("Trial")
        axes.set_ylabel(objective)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
    for axes in panels[len(objectives) :]:
        axes.set_axis_off()
    return figure
