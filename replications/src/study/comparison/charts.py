"""Draw the figures of the page, in the style of the library's plots."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sidebyside.reporting.plot_style import (
    BLUE,
    COLOURS,
    MARKERS,
    ROUND_STEPS,
    Figure,
    MaxNLocator,
    PercentFormatter,
    styled,
)
from study.plan import CLASS_NAMES

ORANGE = COLOURS[1]
FEW = 10  # maximum number of values with a tick each
Curve = tuple[Sequence[float], Sequence[float]]  # x, y


@styled
def accuracies(
    published: Mapping[str, float | None], measured: Mapping[str, Sequence[float]]
) -> Figure:
    """Draw the test accuracy of every model, one point per seed, with the published value.

    Args:
        published: model → accuracy, or None.
        measured: model → accuracy per seed.
    """
    figure = Figure(figsize=(8.4, 0.3 * len(measured) + 1.2))
    axes = figure.subplots()
    for y, (name, values) in enumerate(measured.items()):
        axes.plot(values, [y] * len(values), "o", color=BLUE, alpha=0.6, markersize=5)
        if (printed := published[name]) is not None:
            axes.plot([printed], [y], "D", color=ORANGE, fillstyle="none", markersize=8)
    axes.plot([], [], "o", color=BLUE, label="measured (one point per seed)")
    axes.plot([], [], "D", color=ORANGE, fillstyle="none", label="published")
    axes.set_yticks(range(len(measured)), list(measured))
    axes.set_ylim(len(measured) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axes.set_xlabel("Test accuracy")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def agreement(rows: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Draw measured over published accuracies of a grid, with the line of equality.

    Args:
        rows: part of the grid → (published, measured) of each row.
    """
    figure = Figure(figsize=(5.4, 5.2))
    axes = figure.subplots()
    for (name, pairs), colour, marker in zip(rows.items(), COLOURS, MARKERS, strict=False):
        axes.plot(*np.array(pairs).T, marker, color=colour, label=name, alpha=0.8)
    everything = [value for pairs in rows.values() for pair in pairs for value in pair]
    ends = [min(everything), max(everything)]
    axes.plot(ends, ends, color="#555555", linewidth=1, label="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=1))
        axis.set_major_locator(MaxNLocator(6, steps=ROUND_STEPS))
    axes.set_xlabel("Published test accuracy")
    axes.set_ylabel("Measured test accuracy")
    axes.set_title("Rows of the grid")
    axes.legend()
    return figure


@styled
def settled(losses: Mapping[str, Sequence[Sequence[float]]], first: int) -> Figure:
    """Draw validation losses from an epoch on, one panel per model and one line per seed.

    Args:
        losses: model → seeds → loss of every epoch.
        first: the first epoch to draw, counted from 1.
    """
    figure = Figure(figsize=(8.4, 3.2))
    panels = figure.subplots(1, len(losses), sharex=True, sharey=True, squeeze=False).flat
    for axes, (name, seeds), colour in zip(panels, losses.items(), COLOURS, strict=False):
        for values in seeds:
            late = values[first - 1 :]
            axes.plot(range(first, first + len(late)), late, color=colour, linewidth=0.9, alpha=0.8)
        axes.set_title(name, fontsize="medium")
        axes.set_xlabel("Epoch")
    figure.axes[0].set_ylabel("Validation loss (nats)")
    return figure


@styled
def sweeps(panels: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """Draw validation accuracies over the values of each varied hyperparameter.

    Args:
        panels: hyperparameter → line → (values, accuracies).
    """
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(6.8, 2.9 * rows))
    for number, (name, lines) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, 2, number)
        ticks = sorted({x for values, _ in lines.values() for x in values})
        few = len(ticks) <= FEW  # equal spacing then separates learning rates
        for (label, (values, accuracies)), colour, marker in zip(
            lines.items(), COLOURS, MARKERS, strict=False
        ):
            if few:
                positions = [ticks.index(x) for x in values]
                axes.plot(positions, accuracies, marker=marker, color=colour, label=label)
            else:
                axes.plot(values, accuracies, color=colour, label=label)
        if few:
            axes.set_xticks(range(len(ticks)), [f"{x:g}" for x in ticks])
        axes.set_xlabel(name)
        axes.set_ylabel("Validation accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=ROUND_STEPS))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


@styled
def class_f1(
    published: Mapping[str, Sequence[float]], measured: Mapping[str, NDArray[np.float64]]
) -> Figure:
    """Draw the F1 of every class by seed, with the published value, one panel per model.

    Args:
        published: model → F1 per class.
        measured: model → F1 [seeds, 10].
    """
    figure = Figure(figsize=(7.8, 3.4 * ((len(measured) + 1) // 2)))
    grid = figure.subplots((len(measured) + 1) // 2, 2, squeeze=False, sharey=True, sharex=True)
    for axes, (name, values) in zip(grid.flat, measured.items(), strict=False):
        for seed in values:
            axes.plot(seed, range(len(CLASS_NAMES)), "o", color=BLUE, alpha=0.6, markersize=4)
        axes.plot(published[name], range(len(CLASS_NAMES)), "D", color=ORANGE, fillstyle="none")
        axes.set_yticks(range(len(CLASS_NAMES)), CLASS_NAMES)
        axes.set_title(name, fontsize="medium")
        axes.set_xlabel("F1")
        axes.tick_params(labelbottom=True)  # there may be no panel below to show them
    for axes in grid.flat[len(measured) :]:
        axes.set_visible(False)
    grid.flat[0].set_ylim(len(CLASS_NAMES) - 0.5, -0.5)
    axes = grid.flat[0]
    axes.plot([], [], "o", color=BLUE, label="measured (one point per seed)")
    axes.plot([], [], "D", color=ORANGE, fillstyle="none", label="published")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
