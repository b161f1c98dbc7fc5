"""Measure how time and memory grow with the data, and whether a full MLflow store is slower.

Each training runs in a new process on the train split repeated 1, 2, 5 and 10 times. After a first
epoch, more epochs are timed for smaller sizes, so that the total number of images is the same and
short epochs are measured as precisely as long ones; peak memory is read from /proc. The store is
filled through MLflow's client with runs that have tags, parameters and metrics; then the logging of
a training is timed in an empty and in the full store alternately.

Reads:  data/processed/train.npz, params.yaml, reports/tune/
Writes: reports/benchmarks/growth.{json,png}
"""

import json
import os
import tempfile
import time
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from benchmarks import figures, isolated, machine
from benchmarks.workloads import ROOT
from sidebyside.config import hyperparameters
from sidebyside.config.dataset import read_dataset
from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import Paths
from sidebyside.config.result_files import HISTORY_COLUMNS
from sidebyside.core.files import write_bytes, write_json
from sidebyside.core.seeding import generator
from sidebyside.data.npz import read_split, write_split
from sidebyside.data.splits import Split
from sidebyside.data.splitting import subsample
from sidebyside.models.tensorflow_setup import configure
from sidebyside.tracking.views import Experiment, training_experiment
from sidebyside.workflow import command
from sidebyside.workflow.progress import step_bar

FACTORS = (1, 2, 5, 10)
IMAGES = {"mlp": 48_000, "cnn": 6_000}  # before repetition
ROUNDS = 2
RUNS = 10_000
EPOCHS = 20  # epochs that a run logs
PARAMETERS = 25  # per run, about as many as the run of a model has
VAL_IMAGES = 500  # one batch, for every size of the train split


def main() -> None:
    """Measure and write the results; with --once, train once and print seconds and MiB."""
    parser = command.parser(__doc__)
    parser.add_argument("--once", nargs=3, metavar=("MODEL", "SPLIT", "EPOCHS"), help="train once")
    once = parser.parse_args().once
    if once:
        print(json.dumps(train(once[0], Path(once[1]), int(once[2]))))
        return
    result = {
        "machine": machine.describe(),
        "data": {model: grown(model, images) for model, images in IMAGES.items()},
        "store": stores(),
    }
    folder = Paths(ROOT).report("benchmarks")
    write_json(folder / "growth.json", result)
    write_bytes(folder / "growth.png", figures.growth(result))


def grown(model: str, images: int) -> list[dict[str, Any]]:
    """Return seconds per epoch and peak memory for each size of the data, with all rounds."""
    paths = Paths(ROOT)
    train_split = read_split(paths.split("train"), read_dataset(paths.dataset))
    split = subsample(train_split, images, generator(1, "benchmark"))
    found: dict[int, list[tuple[float, float]]] = {factor: [] for factor in FACTORS}
    with tempfile.TemporaryDirectory() as folder:
        for factor in FACTORS:
            repeated = Split(np.tile(split.images, (factor, 1, 1)), np.tile(split.labels, factor))
            write_split(Path(folder) / f"{factor}.npz", repeated)
        for round_ in range(1, ROUNDS + 1):
            for factor, measured in found.items():
                file = Path(folder) / f"{factor}.npz"
                epochs = max(FACTORS) // factor
                measured.append(isolated.measure("growth", "--once", model, file, epochs))
            print(
                f"{model}, round {round_}/{ROUNDS}: "
                + ", ".join(f"{f} times {m[-1][0]:.1f} s" for f, m in found.items()),
                flush=True,
            )
    return [
        {
            "factor": factor,
            "mib": factor * split.images.nbytes / 2**20,
            "seconds": median(seconds for seconds, _ in measured),
            "peak_memory_mib": median(memory for _, memory in measured),
            "rounds": measured,
        }
        for factor, measured in found.items()
    ]


def train(model: str, path: Path, epochs: int) -> tuple[float, float]:
    """Train a default model.

    Args:
        model: mlp or cnn.
        path: the training split, an .npz file.
        epochs: number of epochs to time after the first.

    Returns:
        Mean seconds per epoch, and the peak memory in MiB.
    """
    paths = Paths(ROOT)
    record = hyperparameters.read_hyperparameters(model, paths.hyperparameters(model))
    split = read_split(path, read_dataset(paths.dataset))
    configure(read_parameters(paths.params).threads)
    from sidebyside.models import architectures
    from sidebyside.training import loop

    taken: list[float] = []
    loop.train(
        architectures.build(model, record, read_dataset(paths.dataset), 1),
        record,
        split,
        subsample(split, VAL_IMAGES, generator(1, "benchmark")),
        seed=1,
        epochs=1 + epochs,
        patience=1 + epochs,
        monitor="val_accuracy",
        on_epoch=lambda row, seconds: taken.append(seconds),
    )
    return fmean(taken[1:]), isolated.peak_memory()


def stores() -> dict[str, Any]:
    """Return the seconds that a training's logging takes in an empty and in a full store."""
    from sidebyside.tracking import runs

    experiment = training()
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # or the runs would go to the user's server
    with tempfile.TemporaryDirectory() as name:
        roots = {state: Path(name) / state for state in ("empty", "full")}
        for root in roots.values():
            root.mkdir()
            with runs.open_run(root, experiment, "first", "first"):
                pass
        fill(roots["full"], experiment.name)
        found: dict[str, dict[str, list[float]]] = {state: {} for state in roots}
        for turn in range(2 * ROUNDS):
            for state, root in roots.items():
                for step, seconds in logged(root, experiment, f"key-{turn}").items():
                    found[state].setdefault(step, []).append(seconds)
    return {
        "runs": RUNS,
        **{
            state: {step: median(taken) for step, taken in times.items()}
            for state, times in found.items()
        },
    }


def logged(root: Path, experiment: Experiment, key: str) -> dict[str, float]:
    """Log a run as a training does and return the seconds of each step."""
    from sidebyside.tracking import runs

    times = [time.perf_counter()]
    with runs.open_run(root, experiment, "run", key) as run:
        times.append(time.perf_counter())
        for epoch in range(EPOCHS):
            run.log_metrics(dict.fromkeys(HISTORY_COLUMNS, 0.5), step=epoch)
        times.append(time.perf_counter())
    times.append(time.perf_counter())
    opened, epochs, closed = np.diff(times).tolist()
    return {"open a run": opened, "log an epoch": epochs / EPOCHS, "close the run": closed}


def training() -> Experiment:
    """Return the experiment of the models trained on the checkout's data set."""
    return training_experiment(read_dataset(Paths(ROOT).dataset))


def fill(root: Path, name: str) -> None:
    """Add RUNS runs to an experiment in a project's store."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    (found,) = client.search_experiments(filter_string=f"name = '{name}'")
    experiment = found.experiment_id
    with step_bar("filling the store") as bar:
        for number in range(1, RUNS + 1):
            key = f"run-{number}"
            run = client.create_run(experiment, run_name=key, tags={"key": key}).info.run_id
            metrics = [Metric(metric, number / RUNS, 0, 1) for metric in HISTORY_COLUMNS]
            client.log_batch(run, metrics, [Param(str(i), str(number)) for i in range(PARAMETERS)])
            client.set_terminated(run)
            bar(number, RUNS)


if __name__ == "__main__":
    command.run(main)
