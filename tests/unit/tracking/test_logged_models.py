import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidebyside.tracking.logged_models import Images
from sidebyside.tracking.runs import open_run
from sidebyside.tracking.views import TRAINING
from tests.support.stores import client_of, points_of, runs_of


@pytest.mark.slow
def test_a_model_has_its_signature_example_and_predictions(
    with_model: Path, model: Any, pixels: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{with_model / 'mlflow.db'}")
    loaded = mlflow.pyfunc.load_model("models:/fashion-mnist-mlp@champion")
    predicted = loaded.predict(pixels)
    assert (predicted == model.predict(pixels, batch_size=32, verbose=0)).all()
    assert predicted.dtype == np.float32
    inputs, outputs = loaded.metadata.signature.inputs, loaded.metadata.signature.outputs
    assert (inputs.inputs[0].type, inputs.inputs[0].shape) == (np.uint8, (-1, 28, 28))
    assert (outputs.inputs[0].type, outputs.inputs[0].shape) == (np.float32, (-1, 10))
    assert (loaded.input_example == pixels[:1]).all()


@pytest.mark.slow
def test_a_model_lists_its_pinned_requirements(with_model: Path) -> None:
    run = runs_of(with_model)[0]
    (output,) = run.outputs.model_outputs
    (file,) = with_model.glob(f"mlruns/*/models/{output.model_id}/artifacts/requirements.txt")
    requirements = dict(line.split("==") for line in file.read_text().split())
    assert set(requirements) == {"mlflow", "tensorflow", "keras", "numpy"}


@pytest.mark.slow
def test_a_model_has_the_scores_of_its_epoch_and_of_the_test(with_model: Path) -> None:
    run = runs_of(with_model)[0]
    (output,) = run.outputs.model_outputs
    logged = client_of(with_model).get_logged_model(output.model_id)
    assert logged.status
    assert (logged.name, logged.status.value) == ("mlp-original-1", "READY")
    assert logged.tags["mlflow.note.content"] == "Small"
    assert {m.key: (m.value, m.dataset_name, m.dataset_digest) for m in logged.metrics or ()} == {
        "val_accuracy": (0.1, "val", "ab" * 8),
        "test_accuracy": (0.9, "test", "cd" * 8),
    }
    points = points_of(with_model, run.info.run_id, "val_accuracy")
    assert points == [(0, 0.0), (1, 0.1), (2, 0.2)]


@pytest.mark.slow
def test_a_resumed_run_gets_no_second_model(root: Path, model: Any, pixels: Images) -> None:
    for _ in range(2):
        with contextlib.suppress(ZeroDivisionError), open_run(root, TRAINING, "run", "k") as run:
            run.log_model(model, pixels[:1], step=0)
            raise ZeroDivisionError
    (found,) = runs_of(root)
    assert len(found.outputs.model_outputs) == 1
    assert len(list(root.glob("mlruns/*/models/*"))) == 1


@pytest.mark.slow
def test_an_incomplete_model_of_a_killed_process_is_replaced(
    root: Path, model: Any, pixels: Images
) -> None:
    with contextlib.suppress(ZeroDivisionError), open_run(root, TRAINING, "run", "k") as run:
        client = client_of(root)
        assert run.run_id
        experiment = client.get_run(run.run_id).info.experiment_id
        half = client.create_logged_model(experiment, name="run", source_run_id=run.run_id)
        Path(half.artifact_location).mkdir(parents=True)
        raise ZeroDivisionError
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_model(model, pixels[:1], step=0)
    (found,) = runs_of(root)
    (output,) = found.outputs.model_outputs
    assert output.model_id != half.model_id
    (artifacts,) = root.glob("mlruns/*/models/*/artifacts")
    assert artifacts.parent.name == output.model_id
