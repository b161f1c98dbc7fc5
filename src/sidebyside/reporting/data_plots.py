"""Plots of the data: random samples, near duplicates, images before and after augmentation."""

import math
from collections.abc import Sequence

import numpy as np

from sidebyside.core.seeding import generator
from sidebyside.data.splits import Split
from sidebyside.reporting.formatting import shorten
from sidebyside.reporting.plot_style import Figure, Images, Labels, Pixels, show_image, styled

GAP = 2  # pixels of white between images
WHITE = 255
ROWS = 40  # maximum number of classes below each other
NAME = 24  # maximum number of characters of a class's name


@styled
def samples(split: Split, class_names: Sequence[str], per_class: int, seed: int) -> Figure:
    """Draw random images of each class: a row per class with at most `per_class` images.

    Args:
        split: the images to draw from.
        class_names: names of the classes.
        per_class: maximum number of images per class.
        seed: `seed` of params.yaml.
    """
    random = generator(seed, "samples")
    height, width, *channels = split.images.shape[1:]
    blocks = math.ceil(len(class_names) / ROWS)
    classes = math.ceil(len(class_names) / blocks)  # per block
    per_class = max(min(3, per_class), per_class // blocks)
    rows, columns = classes * (height + GAP) - GAP, per_class * (width + GAP) - GAP
    figure = Figure(figsize=(blocks * (1.2 + 0.45 * per_class), 0.45 * classes + 0.4))
    for block, axes in enumerate(figure.subplots(1, blocks, squeeze=False).flat):
        labels = range(block * classes, min((block + 1) * classes, len(class_names)))
        canvas = np.full((rows, columns, *channels), WHITE, np.uint8)
        for row, label in enumerate(labels):
            members = np.flatnonzero(split.labels == label)
            drawn = random.choice(members, min(per_class, len(members)), replace=False)
            for column, index in enumerate(drawn):
                top, left = row * (height + GAP), column * (width + GAP)
                canvas[top : top + height, left : left + width] = split.images[index]
        show_image(axes, canvas)
        axes.set_yticks(
            [row * (height + GAP) + height / 2 for row in range(len(labels))],
            [shorten(class_names[label], NAME) for label in labels],
        )
        axes.tick_params(left=False)
    if blocks == 1:
        axes.set_title("Random images of each class")
    else:
        figure.suptitle("Random images of each class")
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
    height, _, *channels = sources.shape[1:]
    gap = np.full((height, GAP, *channels), WHITE, np.uint8)
    for index, axes in enumerate(grid.flat):
        if index >= len(labels):
            axes.set_axis_off()
            continue
        show_image(axes, np.hstack([sources[index], gap, results[index]]))
        axes.set_title(class_names[labels[index]], fontweight="normal", fontsize=9)
    figure.suptitle("Left: training image, right: new image made from it")
    return figure
