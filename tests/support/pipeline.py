"""The small pipeline's names, and readers of its tables and of its MLflow store."""

import contextlib
import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.checkout import Checkout
from tests.support.datasets import FASHION_MNIST

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MODELS, DATA, TRIALS, EPOCHS = ("mlp", "cnn"), ("original", "augmented"), 2, 2
NAMES = [f"{model}-{data}-1" for model, data in itertools.product(MODELS, DATA)]
KEYS = [name.removesuffix("-1") for name in NAMES]  # of metrics.json
STAGES = ["download", "preprocess", "augment", "evaluate"]
STAGES += [f"tune@{model}" for model in MODELS] + [f"train@{name}" for name in NAMES]
TRAINING, SEARCH = FASHION_MNIST.name, f"{FASHION_MNIST.name}-search"  # MLflow's experiments
CURVES = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")


def stages_run(output: str) -> list[str]:
    """Return the stages that `dvc repro` ran, from its output."""
    return re.findall(r"^Running stage '([^']+)'", output, re.M)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@contextlib.contextmanager
def store(checkout: Checkout) -> "Iterator[MlflowClient]":
    """Yield a client of the checkout's store, in the folder its locations are relative to."""
    import mlflow

    with contextlib.chdir(checkout.root):
        yield mlflow.MlflowClient(f"sqlite:///{checkout.root}/mlflow.db")


def runs(checkout: Checkout, experiment: str) -> "list[Run]":
    """Return all runs of an experiment."""
    with store(checkout) as client:
        known = client.get_experiment_by_name(experiment)
        assert known is not None
        return list(client.search_runs([known.experiment_id], max_results=1000))


def by_name(checkout: Checkout, experiment: str) -> "dict[str, Run]":
    """Return the runs of an experiment by their names, which must be unique."""
    listed = runs(checkout, experiment)
    named = {str(run.info.run_name): run for run in listed}
    assert len(named) == len(listed), sorted(str(run.info.run_name) for run in listed)
    return named


def model_id(run: "Run") -> str:
    """Return the id of the model that a run has logged."""
    assert run.outputs
    return str(run.outputs.model_outputs[0].model_id)
