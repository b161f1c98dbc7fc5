"""Log to an MLflow server, and lose it."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sidebyside.tracking.logged_models import Images
from sidebyside.tracking.runs import open_run
from tests.support.datasets import FASHION_MNIST
from tests.support.ports import free_port
from tests.support.stores import DIGESTS, REGISTERED, TRAINING


@contextlib.contextmanager
def server(folder: Path, port: int = 0) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """An MLflow server that stores artifacts itself, at a given port or a free one."""
    port = port or free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    address = f"http://127.0.0.1:{port}"
    quiet = subprocess.DEVNULL
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = subprocess.Popen(
        command, env=environment, cwd=folder, stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(OSError):
                requests.get(f"{address}/health", timeout=1).raise_for_status()
                break
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield address, process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_server_gets_everything_and_may_die(
    empty_store: Path,
    model: Any,
    pixels: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import mlflow

    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(empty_store / "mlflow.db", folder)
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        database.execute("UPDATE experiments SET name = name || '-old'")  # of local locations
    project = tmp_path / "project"
    project.mkdir()
    with server(folder) as (address, process):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with open_run(project, TRAINING, "run", "k") as run:
            run.log_metrics({"loss": 1.0}, step=0)
            run.log_table("confusion", ["actual"], [["Bag"]])
            run.log_model(model, FASHION_MNIST, pixels[:1], step=0)
            run.register(REGISTERED["mlp"], 0.9, DIGESTS)
        loaded = mlflow.pyfunc.load_model(f"models:/{REGISTERED['mlp']}@champion")
        expected = model.predict(pixels, batch_size=32, verbose=0)
        assert (loaded.predict(pixels) == expected).all()
        assert list((folder / "artifacts").rglob("confusion.json"))
        assert [file.name for file in project.iterdir()] == [".state"]
        capfd.readouterr()  # loading from a server shows progress bars
        with open_run(project, TRAINING, "run", "k2") as run:
            run.log_metrics({"loss": 1.0}, step=0)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            before = time.monotonic()
            run.log_metrics({"loss": 1.0}, step=1)
            run.log_model(model, FASHION_MNIST, pixels[:1], step=1)
            assert time.monotonic() - before < 15
    warning, lost = capfd.readouterr().err.splitlines()
    # The reason depends on the state of the connection when the server died.
    assert warning.startswith(f"warning: MLflow at {address} fails (")
    assert warning.endswith("): continuing without it")
    assert lost == "not logged to MLflow: run: 1 metric, 1 model; `make backfill` logs it later"


@pytest.mark.parametrize("asynchronous", ["false", "true"])
def test_epochs_are_complete_although_the_server_was_away(
    asynchronous: str, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    folder, epochs = tmp_path / "server", 300
    folder.mkdir()
    shutil.copy(empty_store / "mlflow.db", folder)
    history = [{"epoch": epoch, "loss": 1.0 / epoch} for epoch in range(1, epochs + 1)]
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", asynchronous)
    with contextlib.ExitStack() as stack:
        address, process = stack.enter_context(server(folder))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        port = int(address.rpartition(":")[2])
        with open_run(tmp_path, TRAINING, "run", "k") as run:
            for row in history:
                if row["epoch"] == 100:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                if row["epoch"] == 250:
                    stack.enter_context(server(folder, port))
                run.log_epochs([row])
            run.retry()
            run.log_epochs(history)
        client = mlflow.MlflowClient(address)
        found = client.get_run(str(run.run_id))
        points = client.get_metric_history(str(run.run_id), "loss")
    assert found.data.tags["logged"] == "k"
    assert sorted(point.step for point in points) == [row["epoch"] for row in history]
