import contextlib
import importlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidebyside.tracking.index import Index
from sidebyside.tracking.local_store import relocate
from sidebyside.tracking.logged_models import (
    DATASET_FILE,
    KERAS_FILE,
    Images,
    dataset_record,
    is_intact,
)
from sidebyside.tracking.runs import open_run, reopen_run
from sidebyside.tracking.store import open_store
from tests.support.datasets import FASHION_MNIST
from tests.support.stores import DIGESTS, REGISTERED, TRAINING, client_of, points_of, runs_of


@pytest.mark.slow
def test_a_model_has_its_signature_example_and_predictions(
    with_model: Path,
    model: Any,
    pixels: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{with_model / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)  # as a notebook in another folder
    loaded = mlflow.pyfunc.load_model(f"models:/{REGISTERED['mlp']}@champion")
    predicted = loaded.predict(pixels)
    assert (predicted == model.predict(pixels, batch_size=32, verbose=0)).all()
    assert predicted.dtype == np.float32
    plain = mlflow.keras.load_model(f"models:/{REGISTERED['mlp']}@champion")
    assert (plain.predict(pixels, batch_size=32, verbose=0) == predicted).all()
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
    assert logged.tags["mlflow.note.content"].startswith("Small. ")
    assert {m.key: (m.value, m.dataset_name, m.dataset_digest) for m in logged.metrics or ()} == {
        "val_accuracy": (0.1, "val", "ab" * 8),
        "test_accuracy": (0.9, "test", "cd" * 8),
    }
    points = points_of(with_model, run.info.run_id, "val_accuracy")
    assert points == [(0, 0.0), (1, 0.1), (2, 0.2)]


@pytest.mark.slow
def test_a_reworded_title_replaces_the_record_beside_a_complete_model(
    root: Path, model: Any, pixels: Images
) -> None:
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_model(model, FASHION_MNIST, pixels[:1], step=0)
    reworded = FASHION_MNIST.model_copy(update={"title": "Clothes"})
    for changes in (1, 0):
        with open_run(root, TRAINING, "run", "k") as run:
            assert run.complete
            run.update_dataset(reworded)
            assert run.added["model"] == changes
    (output,) = runs_of(root)[0].outputs.model_outputs
    (file,) = root.glob(f"mlruns/*/models/{output.model_id}/artifacts/{DATASET_FILE}")
    assert file.read_bytes() == dataset_record(reworded)
    assert is_intact(open_store(root), output.model_id)


@pytest.mark.slow
def test_a_resumed_run_gets_no_second_model(root: Path, model: Any, pixels: Images) -> None:
    for _ in range(2):
        with contextlib.suppress(ZeroDivisionError), open_run(root, TRAINING, "run", "k") as run:
            run.log_model(model, FASHION_MNIST, pixels[:1], step=0)
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
        run.log_model(model, FASHION_MNIST, pixels[:1], step=0)
    (found,) = runs_of(root)
    (output,) = found.outputs.model_outputs
    assert output.model_id != half.model_id
    (artifacts,) = root.glob("mlruns/*/models/*/artifacts")
    assert artifacts.parent.name == output.model_id


@pytest.fixture
def copied(with_model: Path, tmp_path: Path) -> Path:
    """A copy of the store, whose runs have been indexed."""
    utils = importlib.import_module("mlflow.tracking._tracking_service.utils")
    utils._artifact_repos_cache.clear()  # ids are those of the original
    root = Path(shutil.copytree(with_model, tmp_path / "copy"))
    relocate(root)
    store = open_store(root)
    store.index = Index(store)
    return root


def location(root: Path) -> Path:
    (run,) = runs_of(root)
    (output,) = run.outputs.model_outputs
    return Path(client_of(root).get_logged_model(output.model_id).artifact_location)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["folder", "MLmodel", "truncated", "altered", "tag", "nothing"])
def test_lost_and_altered_files_of_a_model_are_logged_again(
    copied: Path, tmp_path: Path, model: Any, pixels: Images, damage: str
) -> None:
    from sidebyside.models.saving import save_model

    file = tmp_path / "model.keras"
    save_model(file, model)
    logged = location(copied) / KERAS_FILE
    assert logged.read_bytes() == file.read_bytes()
    if damage == "folder":
        shutil.rmtree(logged.parents[1])
    elif damage == "MLmodel":
        (logged.parents[1] / "MLmodel").unlink()
    elif damage == "truncated":
        logged.write_bytes(file.read_bytes()[:100])
    elif damage == "altered":
        logged.write_bytes(file.read_bytes().replace(b"softmax", b"sigmoid"))
    elif damage == "tag":
        client_of(copied).set_logged_model_tags(logged.parents[2].name, {"files": "[]"})
    with open_run(copied, TRAINING, "mlp-original-1", "k") as run:
        run.log_model(file, FASHION_MNIST, pixels[:1], step=1)
    assert run.added == ({} if damage == "nothing" else {"model": 1})
    assert not run.missed
    assert logged.read_bytes() == file.read_bytes()
    assert (logged.parents[1] / "MLmodel").is_file()
    (version,) = client_of(copied).search_model_versions(f"name = '{REGISTERED['mlp']}'")
    assert version.source == f"models:/{logged.parents[2].name}"


@pytest.mark.slow
def test_a_deleted_model_is_logged_and_registered_again(
    copied: Path, model: Any, pixels: Images
) -> None:
    (output,) = runs_of(copied)[0].outputs.model_outputs
    client_of(copied).delete_logged_model(output.model_id)
    with open_run(copied, TRAINING, "mlp-original-1", "k") as run:
        run.log_model(model, FASHION_MNIST, pixels[:1], step=1)
    with reopen_run(copied, TRAINING, "mlp-original-1", "k", evaluated="e") as run:
        run.register(REGISTERED["mlp"], 0.9, DIGESTS)
    version = client_of(copied).get_model_version_by_alias(REGISTERED["mlp"], "champion")
    assert version.source != f"models:/{output.model_id}"
    loaded = client_of(copied).get_logged_model(str(version.source).removeprefix("models:/"))
    assert {metric.key for metric in loaded.metrics or ()} >= {"val_accuracy"}
