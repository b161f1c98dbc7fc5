"""Define the networks and data that every contender of `training.py` trains.

This module imports no framework, so that processes with different frameworks can import it.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
HIDDEN_UNITS = (512, 256, 128)  # of the MLP
FILTERS = (32, 64, 128)  # of the CNN: 3×3, valid, each ReLU, the first two followed by pooling
DENSE_UNITS = 128  # of the CNN, after its last block
DROPOUT = 0.2  # after each hidden dense layer
LEARNING_RATE = 0.001  # of Adam
THREADS = 2
MODELS = ("mlp", "cnn")


@dataclass(frozen=True)
class Workload:
    """Network and data of one measurement."""

    model: str  # mlp or cnn
    batch_size: int
    images: NDArray[np.uint8]  # [N, height, width], with a fourth axis for three channels
    labels: NDArray[np.uint8]  # [N]
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        height, width, channels = (*self.images.shape[1:], 1)[:3]
        return height, width, channels


def operations(model: str, images: int, shape: tuple[int, int, int], classes: int) -> int:
    """Return the operations of an epoch; the backward pass counts as two forward passes."""
    return 3 * forward(model, shape, classes) * images


def forward(model: str, shape: tuple[int, int, int], classes: int) -> int:
    """Return the operations of a forward pass of one image: two per weight and output position.

    Args:
        model: mlp or cnn.
        shape: height, width and channels of an image.
        classes: number of classes.
    """
    if model == "mlp":
        return 2 * sum(a * b for a, b in pairwise((math.prod(shape), *HIDDEN_UNITS, classes)))
    channels, products = shape[2], 0
    for filters, (height, width) in zip(FILTERS, blocks(*shape[:2]), strict=True):
        products += height * width * 9 * channels * filters
        channels = filters
    return 2 * (products + height * width * channels * DENSE_UNITS + DENSE_UNITS * classes)


def blocks(height: int, width: int) -> list[tuple[int, int]]:
    """Return height and width of the outputs of the CNN's convolutions."""
    sizes = [(height - 2, width - 2)]
    for _ in FILTERS[1:]:
        height, width = sizes[-1]
        sizes.append((height // 2 - 2, width // 2 - 2))
    return sizes


def measure(train: Callable[[Workload, Callable[[], None]], Any]) -> None:
    """Train on the workload that the command line names and print the seconds of the second epoch.

    The first epoch includes compilation and warm-up.

    Args:
        train: trains two epochs, and calls its second argument at the end of each.
    """
    parser = argparse.ArgumentParser(description=measure.__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("batch_size", type=int)
    parser.add_argument("images", type=int)
    arguments = parser.parse_args()
    with np.load(ROOT / "data/processed/train.npz", allow_pickle=False) as arrays:
        images, labels = (arrays[name][: arguments.images] for name in ("images", "labels"))
    # Without the project's reader, whose libraries the other contenders do not have.
    dataset = json.loads((ROOT / "data/processed/dataset.json").read_text(encoding="utf-8"))
    classes = len(dataset["class_names"])
    ends: list[float] = []
    train(
        Workload(arguments.model, arguments.batch_size, images, labels, classes),
        lambda: ends.append(time.perf_counter()),
    )
    print(ends[1] - ends[0])
