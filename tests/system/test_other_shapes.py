"""Predict and serve with models of other shapes and classes than Fashion-MNIST's."""

import functools
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from numpy.typing import NDArray
from PIL import Image

from sidebyside.config.dataset import Dataset
from sidebyside.config.paths import ModelName, Paths
from sidebyside.core.files import sha256, write_json
from sidebyside.models import saving
from sidebyside.serving import predict
from sidebyside.serving.registered_model import load_registered
from sidebyside.serving.serve import champion
from sidebyside.tracking.logged_models import classes_digest, dataset_digest
from sidebyside.tracking.registry import CLASSES_TAG, DATASET_TAG, FILE_TAG
from sidebyside.tracking.runs import open_run, reopen_run
from sidebyside.tracking.views import registered_model, training_experiment
from tests.support.datasets import dataset
from tests.support.scoring import serving

PROJECT = Path(__file__).resolve().parents[2]
DIGITS = dataset(8, 8, 1, tuple("0123456789"), name="digits", title="Digits")
ICONS = dataset(8, 12, 3, ("cat", "猫", "<b>"), name="icons", title="Icons", preparation="pad")
BOTH = pytest.mark.parametrize("data", [DIGITS, ICONS], ids=lambda data: data.name)


def classifier(data: Dataset) -> Any:
    """Return a model that finds images with a bright last row to be of the last class."""
    import keras

    model = keras.Sequential(
        [
            keras.Input(data.shape, dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(data.classes, activation="softmax"),
        ]
    )
    weights = np.zeros((*data.shape, data.classes), np.float32)
    weights[-1, ..., -1] = 1
    model.layers[-1].set_weights(
        [weights.reshape(-1, data.classes), np.zeros(data.classes, np.float32)]
    )
    return model


def with_bright_row(data: Dataset, *, row: int) -> NDArray[np.uint8]:
    image = np.zeros(data.shape, np.uint8)
    image[row] = 255
    return image


@pytest.mark.timeout(300)
@BOTH
def test_a_model_is_served_with_the_shape_and_the_classes_that_it_was_logged_with(
    root: Path, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = root / "model.keras"
    saving.save_model(file, classifier(data))
    name = registered_model(data.name, "mlp")
    images = np.stack([with_bright_row(data, row=-1), with_bright_row(data, row=0)])
    experiment = training_experiment(data)
    with open_run(root, experiment, "mlp-original-1", "k") as run:
        run.log_model(file, data, images[:1], step=1)
    with reopen_run(root, experiment, "mlp-original-1", "k", evaluated="e") as run:
        digests = {
            FILE_TAG: sha256(file),
            DATASET_TAG: dataset_digest(data),
            CLASSES_TAG: classes_digest(data),
        }
        run.register(name, 0.9, digests)
    best = champion(root, name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", best.store)
    model, found = load_registered(f"models:/{name}/{best.version}", best.digests)
    assert found == data

    predict = functools.partial(model.predict, verbose=0)
    with serving(predict, tmp_path, dataset=found) as running:
        url = running.url
        asked = requests.post(f"{url}/invocations", json={"inputs": images.tolist()}, timeout=60)
        other = requests.post(f"{url}/invocations", json={"inputs": [[[0] * 28] * 28]}, timeout=60)
        names = requests.get(f"{url}/classes", timeout=60).json()
    probabilities = np.array(asked.json()["predictions"])
    assert probabilities.shape == (2, data.classes)
    assert names[probabilities[0].argmax()] == data.class_names[-1]
    assert probabilities[1] == pytest.approx(1 / data.classes)
    assert other.status_code == 400
    assert f"each image 8 rows of {data.width} " in other.json()["message"]


@pytest.mark.timeout(300)
@BOTH
def test_a_picture_is_prepared_and_named_as_the_data_set_of_the_models(
    tmp_path: Path,
    data: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = Paths(tmp_path)
    shutil.copy(PROJECT / "params.yaml", paths.params)  # its data set is another one
    write_json(paths.dataset, data.model_dump(mode="json"))
    for model in ("mlp", "cnn"):
        for kind in ("original", "augmented"):
            name = ModelName(model, kind, 1)
            saving.save_model(paths.model(name), classifier(data))
            scores = {"val_accuracy": 0.9, "val_loss": 0.1, "best_epoch": 1, "epochs": 1}
            write_json(paths.training(name) / "metrics.json", scores)
            digests = {split: summary.sha256 for split, summary in data.splits.items()}
            write_json(paths.training(name) / "model.json", {"data_sha256": digests})
    picture = tmp_path / "x.png"
    Image.fromarray(with_bright_row(data, row=-1)).save(picture)
    monkeypatch.setattr(predict, "CHECKOUT", tmp_path)
    monkeypatch.setattr(predict, "configure", lambda threads: None)  # TensorFlow is loaded already
    monkeypatch.setattr(sys, "argv", ["predict", str(picture)])
    predict.main()
    first, _, header, *rows, last, _, _, _ = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{picture}: ")
    assert header.split() == ["mlp-original-1", "cnn-original-1"]
    assert len(rows) == data.classes
    assert rows[0].startswith(data.class_names[-1])
    assert last.split() == ["prediction", *(2 * [data.class_names[-1]])]
