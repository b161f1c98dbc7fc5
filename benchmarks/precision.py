"""Compare bfloat16 with float32: speed, and accuracy on the validation split.

The default models are trained in both precisions with the budget of params.yaml and the same seed,
each in a new process. For the variation between seeds, see `make reference`.

Reads:  params.yaml, reports/tune/, data/processed/{train,val}.npz
Writes: reports/benchmarks/precision.json
"""

import json
from statistics import median
from typing import Any

from benchmarks import isolated, machine
from benchmarks.workloads import ROOT
from sidebyside.config import hyperparameters
from sidebyside.config.dataset import read_dataset
from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import Paths
from sidebyside.core.files import write_json
from sidebyside.core.seeding import derive_seed
from sidebyside.data.npz import read_split
from sidebyside.models.tensorflow_setup import configure
from sidebyside.workflow import command

PRECISIONS = ("float32", "bfloat16")


def main() -> None:
    """Measure and write the results; with --once, train once and print the result."""
    parser = command.parser(__doc__)
    parser.add_argument("--once", nargs=2, metavar=("MODEL", "PRECISION"), help="train once")
    once = parser.parse_args().once
    if once:
        print(json.dumps(train(*once)))
        return
    paths = Paths(ROOT)
    result: dict[str, Any] = {
        "machine": machine.describe(),
        "models": {},
    }
    for model in read_parameters(paths.params).train.models:
        result["models"][model] = {
            precision: isolated.measure("precision", "--once", model, precision)
            for precision in PRECISIONS
        }
        for precision, found in result["models"][model].items():
            print(
                f"{model}, {precision}: val_accuracy {found['val_accuracy']:.4f},"
                f" {found['seconds_per_epoch']:.1f} s per epoch",
                flush=True,
            )
    write_json(paths.report("benchmarks") / "precision.json", result)


def train(model: str, precision: str) -> dict[str, float]:
    """Train a default model in one precision; return its scores and median seconds per epoch."""
    paths = Paths(ROOT)
    parameters = read_parameters(paths.params)
    settings = hyperparameters.read_hyperparameters(model, paths.hyperparameters(model)).model_dump(
        mode="json"
    )
    record = hyperparameters.parse_hyperparameters(
        model, settings | {"precision": precision}, "benchmark"
    )
    dataset = read_dataset(paths.dataset)
    splits = [read_split(paths.split(name), dataset) for name in ("train", "val")]
    configure(parameters.threads)
    from sidebyside.models import architectures
    from sidebyside.training import loop

    seed, budget = parameters.train.seeds[0], parameters.train.budget[model]
    taken: list[float] = []
    progress = loop.train(
        architectures.build(model, record, dataset, derive_seed(seed, "weights")),
        record,
        *splits,
        seed=seed,
        epochs=budget.epochs,
        patience=budget.patience,
        monitor=parameters.train.monitor,
        keep=parameters.train.keep,
        on_epoch=lambda row, seconds: taken.append(seconds),
    )
    return {
        "val_accuracy": progress.best["val_accuracy"],
        "val_loss": progress.best["val_loss"],
        "epochs": progress.epochs,
        "seconds_per_epoch": median(taken),
    }


if __name__ == "__main__":
    command.run(main)
