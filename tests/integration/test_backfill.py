"""Fill the MLflow store of a checkout from its files."""

import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.pipeline import MODELS, TRAINING
from tests.support.stores import SEARCH, client_of, own_store, runs_of

if TYPE_CHECKING:
    from tests.support.checkout import Checkout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def backfill(checkout: "Checkout", **options: Any) -> str:
    done = checkout.run(
        "python", "-m", "sidebyside.tracking.backfill", environment={"PYTHONPATH": "src"}, **options
    )
    return done.stdout if done.returncode == 0 else done.stderr


def test_a_lost_store_is_filled_again_and_a_full_one_does_not_change(
    reproduced: "Checkout", own: "Checkout"
) -> None:
    own.forget_runs()
    assert "logged" in backfill(own)
    found = own_store(own)
    expected = own_store(reproduced)
    assert found["runs"].keys() == expected["runs"].keys()
    for path, run in expected["runs"].items():
        assert found["runs"][path] == run, path
    assert found["champions"] == expected["champions"]
    assert "logged" not in backfill(own)
    assert own_store(own) == found
    assert own.results() == reproduced.results()


def test_lost_artifacts_runs_and_champions_are_logged_again(
    reproduced: "Checkout", own: "Checkout"
) -> None:
    client = client_of(own.root)
    for registered in client.search_registered_models():
        client.delete_registered_model(registered.name)
    trial = next(run for run in runs_of(own.root, SEARCH) if "trial" in run.data.tags)
    client.delete_run(trial.info.run_id)
    for folder in own.root.glob("mlruns/*/"):
        shutil.rmtree(folder)
    output = backfill(own)
    assert f"search-{trial.data.tags['model']}: logged again: 1 run, " in output
    assert "mlp-original-1: logged again: 1 model\n" in output
    assert re.search(r"comparison: logged again: \d+ figures, .*, champions registered\n", output)
    expected, found = own_store(reproduced), own_store(own)
    assert found["runs"] == expected["runs"]
    assert found["champions"] == expected["champions"]
    for model in MODELS:
        version = client.get_model_version_by_alias(f"{TRAINING}-{model}", "champion")
        logged = client.get_logged_model(str(version.source).removeprefix("models:/"))
        folder = Path(logged.artifact_location)
        assert (folder / "MLmodel").is_file()
        served = (folder / "data/model.keras").read_bytes()
        assert served == (own.root / f"models/{logged.name}.keras").read_bytes()
    assert "logged" not in backfill(own)


def test_runs_that_the_pipeline_logged_do_not_change(own: "Checkout") -> None:
    before = own_store(own)
    assert "logged" not in backfill(own)
    assert own_store(own) == before


def test_missing_models_are_an_error(own: "Checkout") -> None:
    own.forget_runs()
    shutil.rmtree(own.root / "models")
    message = backfill(own, fails=True)
    assert message.startswith("backfill: error: ")
    assert "is missing" in message
    assert len(message.splitlines()) == 1


def test_an_unreachable_server_is_an_error(own: "Checkout") -> None:
    unreachable = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "PYTHONPATH": "src"}
    done = own.run(
        "python", "-m", "sidebyside.tracking.backfill", environment=unreachable, fails=True
    )
    (line,) = done.stderr.splitlines()
    assert line.startswith("backfill: error: MLflow at http://127.0.0.1:9 cannot be reached (")
    assert line.endswith("): start it and run the same command again")
    assert done.stdout == ""


def test_a_model_that_differs_from_its_record_is_not_logged(own: "Checkout") -> None:
    own.forget_runs()
    model, other = (own.root / f"models/mlp-{data}-1.keras" for data in ("original", "augmented"))
    content = model.read_bytes()
    model.unlink()
    shutil.copy(other, model)
    message = backfill(own, fails=True)
    assert message.startswith("backfill: error: models/mlp-original-1.keras is not as dvc.lock")
    (cure,) = re.findall("`(.+)` restores it", message)
    assert not (own.root / "mlflow.db").exists()
    own.run(*shlex.split(cure))
    assert model.read_bytes() == content
