"""Models of MLflow that are accepted for serving, and those that are not."""

import pickle
import shutil
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import yaml

from sidebyside.core.errors import UserError
from sidebyside.core.files import sha256
from sidebyside.tracking.logged_models import dataset_record
from sidebyside.tracking.registry import DATASET_TAG, FILE_TAG
from tests.support.datasets import FASHION_MNIST

IMPORTED = pytest.mark.filterwarnings("ignore:.*Any type hint:UserWarning")  # by MLflow


class Evil:
    """Create a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.fixture
def _own_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the environment variable that loading sets after the test."""
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "true")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model as MLflow saves it; changed in copies only."""
    import keras
    import mlflow

    layers = [
        keras.Input((28, 28), dtype="uint8"),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Flatten(),
        keras.layers.Dense(10, "softmax"),
    ]
    folder = tmp_path_factory.mktemp("models") / "template"
    # Without the objects that keras-tuner registers: MLflow would pickle them.
    with patch.dict(keras.saving.get_custom_objects(), clear=True):
        mlflow.tensorflow.save_model(keras.Sequential(layers), folder, pip_requirements=[])
    (folder / "data/dataset.json").write_bytes(dataset_record(FASHION_MNIST))
    return folder


@pytest.fixture
def saved(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "saved"))


def load(folder: Path, **digests: str) -> None:
    """Load a saved model, whose files have digests; by default, the right ones."""
    from sidebyside.serving.registered_model import load_registered

    for tag, file in ((FILE_TAG, "data/model.keras"), (DATASET_TAG, "data/dataset.json")):
        if tag not in digests:
            digests[tag] = sha256(folder / file)
    model, dataset = load_registered(str(folder), digests)
    images = np.zeros((2, *dataset.shape), np.uint8)
    assert dataset == FASHION_MNIST
    assert model.predict(images, verbose=0).shape == (2, 10)


def refusal(folder: Path, **digests: str) -> str:
    """Return why a saved model is not served, in one line."""
    with pytest.raises(UserError) as caught:
        load(folder, **digests)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{folder} cannot be served: ")
    return message.removeprefix(f"{folder} cannot be served: ")


@pytest.mark.slow
@IMPORTED
@pytest.mark.usefixtures("_own_setting")
def test_only_the_keras_file_of_a_model_is_loaded(saved: Path, tmp_path: Path) -> None:
    described = yaml.safe_load((saved / "MLmodel").read_text())
    described["flavors"]["python_function"] |= {"loader_module": "antigravity", "code": "code"}
    (saved / "MLmodel").write_text(yaml.safe_dump(described))
    pickled = pickle.dumps(Evil(tmp_path / "unpickled"))
    (saved / "data/custom_objects.cloudpickle").write_bytes(pickled)
    (saved / "data/keras_module.txt").write_text("antigravity")
    (saved / "requirements.txt").write_text("https://example.com/evil.tar.gz")
    load(saved)
    assert not (tmp_path / "unpickled").exists()
    assert "antigravity" not in sys.modules


@pytest.mark.slow
@IMPORTED
@pytest.mark.usefixtures("_own_setting")
def test_another_model_than_the_evaluated_one_is_refused(saved: Path) -> None:
    message = refusal(saved, file_sha256="0" * 64)
    assert message.startswith("data/model.keras is not the file that was evaluated: run `make ba")


@pytest.mark.slow
@IMPORTED
@pytest.mark.usefixtures("_own_setting")
def test_a_file_that_is_not_a_model_is_refused(saved: Path) -> None:
    (saved / "data/model.keras").write_bytes(b"no archive")
    assert refusal(saved).startswith("data/model.keras is not a valid Keras model: not a .keras")


@pytest.mark.slow
@IMPORTED
@pytest.mark.usefixtures("_own_setting")
def test_a_model_without_its_file_is_refused(saved: Path) -> None:
    (saved / "data/model.keras").unlink()
    message = refusal(saved, file_sha256="0" * 64)
    assert message.startswith("it has no file data/model.keras: run `make backfill`; if that")


@pytest.mark.slow
@IMPORTED
@pytest.mark.usefixtures("_own_setting")
def test_a_model_without_the_evaluated_record_of_its_data_set_is_refused(saved: Path) -> None:
    record = saved / "data/dataset.json"
    names = record.read_text()
    record.write_text(names.replace("Shirt", "Trousers"))
    message = refusal(saved, dataset_sha256="0" * 64)
    assert message.startswith("data/dataset.json is not the file that was evaluated: run `make ba")
    record.write_text(names.replace("height", "size"))
    assert refusal(saved).startswith("data/dataset.json: size: unknown key: choose")
    with record.open("wb") as file:
        file.truncate(1 << 40)  # sparse
    message = refusal(saved, dataset_sha256="0" * 64)
    assert message == "data/dataset.json is larger than 1 MiB"
    record.unlink()
    message = refusal(saved, dataset_sha256="0" * 64)
    assert message.startswith("it has no file data/dataset.json: run `make backfill`")


@pytest.mark.slow
@IMPORTED
@pytest.mark.usefixtures("_own_setting")
def test_a_file_larger_than_any_model_is_not_downloaded(saved: Path) -> None:
    with (saved / "data/model.keras").open("wb") as file:
        file.truncate(1 << 40)  # sparse
    assert refusal(saved, file_sha256="0" * 64) == "data/model.keras is larger than 4,096 MiB"


@pytest.mark.slow
@IMPORTED
@pytest.mark.usefixtures("_own_setting")
@pytest.mark.parametrize("uri", ["none", "models:/none/1", "ftp://example.com"])
def test_a_missing_model_is_named(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sidebyside.serving.registered_model import load_registered

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(UserError, match=f"^{uri} cannot be served: [^\n]*$"):
        load_registered(uri, dict.fromkeys((FILE_TAG, DATASET_TAG), "0" * 64))
