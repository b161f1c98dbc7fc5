"""Tables and images → figures, as PNG bytes: the same bytes for the same input.

Figures are made without pyplot, in matplotlib's default style whatever the user's own settings.
Colours are those of Okabe and Ito, which colour-blind readers can tell apart; what a colour says
is said by shape, line or text too.
"""

import io
import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec

import numpy as np

# A notebook's processes inherit the name of its backend, which fails matplotlib's import where that
# backend is not installed. No backend is needed here.
os.environ["MPLBACKEND"] = "agg"

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from PIL import Image

from sidebyside.config.dataset import CLASS_NAMES, CLASSES, IMAGE_SIZE
from sidebyside.core.seeding import generator
from sidebyside.data.splits import Split
from sidebyside.reporting.page import DPI

BLUE, RED = "#0072b2", "#c8102e"
COLOURS = (BLUE, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a6d3b")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
GAP = 2  # pixels of white between images
WHITE = 255
FEW = 10  # images; the accuracy of fewer says nothing
ROUND_STEPS = (1, 2, 5, 10)  # between ticks, and their tenths: 0.5 % and not 0.8 %

Images = NDArray[np.uint8]  # [N, 28, 28]
Labels = NDArray[np.uint8]  # [N]
Probabilities = NDArray[np.floating[Any]]  # [N, 10]
History = Mapping[str, Sequence[float]]  # column, such as val_loss → a value per epoch
Bin = tuple[float, float, int, float, float]  # low, high, images, confidence, accuracy
Arguments = ParamSpec("Arguments")


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, bytes]:
    """Draw in the project's style and return the PNG."""

    @wraps(draw)
    def png(*args: Arguments.args, **kwargs: Arguments.kwargs) -> bytes:
        with style.context(["default", STYLE]):
            figure = draw(*args, **kwargs)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=DPI)
        # 256 colours: a third of the bytes and no difference to see. The tags of matplotlib's file,
        # its version among them, stay behind.
        with Image.open(buffer) as picture:
            few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        result = io.BytesIO()
        few.save(result, "png", optimize=True)
        return result.getvalue()

    return png


@styled
def samples(split: Split, per_class: int, seed: int) -> Figure:
    """Return a grid of images drawn at random: a row per class, at most `per_class` in it."""
    random = generator(seed, "samples")
    cell = IMAGE_SIZE + GAP
    canvas = np.full((CLASSES * cell - GAP, per_class * cell - GAP), WHITE, np.uint8)
    for label in range(CLASSES):
        members = np.flatnonzero(split.labels == label)
        drawn = random.choice(members, min(per_class, len(members)), replace=False)
        for column, index in enumerate(drawn):
            top, left = label * cell, column * cell
            canvas[top : top + IMAGE_SIZE, left : left + IMAGE_SIZE] = split.images[index]
    figure = Figure(figsize=(1.2 + 0.45 * per_class, 0.45 * CLASSES + 0.4))
    axes = figure.subplots()
    _show(axes, canvas)
    axes.set_yticks([label * cell + IMAGE_SIZE / 2 for label in range(CLASSES)], CLASS_NAMES)
    axes.tick_params(left=False)
    axes.set_title("Random images of each class")
    return figure


@styled
def before_after(sources: Images, results: Images, labels: Labels) -> Figure:
    """Return pairs of images: a training image, and beside it the new one made from it.

    Args:
        sources: uint8 [N, 28, 28].
        results: uint8 [N, 28, 28], in the same order.
        labels: their classes, uint8 [N].
    """
    columns = min(5, len(labels))
    rows = math.ceil(len(labels) / columns)
    figure = Figure(figsize=(max(3.5, 1.6 * columns), 1.12 * rows + 0.5))
    grid = figure.subplots(rows, columns, squeeze=False)
    gap = np.full((IMAGE_SIZE, GAP), WHITE, np.uint8)
    for index, axes in enumerate(grid.flat):
        if index >= len(labels):
            axes.set_axis_off()
            continue
        _show(axes, np.hstack([sources[index], gap, results[index]]))
        axes.set_title(CLASS_NAMES[labels[index]], fontweight="normal", fontsize=9)
    figure.suptitle("Left: training image, right: new image made from it")
    return figure


