"""The checks before MLflow's scoring server, and the models that it accepts."""

import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml

from sidebyside.core.errors import UserError

IMPORTED = pytest.mark.filterwarnings("ignore:.*Any type hint:UserWarning")  # by MLflow


@IMPORTED
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"inputs": [[[0, 0.5]]]}', "0.5 is not a pixel value: send integers from 0 to 255"),
        (b'{"inputs": [[[1e2]]]}', "1e2 is not a pixel value"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"inputs": ' + b"9" * 5000 + b"}", "send integers from 0 to 255"),
    ],
)
def test_a_body_that_mlflow_would_misread_is_refused(body: bytes, reason: str) -> None:
    from sidebyside.serving.scoring_server import reason_to_refuse

    assert reason in (reason_to_refuse(body) or "")


@IMPORTED
@pytest.mark.parametrize("body", [b'{"inputs": [[[0, 255]]]}', b"", b"a shirt", b"\xff\xfe\xfd"])
def test_other_bodies_are_passed_on_to_mlflow(body: bytes) -> None:
    from sidebyside.serving.scoring_server import reason_to_refuse

    assert reason_to_refuse(body) is None


class Evil:
    """Create a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.fixture
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the environment variables that a server sets after the test."""
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "true")


@pytest.mark.slow
@IMPORTED
@pytest.mark.usefixtures("_own_settings")
def test_a_model_that_runs_code_when_loaded_is_refused(tmp_path: Path) -> None:
    import mlflow
    import pandas as pd

    from sidebyside.serving.scoring_server import create_server

    def predict(self: Any, context: Any, model_input: pd.DataFrame) -> pd.DataFrame:
        return model_input

    bases = (Evil, mlflow.pyfunc.PythonModel)
    model = type("Model", bases, {"predict": predict})(tmp_path / "unpickled")
    mlflow.pyfunc.save_model(tmp_path / "model", python_model=model, pip_requirements=[])
    with pytest.raises(UserError, match="cannot be served: it is not a plain Keras model"):
        create_server(str(tmp_path / "model"))
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.slow
@IMPORTED
@pytest.mark.usefixtures("_own_settings")
def test_a_missing_model_is_named(tmp_path: Path) -> None:
    from sidebyside.serving.scoring_server import create_server

    with pytest.raises(UserError, match="none cannot be served: "):
        create_server(str(tmp_path / "none"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model as MLflow saves it; changed in copies only."""
    import keras
    import mlflow

    layers = [
        keras.Input((28, 28), dtype="uint8"),
        keras.layers.Flatten(),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Dense(10, "softmax"),
    ]
    folder = tmp_path_factory.mktemp("models") / "template"
    # Without the objects that keras-tuner registers: MLflow would pickle them.
    with patch.dict(keras.saving.get_custom_objects(), clear=True):
        mlflow.tensorflow.save_model(keras.Sequential(layers), folder, pip_requirements=[])
    return folder


@pytest.fixture
def saved(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "saved"))


@pytest.mark.slow
@IMPORTED
@pytest.mark.usefixtures("_own_settings")
def test_a_keras_model_is_served(saved: Path) -> None:
    from sidebyside.serving.scoring_server import create_server

    assert create_server(str(saved)).config.app is not None


@pytest.mark.slow
@IMPORTED
@pytest.mark.usefixtures("_own_settings")
@pytest.mark.parametrize(
    ("flavor", "key", "value"),
    [
        ("python_function", "code", "code"),
        ("tensorflow", "code", "code"),
        ("tensorflow", "model_type", "tf2-module"),
        ("python_function", "loader_module", "mlflow.sklearn"),
        ("python_function", "data", "elsewhere"),
        ("keras", "model_type", "tf1-estimator"),
    ],
)
def test_a_description_that_names_other_code_is_refused(
    saved: Path, flavor: str, key: str, value: str
) -> None:
    from sidebyside.serving.scoring_server import create_server

    described = yaml.safe_load((saved / "MLmodel").read_text())
    described["flavors"].setdefault(flavor, {})[key] = value
    (saved / "MLmodel").write_text(yaml.safe_dump(described))
    with pytest.raises(UserError, match="saved cannot be served: it is not a plain Keras model"):
        create_server(str(saved))


@pytest.mark.slow
@IMPORTED
@pytest.mark.usefixtures("_own_settings")
@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("keras_module.txt", b"antigravity", "it is not a plain Keras model"),
        ("save_format.txt", b"h5", "it is not a plain Keras model"),
        ("custom_objects.cloudpickle", b"", "it is not a plain Keras model"),
        ("model.keras", b"no archive", "data/model.keras is not a valid Keras model: not a .keras"),
    ],
)
def test_a_folder_with_other_files_is_refused(
    saved: Path, file: str, content: bytes, reason: str
) -> None:
    from sidebyside.serving.scoring_server import create_server

    (saved / "data" / file).write_bytes(content)
    with pytest.raises(UserError, match=f"saved cannot be served: {reason}"):
        create_server(str(saved))
