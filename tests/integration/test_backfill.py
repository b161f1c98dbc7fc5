"""Fill the MLflow store of a checkout from its files."""

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.stores import own_store

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
    model.unlink()
    shutil.copy(other, model)
    message = backfill(own, fails=True)
    assert message.startswith("backfill: error: ")
    assert "mlp-original-1.keras is not the model in its model.json" in message
    assert len(message.splitlines()) == 1
