"""A database that another process keeps locked."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from sidebyside.tracking.runs import open_run
from sidebyside.tracking.views import TRAINING
from tests.support.stores import runs_of


@pytest.mark.slow
@pytest.mark.system  # MLflow waits for 20 s
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
