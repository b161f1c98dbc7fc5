"""Plots of the data: random samples, near duplicates, images before and after augmentation."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sidebyside.core.seeding import generator
from sidebyside.data.splits import Split
from sidebyside.reporting.plot_style import (
    Figure,
    Images,
    Labels,
    Pixels,
    class_labels,
    show_image,
    styled,
)

ROWS = 25  # maximum of classes below each other
LARGE = 64  # pixels; the height at which an image is drawn
WIDEST = 10.4  # inches
GAP = 2  # pixels of white between images
WHITE = 255


@styled
def samples(split: Split, class_names: Sequence[str], per_class: int, seed: int) -> Figure:
    """Draw random images of each class: a row per class with at most `per_class` images.

    More than ROWS classes share the width: they stand beside each other with fewer images each.

    Args:
        split: the images to draw from.
        class_names: names of the classes.
        per_class: maximum number of images per class.
        seed: `seed` of params.yaml.
    """
    random = generator(seed, "samples")
    classes = len(class_names)
    blocks = math.ceil(classes / ROWS)
    rows, per_class = math.ceil(classes / blocks), max(1, per_class // blocks)
    width = (1.2 + 0.45 * per_class) * blocks
    figure = Figure(figsize=(min(width, WIDEST), 0.45 * rows + 0.4))
    labels = class_labels(class_names, 20 if blocks == 1 else 10)
    size = 10 if blocks == 1 else 7
    # Large images are drawn with fewer pixels than they have, so thin lines could get lost.
    interpolation = "nearest" if max(split.images.shape[1:3]) <= LARGE else "antialiased"
    for block, axes in enumerate(figure.subplots(1, blocks, squeeze=False).flat):
        shown = range(block * rows, min((block + 1) * rows, classes))
        drawn = []
        for label in shown:
            members = np.flatnonzero(split.labels == label)
            drawn.append(random.choice(members, min(per_class, len(members)), replace=False))
        show_image(axes, _grid(split.images, drawn, rows, per_class), interpolation)
        cell = split.images.shape[1] + GAP
        ticks = [row * cell + (cell - GAP) / 2 for row in range(len(shown))]
        axes.set_yticks(ticks, [labels[label] for label in shown], fontsize=size)
        axes.tick_params(left=False)
    (axes.set_title if blocks == 1 else figure.suptitle)("Random images of each class")
    return figure


@styled
def near_duplicates(pairs: Sequence[tuple[Pixels, Pixels]], titles: Sequence[str]) -> Figure:
    """Draw pairs of images side by side, or a sentence if there are none.

    Args:
        pairs: two images each, uint8 [height, width] or [height, width, 3].
        titles: a line above each pair.
    """
    if not pairs:
        figure = Figure(figsize=(6, 0.6))
        figure.text(0.5, 0.5, "No near duplicates across splits", ha="center", va="center")
        return figure
    columns = min(5, len(pairs))
    rows = math.ceil(len(pairs) / columns)
    figure = Figure(figsize=(max(3.5, 1.9 * columns), 1.3 * rows + 0.5))
    for index, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        if index >= len(pairs):
            axes.set_axis_off()
            continue
        first, second = pairs[index]
        gap = np.full((first.shape[0], GAP, *first.shape[2:]), WHITE, np.uint8)
        show_image(axes, np.hstack([first, gap, second]))
        axes.set_title(titles[index], fontweight="normal", fontsize=8)
    figure.suptitle("Closest pairs of images of different splits")
    return figure


def _grid(
    images: Images, drawn: Sequence[NDArray[np.intp]], rows: int, columns: int
) -> NDArray[np.uint8]:
    """Return one image of images, row after row.

    Args:
        images: uint8 [N, height, width] or [N, height, width, 3].
        drawn: indices of the images of each row.
        rows: number of rows; those without images are white.
        columns: number of images in a row; missing ones are white.
    """
    height, width, *channels = images.shape[1:]
    size = rows * (height + GAP) - GAP, columns * (width + GAP) - GAP
    canvas = np.full((*size, *channels), WHITE, np.uint8)
    for row, indices in enumerate(drawn):
        for column, index in enumerate(indices):
            top, left = row * (height + GAP), column * (width + GAP)
            canvas[top : top + height, left : left + width] = images[index]
    return canvas


@styled
def before_after(
    sources: Images, results: Images, labels: Labels, class_names: Sequence[str]
) -> Figure:
    """Draw pairs of images: a training image on the left, the new image made from it on the right.

    Args:
        sources: the training images, uint8 [N, height, width] or [N, height, width, 3].
        results: the new images in the same order, in the same form.
        labels: classes of the pairs, uint8 [N].
        class_names: names of the classes.
    """
    columns = min(5, len(labels))
    rows = math.ceil(len(labels) / columns)
    figure = Figure(figsize=(max(3.5, 1.6 * columns), 1.12 * rows + 0.5))
    grid = figure.subplots(rows, columns, squeeze=False)
    names = class_labels(class_names, 18)
    height, _, *channels = sources.shape[1:]
    gap = np.full((height, GAP, *channels), WHITE, np.uint8)
    for index, axes in enumerate(grid.flat):
        if index >= len(labels):
            axes.set_axis_off()
            continue
        show_image(axes, np.hstack([sources[index], gap, results[index]]))
        axes.set_title(names[labels[index]], fontweight="normal", fontsize=9)
    figure.suptitle("Left: training image, right: new image made from it")
    return figure