@styled
def confusion_matrix(counts: NDArray[np.int64], title: str) -> Figure:
    """Return a confusion matrix: counts in the cells, coloured by their share of the row.

    Args:
        counts: images [10, 10], row = true class, column = predicted class.
        title: whose it is.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6.8, 6.1))
    axes = figure.subplots()
    axes.grid(visible=False)
    # The square root keeps the few errors visible beside a diagonal near one.
    picture = axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(CLASSES, CLASSES):
        axes.text(
            column,
            row,
            str(counts[row, column]) if counts[row, column] else "·",
            ha="center",
            va="center",
            color="white" if shares[row, column] > 0.4 else "black",
            fontweight="bold" if row == column else "normal",
        )
    axes.set_xticks(range(CLASSES), CLASS_NAMES, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(CLASSES), CLASS_NAMES)
    axes.set_xlabel("Predicted class")
    axes.set_ylabel("True class")
    axes.set_title(title)
    axes.spines[:].set_visible(False)
    marks = np.array([0, 0.01, 0.05, 0.2, 0.5, 1])
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, label="Share of the true class")
    bar.set_ticks(np.sqrt(marks).tolist(), labels=[f"{mark:.0%}" for mark in marks])
    return figure


@styled
def curves(histories: Mapping[str, History], groups: Mapping[str, str] | None = None) -> Figure:
    """Return loss and accuracy over the epochs, all models in one figure.

    Args:
        histories: model → column (loss, val_loss, accuracy, val_accuracy) → value per epoch.
        groups: model → group of models that share a colour and a line in the legend, such as
            those that differ in nothing but their seed. Without it every model is its own.
    """
    groups = groups or {name: name for name in histories}
    colours = dict(zip(dict.fromkeys(groups.values()), itertools.cycle(COLOURS), strict=False))
    many = len(colours) < len(groups)  # of one colour, thin and translucent: none hides another
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
        named.add(group)
    for axes, column in zip(panels, ("Loss", "Accuracy"), strict=True):
        axes.set_title(column)
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_ylabel("Cross-entropy (nats)")
    panels[1].set_ylabel("Share of images right")
    panels[1].yaxis.set_major_formatter(PercentFormatter(1))
    for line, label in (("-", "validation"), ("--", "training")):
        panels[0].plot([], [], line, color="#555555", label=label)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@styled
def reliability(tables: Mapping[str, Sequence[Bin]]) -> Figure:
    """Return how often each model is right where it says a probability, and how often it says it.

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
        rows = [row for row in table if row[2] >= FEW]
        look = {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.3}
        upper.plot([row[3] for row in rows], [row[4] for row in rows], label=name, **look)
        total = sum(row[2] for row in table)
        lower.plot([row[3] for row in rows], [row[2] / total for row in rows], **look)
    upper.set_ylabel("Share of images right")
    upper.set_title("Reliability: above the dotted line too modest, below it too sure")
    upper.set_ylim(0, 1.02)
    upper.legend(loc="upper left")
    lower.set_ylabel("Share of images")
    lower.set_ylim(bottom=0)
    lower.set_xlabel(
        "Probability of the predicted class\n"
        f"(mean of each bin; bins with fewer than {FEW} images left out)"
    )
    lower.set_xlim(0, 1.02)
    for axis in (upper.yaxis, lower.yaxis, lower.xaxis):
        axis.set_major_formatter(PercentFormatter(1))
    return figure


