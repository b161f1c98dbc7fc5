"""Plots of the test results: accuracy, calibration, confusion, differences, example predictions."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidebyside.reporting.plot_style import (
    BLUE,
    COLOURS,
    MARKERS,
    RED,
    ROUND_STEPS,
    Figure,
    FuncFormatter,
    Images,
    Labels,
    MaxNLocator,
    PercentFormatter,
    class_labels,
    legend_below,
    show_image,
    styled,
)

FEW = 4  # models whose names have room inside a reliability diagram
LARGE = 10  # classes of a confusion matrix with room for large numbers
NUMBERED = 20  # maximum of classes of a confusion matrix with numbers in its cells
TICKS = 50  # maximum of classes named beside a confusion matrix
MOST_CLASSES = 25  # maximum of rows in the figure of differences in F1
FEWEST = 10  # images in a bin; the accuracy of fewer is not informative

Probabilities = NDArray[np.floating[Any]]  # [N, classes]
Bin = tuple[float, float, int, float, float]  # low, high, images, confidence, accuracy


@styled
def accuracy_intervals(
    names: Sequence[str],
    values: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    val: Sequence[float],
) -> Figure:
    """Draw the test accuracy with its interval and the validation accuracy of every model.

    Args:
        names: names of the models.
        values: test accuracy of each model.
        low: lower limit of each interval.
        high: upper limit of each interval.
        val: validation accuracy of each model.
    """
    figure = Figure(figsize=(6.6, 0.42 * len(names) + 1.7))
    axes = figure.subplots()
    rows = np.arange(len(names))
    axes.hlines(rows, low, high, color=BLUE, linewidth=2)
    axes.plot(values, rows, "o", color=BLUE, markersize=7, label="test, with confidence interval")
    axes.plot(val, rows, "D", color="#d55e00", markersize=7, fillstyle="none", label="validation")
    axes.set_yticks(rows, names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.margins(x=0.08)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=ROUND_STEPS))
    axes.set_xlabel("Accuracy")
    axes.set_title("Accuracy of the models")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def confusion_matrix(counts: NDArray[np.int64], class_names: Sequence[str], title: str) -> Figure:
    """Draw a confusion matrix: cells coloured by their share of the row, with their counts.

    Cells of more than NUMBERED classes have no counts; of more than TICKS classes, only some have
    their name beside the matrix.

    Args:
        counts: images [classes, classes], row = true class, column = predicted class.
        class_names: names of the classes.
        title: title of the figure.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    classes = len(class_names)
    figure = Figure(figsize=(6.8, 6.1) if classes <= LARGE else (9.6, 8.4))
    axes = figure.subplots()
    axes.grid(visible=False)
    # The square root keeps rare errors visible beside a diagonal close to one.
    picture = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape) if classes <= NUMBERED else ():
        axes.text(
            column,
            row,
            str(counts[row, column]) if counts[row, column] else "·",
            ha="center",
            va="center",
            color="white" if shares[row, column] > 0.4 else "black",
            fontweight="bold" if row == column else "normal",
            fontsize=10 if classes <= LARGE else 8,
        )
    ticks = range(0, classes, math.ceil(classes / TICKS))
    named = [class_labels(class_names, 20)[tick] for tick in ticks]
    size = 10 if classes <= NUMBERED else 7
    axes.set_xticks(ticks, named, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(ticks, named, fontsize=size)
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")
    axes.set_title(title)
    axes.spines[:].set_visible(False)
    marks = np.array([0, 0.01, 0.05, 0.2, 0.5, 1])
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, label="Share of the true class")
    bar.set_ticks(np.sqrt(marks).tolist(), labels=[f"{mark:.0%}" for mark in marks])
    return figure


