"""Plots of the data: random samples, and images before and after augmentation."""

import math
from collections.abc import Sequence

import numpy as np

from sidebyside.core.seeding import generator
from sidebyside.data.splits import Split
from sidebyside.reporting.plot_style import Figure, Images, Labels, show_image, styled

GAP = 2  # pixels of white between images
WHITE = 255


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
    classes = len(class_names)
    rows, columns = classes * (height + GAP) - GAP, per_class * (width + GAP) - GAP
    canvas = np.full((rows, columns, *channels), WHITE, np.uint8)
    for label in range(classes):
        members = np.flatnonzero(split.labels == label)
        drawn = random.choice(members, min(per_class, len(members)), replace=False)
        for column, index in enumerate(drawn):
            top, left = label * (height + GAP), column * (width + GAP)
            canvas[top : top + height, left : left + width] = split.images[index]
    figure = Figure(figsize=(1.2 + 0.45 * per_class, 0.45 * classes + 0.4))
    axes = figure.subplots()
    show_image(axes, canvas)
    axes.set_yticks([label * (height + GAP) + height / 2 for label in range(classes)], class_names)
    axes.tick_params(left=False)
    axes.set_title("Random images of each class")
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
