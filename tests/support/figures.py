"""Draw figures of made-up values, and look at them."""

import inspect
import io
import math
from typing import Any

import numpy as np
from matplotlib import image
from numpy.typing import NDArray

from sidebyside.data.splits import Split
from sidebyside.reporting import evaluation_plots
from tests.support.datasets import CLASS_NAMES

COUNTS = np.full((10, 10), 3) + np.diag(np.arange(10) * 90)
BINS = [(0.0, 0.5, 0, math.nan, math.nan), (0.5, 1.0, 40, 0.9, 0.8)]
HISTORY: dict[str, list[float]] = {
    "epoch": [1, 2],
    "loss": [0.9, 0.5],
    "accuracy": [0.7, 0.8],
    "val_loss": [0.8, 0.6],
    "val_accuracy": [0.75, 0.78],
}


def random_split(per_class: int) -> Split:
    """Return random images, the same number of each class, sorted by class."""
    labels = np.repeat(np.arange(10, dtype=np.uint8), per_class)
    random = np.random.default_rng(1)
    return Split(random.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8), labels)


def draw_predictions(images: int) -> bytes:
    """Draw predictions for some images: all correct for up to three, two wrong for four."""
    split = random_split(3)
    labels = split.labels[:images]
    probabilities = np.full((images, 10), 0.1)
    return evaluation_plots.predictions(
        split.images[:images], labels, np.roll(labels, 1), probabilities, CLASS_NAMES, "some model"
    )


def pixels(png: bytes) -> NDArray[np.float32]:
    """Return the pixels of a PNG, RGB(A) between 0 and 1."""
    return np.asarray(image.imread(io.BytesIO(png)), np.float32)


def undecorated(draw: Any, *arguments: Any) -> Any:
    """Return the matplotlib figure that a plot draws, before it becomes a PNG."""
    return inspect.unwrap(draw)(*arguments)