@styled
def reliability(tables: Mapping[str, Sequence[Bin]]) -> Figure:
    """Draw a reliability diagram: accuracy and share of the images by predicted probability.

    Args:
        tables: model → (low, high, images, confidence, accuracy) per bin; confidence and accuracy
            are NaN in an empty bin.
    """
    figure = Figure(figsize=(6.6, 7))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], ":", color="#555555", label="perfectly calibrated")
    for (name, table), colour, marker in zip(
        tables.items(), itertools.cycle(COLOURS), itertools.cycle(MARKERS), strict=False
    ):
        rows = [row for row in table if row[2] >= FEWEST]
        look = {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.3}
        upper.plot([row[3] for row in rows], [row[4] for row in rows], label=name, **look)
        total = sum(row[2] for row in table)
        lower.plot([row[3] for row in rows], [row[2] / total for row in rows], **look)
    upper.set_ylabel("Accuracy")
    upper.set_title("Reliability (above the dotted line: underconfident)")
    upper.set_ylim(0, 1.02)
    if len(tables) <= FEW:
        upper.legend(loc="upper left")
    else:
        legend_below(figure, upper, columns=3)
    lower.set_ylabel("Share of images")
    lower.set_ylim(bottom=0)
    lower.set_xlabel(
        "Probability of the predicted class\n"
        f"(mean of each bin; bins with fewer than {FEWEST} images left out)"
    )
    lower.set_xlim(0, 1.02)
    for axis in (upper.yaxis, lower.yaxis, lower.xaxis):
        axis.set_major_formatter(PercentFormatter(1))
    return figure


@styled
def f1_change(
    changes: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    class_names: Sequence[str],
    first: str,
    second: str,
) -> Figure:
    """Draw the difference in the F1 of some classes, with its interval.

    Args:
        changes: F1 of the second model minus F1 of the first, per class.
        intervals: (low, high) of each difference.
        class_names: names of the classes.
        first: name of the first model.
        second: name of the second model.
    """
    figure = Figure(figsize=(6.6, 0.34 * len(changes) + 1.5))
    axes = figure.subplots()
    axes.axvline(0, color="#555555", linewidth=1)
    for row, (change, (low, high)) in enumerate(zip(changes, intervals, strict=True)):
        better = low > 0 or high < 0
        colour = BLUE if change > 0 else "#d55e00"
        axes.hlines(row, low, high, color=colour, linewidth=2)
        axes.plot(
            change, row, "o", color=colour, fillstyle="full" if better else "none", markersize=7
        )
    axes.set_yticks(range(len(changes)), class_labels(class_names, 24))
    axes.set_ylim(len(changes) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}"))
    axes.set_xlabel(f"Percentage points (right of zero: {second} is better)")
    axes.set_title(f"F1 per class: {second} minus {first}")
    return figure


def most_changed(changes: Sequence[float]) -> list[int]:
    """Return the classes to draw: all, or those with the largest differences, largest first."""
    if len(changes) <= MOST_CLASSES:
        return list(range(len(changes)))
    order: list[int] = np.argsort(-np.abs(changes), kind="stable").tolist()
    return order[:MOST_CLASSES]


@styled
def predictions(
    images: Images,
    labels: Labels,
    predicted: Labels,
    probabilities: Probabilities,
    class_names: Sequence[str],
    title: str,
    columns: int = 5,
) -> Figure:
    """Draw images with the model's predictions: blue if correct, red if wrong.

    Args:
        images: uint8 [N, height, width] or [N, height, width, 3].
        labels: true classes, uint8 [N].
        predicted: predicted classes, uint8 [N].
        probabilities: predicted probability of each class, [N, classes].
        class_names: names of the classes.
        title: title of the figure.
        columns: maximum number of images side by side.
    """
    columns = min(columns, len(labels))
    rows = math.ceil(len(labels) / columns)
    figure = Figure(figsize=(max(4.0, 1.4 * columns), 1.55 * rows + 0.6))
    grid = figure.subplots(rows, columns, squeeze=False)
    names = class_labels(class_names, 11)
    for index, axes in enumerate(grid.flat):
        if index >= len(labels):
            axes.set_axis_off()
            continue
        correct = predicted[index] == labels[index]
        share = probabilities[index, predicted[index]]
        show_image(axes, images[index])
        axes.set_xlabel(
            f"{'✓' if correct else '✗'} {names[predicted[index]]} {share:.0%}\n"
            f"true: {names[labels[index]]}",
            color=BLUE if correct else RED,
            fontweight="normal" if correct else "bold",
            fontsize=9,
        )
    figure.suptitle(title)
    return figure