@styled
def predictions(
    images: Images, labels: Labels, predicted: Labels, probabilities: Probabilities, title: str
) -> Figure:
    """Return images with what the model says: blue where it is right, red where it is wrong.

    Args:
        images: uint8 [N, 28, 28].
        labels: true classes, uint8 [N].
        predicted: classes the model gives, uint8 [N].
        probabilities: of each class, [N, 10].
        title: whose predictions these are.
    """
    columns = min(5, len(labels))
    rows = math.ceil(len(labels) / columns)
    figure = Figure(figsize=(max(4.0, 1.4 * columns), 1.55 * rows + 0.6))
    grid = figure.subplots(rows, columns, squeeze=False)
    for index, axes in enumerate(grid.flat):
        if index >= len(labels):
            axes.set_axis_off()
            continue
        right = predicted[index] == labels[index]
        share = probabilities[index, predicted[index]]
        _show(axes, images[index])
        axes.set_xlabel(
            f"{'✓' if right else '✗'} {CLASS_NAMES[predicted[index]]} {share:.0%}\n"
            f"true: {CLASS_NAMES[labels[index]]}",
            color=BLUE if right else RED,
            fontweight="normal" if right else "bold",
            fontsize=9,
        )
    figure.suptitle(title)
    return figure


@styled
def trials(objectives: Mapping[str, Sequence[float]], objective: str) -> Figure:
    """Return a dot per trial and the best so far, a panel per model.

    Args:
        objectives: model → score of each trial in the order they ran; NaN for a failed one.
        objective: what the score is; the lower the better if it ends in "loss".
    """
    figure = Figure(figsize=(max(4.5, 3.4 * len(objectives)), 3.1))
    panels = figure.subplots(1, len(objectives), squeeze=False).flat
    best_of = np.fmin if objective.endswith("loss") else np.fmax
    for axes, (model, values), colour in zip(
        panels, objectives.items(), itertools.cycle(COLOURS), strict=False
    ):
        score = np.asarray(values, np.float64)
        number = np.arange(1, len(score) + 1)
        axes.plot(number, score, "o", color=colour, label="trial")
        axes.step(
            number, best_of.accumulate(score), where="post", color="#555555", label="best so far"
        )
        axes.set_title(model)
        axes.set_xlabel("Trial")
        axes.set_ylabel(objective)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
    return figure


@styled
def f1_change(changes: Mapping[str, Sequence[float]]) -> Figure:
    """Return how every class's F1 differs in each comparison.

    Args:
        changes: comparison → second minus first, per class.
    """
    figure = Figure(figsize=(6.6, 5.6))
    axes = figure.subplots()
    places = np.arange(CLASSES)
    offsets = np.linspace(-0.27, 0.27, len(changes)) if len(changes) > 1 else [0.0]
    axes.axvline(0, color="#555555", linewidth=1)
    for (name, values), offset, colour, marker in zip(
        changes.items(), offsets, itertools.cycle(COLOURS), itertools.cycle(MARKERS), strict=False
    ):
        axes.hlines(places + offset, 0, values, color=colour, linewidth=1, alpha=0.6)
        axes.plot(values, places + offset, marker, color=colour, label=name)
    axes.set_yticks(places, CLASS_NAMES)
    axes.set_ylim(CLASSES - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.hlines(places[:-1] + 0.5, 0, 1, transform=axes.get_yaxis_transform(), color="#eeeeee")
    axes.set_xlabel("Change of F1 (right of zero: the second model is better)")
    axes.set_title("Change of each class's F1")
    figure.legend(loc="outside lower center", ncols=1 if len(changes) < 2 else 2)
    return figure


@styled
def accuracy_intervals(
    names: Sequence[str],
    values: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    val: Sequence[float],
) -> Figure:
    """Return every model's test accuracy with its interval, and its validation accuracy.

    Args:
        names: of the models.
        values: test accuracy of each.
        low: lower end of the interval of each.
        high: upper end.
        val: validation accuracy of each.
    """
    figure = Figure(figsize=(6.6, 0.42 * len(names) + 1.7))
    axes = figure.subplots()
    places = np.arange(len(names))
    axes.hlines(places, low, high, color=BLUE, linewidth=2)
    axes.plot(values, places, "o", color=BLUE, markersize=7, label="test, with interval")
    axes.plot(val, places, "D", color="#d55e00", markersize=7, fillstyle="none", label="validation")
    axes.set_yticks(places, names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.margins(x=0.08)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=ROUND_STEPS))
    axes.set_xlabel("Accuracy")
    axes.set_title("Accuracy of the models")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _show(axes: Axes, image: NDArray[np.uint8]) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
