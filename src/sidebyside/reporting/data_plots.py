"""Plots of the data: random samples, and images before and after augmentation."""

import math

import numpy as np

from sidebyside.config.dataset import CLASS_NAMES, CLASSES, IMAGE_SIZE
from sidebyside.core.seeding import generator
from sidebyside.data.splits import Split
from sidebyside.reporting.plot_style import Figure, Images, Labels, show_image, styled

GAP = 2  # pixels of white between images
WHITE = 255


@styled
def samples(split: Split, per_class: int, seed: int) -> Figure:
    """Draw random images of each class: a row per class with at most `per_class` images.

    Args:
        split: the images to draw from.
        per_class: maximum number of images per class.
        seed: `seed` of params.yaml.
    """
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
    show_image(axes, canvas)
    axes.set_yticks([label * cell + IMAGE_SIZE / 2 for label in range(CLASSES)], CLASS_NAMES)
    axes.tick_params(left=False)
    axes.set_title("Random images of each class")
    return figure


@styled
def before_after(sources: Images, results: Images, labels: Labels) -> Figure:
    """Draw pairs of images: a training image on the left, the new image made from it on the right.

    Args:
        sources: the training images, uint8 [N, 28, 28].
        results: the new images in the same order, uint8 [N, 28, 28].
        labels: classes of the pairs, uint8 [N].
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
        show_image(axes, np.hstack([sources[index], gap, results[index]]))
        axes.set_title(CLASS_NAMES[labels[index]], fontweight="normal", fontsize=9)
    figure.suptitle("Left: training image, right: new image made from it")
    return figure
