"""Stores that are locked, full, read-only, outdated, or never answer."""

import contextlib
import importlib
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidebyside.tracking import guard
from sidebyside.tracking.runs import open_run
from tests.support.stores import TRAINING, runs_of
from tests.support.tracking_process import start


@pytest.mark.slow  # MLflow waits for 20 s
def test_a_locked_database_is_a_warning(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_metrics({"loss": 1.0}, step=0)
        with contextlib.closing(sqlite3.connect(root / "mlflow.db")) as other:
            other.execute("BEGIN EXCLUSIVE")
            run.log_metrics({"loss": 1.0, "accuracy": 0.5}, step=1)
    assert capfd.readouterr().err.splitlines() == [
        f"warning: MLflow at {root}/mlflow.db fails (database is locked): continuing without it",
        "not logged to MLflow: run: 2 metrics; `make backfill` logs it later",
    ]
    assert [found.info.status for found in runs_of(root)] == ["RUNNING"]  # resumed later


@pytest.fixture
def small_disk(root: Path) -> Iterator[Path]:
    """A file system of 128 kB at `mlruns` of a store."""
    mlruns = root / "mlruns"
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(mlruns)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    yield mlruns
    subprocess.run(["umount", "--lazy", str(mlruns)], check=True)


def test_artifacts_on_another_disk_that_is_full_are_logged_when_there_is_space(
    small_disk: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(100_000))
    for _ in range(2):
        with open_run(root, TRAINING, "run", "k") as run:
            run.log_metrics({"loss": 1.0}, step=1)
            run.log_figure("curves", bytes(100_000))
        ballast.unlink(missing_ok=True)
    warning, lost = capsys.readouterr().err.splitlines()[:2]
    assert "No space left on device" in warning
    assert lost == "not logged to MLflow: run: 1 figure; `make backfill` logs it later"
    (found,) = runs_of(root)
    assert found.data.metrics == {"loss": 1.0}
    assert found.data.tags["logged"] == "k"
    assert (Path(found.info.artifact_uri) / "curves.png").stat().st_size == 100_000


def test_a_read_only_store_is_a_warning_with_the_cure(empty_store: Path, tmp_path: Path) -> None:
    script = """
        import os
        with open_run(Path(sys.argv[2]), TRAINING, "run", "k") as run:  # loads all modules
            run.log_metrics({"loss": 1.0}, step=1)
        if os.geteuid() == 0:  # who may write anything
            os.setresuid(65534, 65534, 65534)
        with open_run(root, TRAINING, "run", "k") as run:
            run.log_metrics({"loss": 1.0}, step=1)
        ready()
    """
    other = Path(shutil.copytree(empty_store, tmp_path / "other"))
    with tempfile.TemporaryDirectory() as name:  # below folders that any user can read
        root = Path(shutil.copytree(empty_store, Path(name) / "project"))
        Path(name).chmod(0o755)
        (root / "mlflow.db").chmod(0o444)
        process = start(script, root, other)
        output, errors = process.communicate()
    assert output == "ready\n", errors
    warning, lost = errors.splitlines()
    assert warning == (
        f"warning: MLflow at {root}/mlflow.db fails ({root}/mlflow.db: Permission denied):"
        f" continuing without it; run `chmod u+w {root}/mlflow.db`"
    )
    assert lost == "not logged to MLflow: run: 1 metric; `make backfill` logs it later"


def test_a_database_of_an_older_mlflow_is_upgraded(tmp_path: Path) -> None:
    utils: Any = importlib.import_module("mlflow.store.db.utils")
    models: Any = importlib.import_module("mlflow.store.tracking.dbmodels.initial_models")
    sqlalchemy: Any = importlib.import_module("sqlalchemy")
    alembic: Any = importlib.import_module("alembic.command")
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'mlflow.db'}")
    models.Base.metadata.create_all(engine)
    config = utils._get_alembic_config(str(engine.url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.upgrade(config, "acf3f17fdcc7")  # of MLflow 2.15
    engine.dispose()
    with open_run(tmp_path, TRAINING, "run", "k") as run:
        run.log_metrics({"loss": 1.0}, step=1)
    (found,) = runs_of(tmp_path)
    assert found.data.metrics == {"loss": 1.0}
    assert found.data.tags["logged"] == "k"


def test_cloud_storage_that_never_answers_holds_a_stage_no_longer_than_stated(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.closing(sqlite3.connect(root / "mlflow.db")) as database, database:
        database.execute("UPDATE experiments SET artifact_location = 's3://bucket/runs'")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", address)
        before = time.monotonic()
        with open_run(root, TRAINING, "run", "k") as run:
            run.store.guard.patience = 4
            run.log_metrics({"loss": 1.0}, step=1)
            run.log_figure("curves", b"")
            run.log_figure("confusion", b"")
        assert time.monotonic() - before < guard.PATIENCE
    warning, lost = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: the artifact store s3://bucket fails (no answer within")
    assert lost == "not logged to MLflow: run: 2 figures; `make backfill` logs it later"
