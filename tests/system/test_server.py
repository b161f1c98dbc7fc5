"""Log to an MLflow server on PostgreSQL that stores the artifacts, instead of the local store."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from tests.support.ports import free_port
from tests.support.servers import START, postgresql, serving
from tests.support.stores import TRAINING, content, own_store

if TYPE_CHECKING:
    from tests.support.checkout import Checkout

pytestmark = pytest.mark.timeout(1800)

WRITERS = 4


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of a new, empty database."""
    with postgresql() as address:
        yield address


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server on that database."""
    with serving(database, tmp_path_factory.mktemp("artifacts"), free_port()) as address:
        yield address


def test_a_server_gets_the_same_runs_as_the_local_store(
    server: str, reproduced: "Checkout", own: "Checkout"
) -> None:
    own.forget_runs()
    own.run(
        *("dvc", "repro", "--force", "--single-item", "tune", "train", "evaluate"),
        environment={"MLFLOW_TRACKING_URI": server},
    )
    assert not (own.root / "mlflow.db").exists()
    expected = own_store(reproduced)
    found = content(MlflowClient(server))
    assert found["runs"].keys() == expected["runs"].keys()
    for path, run in expected["runs"].items():
        assert found["runs"][path] == run, path
    assert found["champions"] == expected["champions"]
    assert own.results() == reproduced.results()


def test_a_backfill_logs_artifacts_that_a_server_has_lost(server: str, own: "Checkout") -> None:
    def backfill() -> str:
        environment = {"MLFLOW_TRACKING_URI": server, "PYTHONPATH": "src"}
        module = "sidebyside.tracking.backfill"
        return own.run("python", "-m", module, environment=environment).stdout

    own.forget_runs()
    backfill()
    client = MlflowClient(server)
    expected = content(client)
    version = client.get_model_version_by_alias(f"{TRAINING.name}-mlp", "champion")
    model = client.get_logged_model(str(version.source).removeprefix("models:/"))
    run = client.get_run(str(version.run_id))
    for location, path in ((model.artifact_location, "data"), (run.info.artifact_uri, "tables")):
        repository: Any = get_artifact_repository(location, tracking_uri=server)
        repository.delete_artifacts(path)
    assert content(client) != expected
    output = backfill()
    assert f"{model.name}: logged again: 1 model\n" in output
    assert "comparison: logged again: 3 tables, champions registered\n" in output
    assert content(client) == expected
    sizes = {
        one.path: one.file_size
        for one in client.list_logged_model_artifacts(model.model_id, "data")
    }
    assert sizes["data/model.keras"] == (own.root / f"models/{model.name}.keras").stat().st_size
    assert "logged" not in backfill()


def test_four_trainings_at_once_are_logged_in_full(server: str, own: "Checkout") -> None:
    seeds = [str(seed) for seed in range(11, 11 + WRITERS)]
    running = [
        own.start_stage(
            "train", "mlp", "original", seed, environment={"MLFLOW_TRACKING_URI": server}
        )
        for seed in seeds
    ]
    for process in running:
        assert own.finish(process).stderr == ""
    runs = content(MlflowClient(server))["runs"]
    for seed in seeds:
        run = runs[TRAINING.name, None, f"mlp-original-{seed}"]
        assert run["status"] == "FINISHED"
        assert [step for step, _ in run["metrics"]["val_accuracy"]] == [1, 2]
        assert run["models"] == 1


def test_epochs_during_an_outage_are_logged_after_it(
    database: str, own: "Checkout", tmp_path: Path
) -> None:
    epochs = 400  # enough to be training still when the server stops
    own.edit({"train.budget.mlp": {"epochs": epochs, "patience": epochs}})
    port = free_port()
    with serving(database, tmp_path, port) as address:
        process = own.start_stage(
            *("train", "mlp", "original", "31"),
            environment={"MLFLOW_TRACKING_URI": address},
            forked=False,  # a client of the fork server passes no SIGSTOP on
        )
        path = (TRAINING.name, None, "mlp-original-31")
        for _ in range(10 * START):
            runs = content(MlflowClient(address))["runs"]
            if path in runs and "val_accuracy" in runs[path]["metrics"]:
                break
            time.sleep(0.1)
    time.sleep(2)
    process.send_signal(signal.SIGSTOP)  # on a busy machine it would end before the server is up
    with serving(database, tmp_path, port) as address:
        process.send_signal(signal.SIGCONT)
        done = own.finish(process)
        run = content(MlflowClient(address))["runs"][path]
    first, *_ = done.stderr.splitlines()
    assert "fails" in first
    assert f"MLflow at {address} responds again" in done.stderr
    assert "not logged" not in done.stderr
    assert run["status"] == "FINISHED"
    assert [step for step, _ in run["metrics"]["val_accuracy"]] == list(range(1, epochs + 1))
    assert run["models"] == 1
