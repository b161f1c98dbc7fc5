"""A model of a published system, trained on some made-up images and logged to a real store."""

from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from sidebyside.config.dataset import Dataset
from sidebyside.config.hyperparameters import Hyperparameters
from sidebyside.config.paths import CHECKOUT
from sidebyside.core.fingerprint import machine_facts
from sidebyside.core.jobs import inline
from sidebyside.core.seeding import derive_seed
from sidebyside.data.splits import Split, split_digest
from sidebyside.data.statistics import class_counts
from sidebyside.evaluation.metrics import log_loss
from sidebyside.models import architectures
from sidebyside.models.inference import predict_probabilities
from sidebyside.tracking.contents import rounded
from sidebyside.tracking.origin import Origin
from sidebyside.training import loop
from sidebyside.training.fit import train_model
from sidebyside.training.history import Progress, Training
from sidebyside.training.jobs import training_arrays
from study import model_runs, tracking
from study.comparison.results import read_model, read_runs
from study.plan import SystemModel, read_plan
from tests.support.datasets import CLASS_NAMES, dataset
from tests.support.images import noisy_split

NAME = "3-tyler"
PLAN = read_plan(CHECKOUT / "replications/params.yaml")
PART: SystemModel = PLAN.models[NAME].model_copy(
    update={
        "training": PLAN.models[NAME].training.model_copy(
            update={"epochs": 40, "patience": 40, "keep": "best", "monitor": "val_loss"}
        )
    }
)


class Trained(NamedTuple):
    """A training and its inputs."""

    root: Path
    record: dict[str, Any]
    model_run: dict[str, Any]
    model: keras.Model
    progress: Progress
    splits: dict[str, Split]
    seeds: list[int]  # of the weights, and of what training draws


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("model_run")
    splits = {name: noisy_split(n) for name, n in (("train", 200), ("val", 90), ("test", 110))}
    small = {"hidden_units": (32,), "learning_rate": 0.01, "dropout": 0.0, "batch_size": 32}
    hyperparameters = PLAN.record(NAME, Path()).model_copy(update=small)
    record = {
        "stage": f"train@{NAME}",
        "settings": {**PART.training.model_dump(), **hyperparameters.model_dump(mode="json")},
        "data_sha256": {name: split_digest(splits[name]) for name in ("train", "val")},
        "classes": {name: class_counts(splits[name], CLASS_NAMES) for name in ("train", "val")},
    }
    work, build, train, found = train_model, architectures.build, loop.train_epochs, []
    seeds: list[int] = []

    def worked(*arguments: Any, **options: Any) -> Any:
        found.append(work(*arguments, **options))
        return found[-1]

    def built(model: str, record: Hyperparameters, dataset: Dataset, seed: int) -> keras.Model:
        seeds.append(seed)
        return build(model, record, dataset, seed)

    def watched(*arguments: Any, **options: Any) -> Training:
        seeds.append(options["seed"])
        return train(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_runs, "train_model", worked)
        patch.setattr(architectures, "build", built)
        patch.setattr(loop, "train_epochs", watched)
        model_run = model_runs.train(
            *(PART, hyperparameters, dataset(), splits),
            seed=2,
            threads=2,
            execute=inline(training_arrays(splits["train"], splits["val"])),
            checkpoint=root / "2.npz",
        )
    origin = Origin(f"train@{NAME}", "k", machine_facts(1))
    with tracking.open_model_run(root, NAME, PART, 2, record, origin) as run:
        tracking.log_model_run(run, PART, 2, record, model_run)
    return Trained(root, record, model_run, *found[0], splits, seeds)


def test_weights_and_training_follow_from_the_seed(trained: Trained) -> None:
    weights = derive_seed(2, "weights")
    assert trained.seeds == [weights, 2, weights]  # the last network gets the trained weights


def test_the_scores_are_those_of_the_kept_weights(trained: Trained) -> None:
    model_run, progress = trained.model_run, trained.progress
    assert progress.best_epoch < progress.epochs  # or the last epoch would do
    assert model_run["best_epoch"] == progress.best_epoch
    assert model_run["scores"]["fit_loss"] == progress.best["loss"]
    for name, split in trained.splits.items():
        probabilities = predict_probabilities(trained.model, split.images)
        right = (probabilities.argmax(1) == split.labels).mean()
        assert model_run["scores"][f"{name}_accuracy"] == right
        loss = log_loss(split.labels, probabilities)
        assert model_run["scores"][f"{name}_loss"] == loss


def test_the_classes_are_those_of_the_test_split(trained: Trained) -> None:
    model_run, test = trained.model_run, trained.splits["test"]
    probabilities = predict_probabilities(trained.model, test.images)
    predicted = probabilities.argmax(1)
    assert model_run["confusion"] == confusion_matrix(test.labels, predicted).tolist()
    columns = precision_recall_fscore_support(test.labels, predicted, zero_division=0)[:3]
    assert np.array(model_run["classes"]) == pytest.approx(np.transpose(columns))
    first = model_run["predictions"][0]
    assert (first[0], first[1:]) == (test.labels[0], probabilities[0].tolist())


def test_what_is_written_is_read_back(trained: Trained, tmp_path: Path) -> None:
    model_run = trained.model_run
    other = {**model_run, "predictions": [[0, *[0.1] * 10]], "confusion": [[1] * 10] * 10}
    model_runs.write(tmp_path, [1, 2], [model_run, other], trained.record)
    found = read_model(tmp_path)
    assert found.confusion.tolist() == model_run["confusion"]
    assert found.probabilities.tolist() == [row[1:] for row in model_run["predictions"]]
    assert found.labels.tolist() == [row[0] for row in model_run["predictions"]]
    again = read_runs(tmp_path)[1]
    assert all(again[part] == model_run[part] for part in ("scores", "best_epoch", "classes"))


def test_the_metrics_in_mlflow_are_those_of_the_model_run(trained: Trained) -> None:
    client = MlflowClient(f"sqlite:///{trained.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(tracking.REPLICATIONS.name)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    scores, last = trained.model_run["scores"], trained.model_run["history"][-1]
    assert run.info.run_name == f"{NAME}-2"
    expected = {
        **{name: value for name, value in last.items() if name != "epoch"},
        "best_val_accuracy": scores["val_accuracy"],
        "best_val_loss": scores["val_loss"],
        "best_epoch": trained.model_run["best_epoch"],
        "test_accuracy": scores["test_accuracy"],
        "test_log_loss": scores["test_loss"],
        "test_f1_macro": float(np.mean(trained.model_run["classes"], axis=0)[2]),
    }
    assert run.data.metrics == {name: rounded(value) for name, value in expected.items()}
