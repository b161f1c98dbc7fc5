"""What the guard before MLflow's scoring server makes of a body."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml

from sidebyside.core.errors import UserError

IMPORTED = pytest.mark.filterwarnings("ignore:.*Any type hint:UserWarning")  # MLflow's, of its own


@IMPORTED
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"inputs": [[[0, 0.5]]]}', "0.5 is no pixel: send whole numbers from 0 to 255"),
        (b'{"inputs": [[[1e2]]]}', "1e2 is no pixel"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"inputs": ' + b"9" * 5000 + b"}", "send whole numbers from 0 to 255"),
    ],
)
def test_what_mlflow_would_misread_has_a_reason(body: bytes, reason: str) -> None:
    from sidebyside.serving.server import misreading

    assert reason in (misreading(body) or "")


@IMPORTED
@pytest.mark.parametrize("body", [b'{"inputs": [[[0, 255]]]}', b"", b"a shirt", b"\xff\xfe\xfd"])
def test_what_mlflow_answers_rightly_is_left_to_it(body: bytes) -> None:
    from sidebyside.serving.server import misreading

    assert misreading(body) is None


class Evil:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.fixture
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a server sets for its process hold for one test."""
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "true")


@pytest.mark.slow
@IMPORTED
@pytest.mark.usefixtures("_own_settings")
def test_what_would_run_code_as_it_is_loaded_is_not_served(tmp_path: Path) -> None:
    import mlflow
    import pandas as pd

    from sidebyside.serving.server import server

    def predict(self: Any, context: Any, model_input: pd.DataFrame) -> pd.DataFrame:
        return model_input

    bases = (Evil, mlflow.pyfunc.PythonModel)
    model = type("Model", bases, {"predict": predict})(tmp_path / "unpickled")
    mlflow.pyfunc.save_model(tmp_path / "model", python_model=model, pip_requirements=[])
    with pytest.raises(UserError, match="is not served: it is no model of Keras's alone"):
        server(str(tmp_path / "model"))
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.slow
@IMPORTED
@pytest.mark.usefixtures("_own_settings")
def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    from sidebyside.serving.server import server

    with pytest.raises(UserError, match="none is not served: "):
        server(str(tmp_path / "none"))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A small model as MLflow saves it."""
    import keras
    import mlflow

    layers = [keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]
    folder = tmp_path / "saved"
    # Without what keras-tuner registers where another test has loaded it: MLflow would pickle it.
    with patch.dict(keras.saving.get_custom_objects(), clear=True):
        mlflow.tensorflow.save_model(keras.Sequential(layers), folder, pip_requirements=[])
    return folder


@pytest.mark.slow
@IMPORTED
@pytest.mark.usefixtures("_own_settings")
def test_a_model_of_keras_is_served(saved: Path) -> None:
    from sidebyside.serving.server import server

    assert server(str(saved)).config.app is not None


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
def test_a_flavor_of_other_code_is_not_served(
    saved: Path, flavor: str, key: str, value: str
) -> None:
    from sidebyside.serving.server import server

    described = yaml.safe_load((saved / "MLmodel").read_text())
    described["flavors"].setdefault(flavor, {})[key] = value
    (saved / "MLmodel").write_text(yaml.safe_dump(described))
    with pytest.raises(UserError, match="saved is not served: it is no model of Keras's alone"):
        server(str(saved))


@pytest.mark.slow
@IMPORTED
@pytest.mark.usefixtures("_own_settings")
@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("keras_module.txt", b"antigravity", "it is no model of Keras's alone"),
        ("save_format.txt", b"h5", "it is no model of Keras's alone"),
        ("custom_objects.cloudpickle", b"", "it is no model of Keras's alone"),
        ("model.keras", b"no archive", "data/model.keras is not a valid Keras model: not a .keras"),
    ],
)
def test_a_folder_with_anything_else_is_not_served(
    saved: Path, file: str, content: bytes, reason: str
) -> None:
    from sidebyside.serving.server import server

    (saved / "data" / file).write_bytes(content)
    with pytest.raises(UserError, match=f"saved is not served: {reason}"):
        server(str(saved))
