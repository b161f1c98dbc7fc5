"""Define the networks and data that every contender of `training.py` trains.

This module imports no framework, so that processes with different frameworks can import it.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
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
CLASSES = 10

# Operations of a forward pass of one image: two per weight and output position.
FORWARD = {
    "mlp": 2 * (784 * 512 + 512 * 256 + 256 * 128 + 128 * CLASSES),
    "cnn": 2
    * (
        26 * 26 * 9 * 32
        + 11 * 11 * 9 * 32 * 64
        + 3 * 3 * 9 * 64 * 128
        + 9 * 128 * DENSE_UNITS
        + DENSE_UNITS * CLASSES
    ),
}


@dataclass(frozen=True)
class Workload:
    """Network and data of one measurement."""

    model: str  # mlp or cnn
    batch_size: int
    images: NDArray[np.uint8]  # [N, 28, 28]
    labels: NDArray[np.uint8]  # [N]


def operations(model: str, images: int) -> int:
    """Return the operations of an epoch; the backward pass counts as two forward passes."""
    return 3 * FORWARD[model] * images


def measure(train: Callable[[Workload, Callable[[], None]], Any]) -> None:
    """Train on the workload that the command line names and print the seconds of the second epoch.

    The first epoch includes compilation and warm-up.

    Args:
        train: trains two epochs, and calls its second argument at the end of each.
    """
    parser = argparse.ArgumentParser(description=measure.__doc__)
    parser.add_argument("model", choices=FORWARD)
    parser.add_argument("batch_size", type=int)
    parser.add_argument("images", type=int)
    arguments = parser.parse_args()
    with np.load(ROOT / "data/processed/train.npz", allow_pickle=False) as arrays:
        images, labels = (arrays[name][: arguments.images] for name in ("images", "labels"))
    ends: list[float] = []
    train(
        Workload(arguments.model, arguments.batch_size, images, labels),
        lambda: ends.append(time.perf_counter()),
    )
    print(ends[1] - ends[0])
