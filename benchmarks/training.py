"""Compare the time of an epoch with plain Keras on TensorFlow and JAX, and with PyTorch.

Each measurement runs in a new process. The contenders and the matrix product that gives the peak
rate alternate in every round, so that other load on the machine affects all of them alike. Each
contender trains the same network on the same images with dropout, shuffling in every epoch and
accuracy as a metric; only this project uses deterministic kernels. PyTorch and JAX need `make
peers` first.

Reads:  data/processed/train.npz, data/processed/dataset.json
Writes: reports/benchmarks/training.{json,png}; with --second-machine only training_elsewhere.json
"""

import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import figures, isolated, machine, workloads
from benchmarks.workloads import ROOT
from sidebyside.config.dataset import read_dataset
from sidebyside.config.paths import Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_bytes, write_json
from sidebyside.workflow import command

OWN = "this project"
PEERS = ROOT / ".venv-peers/bin/python"
# Name → interpreter, module of this folder, environment.
CONTENDERS: Mapping[str, tuple[Path, str, dict[str, str]]] = {
    OWN: (Path(sys.executable), "contender_sidebyside", {}),
    "Keras on TensorFlow": (
        Path(sys.executable),
        "contender_keras",
        {"KERAS_BACKEND": "tensorflow"},
    ),
    "Keras on JAX": (PEERS, "contender_keras", {"KERAS_BACKEND": "jax"}),
    "PyTorch": (PEERS, "contender_pytorch", {}),
}
BATCH_SIZES = {"mlp": (32, 128, 512), "cnn": (64, 128)}
DEFAULT_BATCH_SIZE = {"mlp": 512, "cnn": 64}  # the batch sizes of params.yaml
SHARE = {"mlp": 1, "cnn": 4}  # the whole train split, and a quarter of it; seconds are of all of it
SMALLEST = 18  # pixels, side of an image of which the CNN's last convolution leaves one
ROUNDS = 5


def main() -> None:
    """Measure everything and write the results."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "--rounds",
        type=int,
        default=ROUNDS,
        help="measurements of each contender (default: %(default)s)",
    )
    parser.add_argument(
        "--second-machine",
        action="store_true",
        help="write the results as those of a second machine, without a figure",
    )
    arguments = parser.parse_args()
    rounds = arguments.rounds
    if not PEERS.exists():
        raise UserError(f"{PEERS.relative_to(ROOT)} is missing: run `make peers`")
    dataset = read_dataset(Paths(ROOT).dataset)
    if min(dataset.height, dataset.width) < SMALLEST:
        raise UserError(
            f"{dataset.title} has images of {dataset.height}×{dataset.width} pixels, but the CNN"
            f" of this benchmark needs {SMALLEST}×{SMALLEST} pixels"
        )
    shape = (dataset.height, dataset.width, dataset.channels)
    epoch = dataset.splits["train"].images
    # Keras does not set the number of threads; by default its backends use one per core.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: workloads.THREADS])
    cases = [(model, size) for model, sizes in BATCH_SIZES.items() for size in sizes]
    found: dict[tuple[str, int], dict[str, list[float]]] = {
        case: {name: [] for name in CONTENDERS} for case in cases
    }
    rates: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    for round_ in range(1, rounds + 1):
        for (model, size), times in found.items():
            images = epoch // SHARE[model]
            rates[model, size].append(isolated.measure("matrix_product"))
            for name, (python, module, environment) in CONTENDERS.items():
                seconds = isolated.measure(
                    *(module, model, size, images), python=python, environment=environment
                )
                times[name].append(seconds * epoch / images)
            print(
                f"round {round_}/{rounds}, {model}, batch {size}: "
                + ", ".join(f"{name} {taken[-1]:.2f} s" for name, taken in times.items()),
                flush=True,
            )
    result = {
        "machine": machine.describe(),
        "threads": workloads.THREADS,
        "rounds": rounds,
        "matrix_product_gflops": median(itertools.chain(*rates.values())) / 1e9,
        "cases": [
            {
                "model": model,
                "batch_size": size,
                "seconds": times,
                "matrix_product_gflops": [rate / 1e9 for rate in rates[model, size]],
                **summary(
                    workloads.operations(model, epoch, shape, dataset.classes),
                    times,
                    rates[model, size],
                ),
            }
            for (model, size), times in found.items()
        ],
    }
    folder = Paths(ROOT).report("benchmarks")
    if arguments.second_machine:
        write_json(folder / "training_elsewhere.json", result)
        return
    write_json(folder / "training.json", result)
    write_bytes(folder / "training.png", figures.training(result))


def summary(
    operations: int, times: Mapping[str, list[float]], rates: Sequence[float]
) -> dict[str, Any]:
    """Return medians, their ratios to this project's, and its share of the matrix product's rate.

    Args:
        operations: operations of an epoch.
        times: contender → seconds per epoch.
        rates: of the matrix product in the same rounds, in operations per second.
    """
    medians = {name: median(taken) for name, taken in times.items()}
    own = medians[OWN]
    return {
        "medians": medians,
        "times_faster": {name: taken / own for name, taken in medians.items() if name != OWN},
        "share_of_matrix_product": operations / own / median(rates),
    }


if __name__ == "__main__":
    command.run(main)
