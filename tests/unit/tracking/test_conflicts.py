import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from sidebyside.tracking import conflicts
from sidebyside.tracking.conflicts import repeated


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A database with a table of unique names."""
    path = tmp_path / "a.db"
    with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE tags (name TEXT PRIMARY KEY)")
        yield connection


def insert(database: sqlite3.Connection) -> None:
    database.execute("INSERT INTO tags VALUES ('a')")


def test_a_call_that_another_process_overtook_finds_what_that_process_wrote(
    database: sqlite3.Connection,
) -> None:
    calls = []

    def set_tag() -> int:
        """Read before the write, as MLflow does."""
        calls.append("read")
        (found,) = database.execute("SELECT count(*) FROM tags").fetchone()
        if not found:
            insert(database)  # by another process
            insert(database)
        return int(found)

    assert repeated(set_tag) == 1
    assert len(calls) == 2


def test_a_database_that_is_locked_for_a_moment_is_tried_again(
    database: sqlite3.Connection, tmp_path: Path
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        calls = []

        def write() -> None:
            calls.append("write")
            if len(calls) == 2:
                other.execute("ROLLBACK")
            insert(database)

        repeated(write)
    assert len(calls) == 2


def test_a_conflict_that_stays_is_raised(
    database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conflicts, "ATTEMPTS", 2)
    insert(database)
    calls = []

    def write() -> None:
        calls.append("write")
        insert(database)

    with pytest.raises(sqlite3.IntegrityError):
        repeated(write)
    assert len(calls) == 2


@pytest.mark.parametrize(
    "message",
    [
        '(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint "a_pk"',
        "(sqlite3.OperationalError) table experiments already exists",
        "(psycopg2.errors.DeadlockDetected) deadlock detected",
        "BAD_REQUEST: (sqlite3.IntegrityError) UNIQUE constraint failed: inputs.source_id",
        "Model Version creation error (name=digits-cnn). Giving up after 3 attempts.",
    ],
)
def test_conflicts_are_known_by_the_messages_of_databases(message: str) -> None:
    errors = [MlflowException(message)]

    def call() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert repeated(call) == "done"


def test_another_error_is_raised_at_once() -> None:
    errors = [MlflowException("Run 'a' not found"), MlflowException("second")]

    def call() -> None:
        raise errors.pop(0)

    with pytest.raises(MlflowException, match="not found"):
        repeated(call)
    assert len(errors) == 1
