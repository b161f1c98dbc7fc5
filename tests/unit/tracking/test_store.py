import fcntl
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sidebyside.core.errors import UserError
from sidebyside.tracking import local_store
from sidebyside.tracking.run import Run
from sidebyside.tracking.runs import open_child, open_run, reopen_run
from sidebyside.tracking.store import open_store, store_root
from tests.support.stores import DIGESTS, REGISTERED, SEARCH, TRAINING, client_of, runs_of
from tests.support.tracking_process import start

# Experiments.


def test_a_new_store_has_the_projects_experiments_alone(root: Path) -> None:
    names = {experiment.name for experiment in client_of(root).search_experiments()}
    assert names == {TRAINING.name, SEARCH.name}


def test_experiments_of_others_in_the_same_store_are_not_the_projects(root: Path) -> None:
    store = open_store(root)
    store.require(lambda: store.client.create_experiment("another"))
    assert [*store.project_experiments().values()] == [TRAINING.name, SEARCH.name]


def test_an_experiment_without_description_and_mark_gets_them(root: Path) -> None:
    client = client_of(root)
    experiment = client.get_experiment_by_name(TRAINING.name)
    assert experiment
    for tag in ("mlflow.note.content", "project"):
        client.delete_experiment_tag(experiment.experiment_id, tag)
    with open_run(root, TRAINING, "run", "k"):
        pass
    assert client.get_experiment(experiment.experiment_id).tags == experiment.tags


def test_a_deleted_experiment_is_restored(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = client_of(root)
    experiment = client.get_experiment_by_name(TRAINING.name)
    assert experiment
    client.delete_experiment(experiment.experiment_id)
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_metrics({"loss": 1.0}, step=1)
    assert (
        "experiment fashion-mnist had been deleted: restored with its runs"
        in capsys.readouterr().err
    )
    assert "run" in [found.info.run_name for found in runs_of(root)]


# Where the store is.


def test_a_dvc_root_without_a_dvc_project_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert store_root(tmp_path / "project") == tmp_path / "project"
    (tmp_path / "dvc.yaml").touch()
    assert store_root(tmp_path / "project") == tmp_path


def test_a_relative_database_of_the_environment_is_below_the_root(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = root / "other"
    other.mkdir()
    (root / "mlflow.db").rename(other / "store.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other/store.db")
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_metrics({"loss": 1.0}, step=0)
    assert run.run_id
    assert not (root / "mlflow.db").exists()


@pytest.mark.parametrize("name", ["is it?", "100%41"])
def test_a_folder_that_mlflow_cannot_write_to_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="move it to a path without"):
        open_store(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.timeout(20)  # MLflow itself tries a database for two minutes
@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("carrier-pigeon://user:secret@loft", "carrier-pigeon://loft"),
        ("http://user:secret@[::1", r"http://\[::1: Invalid IPv6 URL"),
        ("sqlite:////tmp", "sqlite:////tmp: /tmp cannot be a database file"),
        ("sqlite:////no/folder/x.db", "sqlite:////no/folder/x.db: .*cannot be a database file"),
    ],
)
def test_an_invalid_address_is_a_user_error(
    root: Path, monkeypatch: pytest.MonkeyPatch, address: str, message: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with (
        pytest.raises(UserError, match=f"MLFLOW_TRACKING_URI={message}") as caught,
        open_run(root, TRAINING, "run", "k"),
    ):
        pass
    assert "secret" not in str(caught.value)


def test_telemetry_is_off(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")  # the environment of `make install` sets it too
    with open_run(root, TRAINING, "run", "k"):
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


# Outages.


def log_some(run: Run) -> None:
    for epoch in range(3):
        run.log_metrics({"loss": 1.0, "accuracy": 0.5}, step=epoch)
    run.log_figure("curves", b"")
    with open_child(run, "trial", "t") as trial:
        trial.log_metrics({"loss": 1.0}, step=0)


def test_an_unreachable_server_is_reported_once_and_delays_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    before = time.monotonic()
    with open_run(root, TRAINING, "run", "k1") as run:
        log_some(run)
        assert run.run_id is None
    assert time.monotonic() - before < 15
    before = time.monotonic()
    with reopen_run(root, TRAINING, "run", "k2", evaluated="e") as run:
        run.log_parameters({"dropout": 1})
        run.register(REGISTERED["mlp"], 0.9, DIGESTS)
    assert time.monotonic() - before < 0.5
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "warning: MLflow at http://127.0.0.1:9 fails (Connection refused): continuing without it",
        "not logged to MLflow: run: 7 metrics, 1 figure; `make backfill` logs it later",
        "not logged to MLflow: run: 1 parameter, 1 champion; `make backfill` logs it later",
    ]


def test_a_server_that_never_responds_is_given_up(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with open_run(root, TRAINING, "run", "k") as run:
            log_some(run)
    first, *_ = capfd.readouterr().err.splitlines()
    assert first == f"warning: MLflow at {address} fails (timed out): continuing without it"


class Overloaded(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(503)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base's)
        pass


def test_a_server_that_responds_with_errors_is_given_up(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with HTTPServer(("127.0.0.1", 0), Overloaded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with open_run(root, TRAINING, "run", "k") as run:
            log_some(run)
        server.shutdown()
    first, *_ = capfd.readouterr().err.splitlines()
    assert first == (
        f"warning: MLflow at {address} fails (HTTP status 503: Service Unavailable):"
        " continuing without it; check MLFLOW_TRACKING_URI and the server's log"
    )


def test_a_store_that_another_process_locks_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local_store, "LOCK_TIMEOUT", 0)
    (tmp_path / "mlruns").mkdir()
    with (tmp_path / "mlruns/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open_run(tmp_path, TRAINING, "run", "k") as run:
            log_some(run)
    first, *_ = capfd.readouterr().err.splitlines()
    assert "mlflow.db fails (another process holds its lock): continuing without it" in first


def test_a_damaged_database_is_a_warning(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (root / "mlflow.db").write_bytes(b"not a database" * 1000)
    with open_run(root, TRAINING, "run", "k") as run:
        log_some(run)
    first, last = capfd.readouterr().err.splitlines()
    assert "file is not a database" in first
    assert last == "not logged to MLflow: run: 7 metrics, 1 figure; `make backfill` logs it later"


def test_a_store_that_cannot_be_created_is_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mlruns").write_text("a file")
    with open_run(tmp_path, TRAINING, "run", "k") as run:
        log_some(run)
    first, last = capfd.readouterr().err.splitlines()
    assert "mlruns is not a folder" in first
    assert last == "not logged to MLflow: run: 7 metrics, 1 figure; `make backfill` logs it later"


@pytest.mark.slow
def test_a_full_disk_is_a_warning(root: Path) -> None:
    script = """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_100_000, 1_100_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with open_run(root, TRAINING, "run", "k") as run:
            run.log_figure("curves", bytes(2_000_000))
            run.log_metrics({"loss": 1.0}, step=0)
        ready()
    """
    process = start(script, root)
    output, errors = process.communicate()
    assert output == "ready\n"
    first, last = errors.splitlines()
    assert "File too large): continuing without it" in first
    assert last == "not logged to MLflow: run: 1 figure; `make backfill` logs it later"
