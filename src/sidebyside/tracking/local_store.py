"""Create the project's own MLflow store, `mlflow.db` and `mlruns/`, and update it after a move.

MLflow stores the location of every artifact as an absolute path, so that a client in any working
directory finds models and artifacts. After a project has been moved or copied, these paths lead to
the former folder, or nowhere. They are updated when the store is opened through this project, and
by `make ui`.
"""

import contextlib
import os
import re
import shlex
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sidebyside.core.errors import UserError
from sidebyside.execution.exclusive import exclusive
from sidebyside.tracking.guard import PATIENCE

DATABASE, ARTIFACTS = "mlflow.db", "mlruns"
# Seconds to wait for another process that is creating the store. It takes two on an idle machine,
# and many times that on a busy one: the wait ends just before the guard's, to name the process.
LOCK_TIMEOUT = PATIENCE - 10
# The columns with locations in the tables of the pinned MLflow release.
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
# The location of an experiment: absolute, or relative as earlier versions of this project wrote it.
LOCATION = re.compile(rf"(?:/(?:.*/)?)?{ARTIFACTS}/[^/]+")


def require_folder(folder: Path) -> None:
    """Refuse a file, or a link that leads nowhere, in the place of `mlruns/`.

    Args:
        folder: the project's root.

    Raises:
        UserError: the message has the command that moves it away.
    """
    artifacts = folder / ARTIFACTS
    if os.path.lexists(artifacts) and not artifacts.is_dir():
        path, other = shlex.quote(str(artifacts)), shlex.quote(f"{artifacts}.old")
        raise UserError(f"{artifacts} is not a folder: run `mv {path} {other} && make backfill`")


def create(folder: Path, create_tables: Callable[[str], None]) -> None:
    """Create `mlflow.db` in one step, safely for several processes and a kill at any moment.

    Two processes that let MLflow create the same database at once crash.

    Args:
        folder: the project's root.
        create_tables: called with the address of a new database.

    Raises:
        BusyError: another process holds the store's lock.
    """
    database = folder / DATABASE
    if database.exists():
        return
    with locked(folder):
        if database.exists():
            return
        new = folder / ARTIFACTS / ".new.db"
        new.unlink(missing_ok=True)
        remove_journals(new)
        remove_journals(database)
        create_tables(f"sqlite:///{new}")
        os.replace(new, database)


def remove_journals(database: Path) -> None:
    """Remove the journals that a database that is gone has left behind.

    SQLite would replay them, and thereby damage the next database of this name.
    """
    if not database.exists():
        for suffix in ("-journal", "-wal", "-shm"):
            database.with_name(database.name + suffix).unlink(missing_ok=True)


def locked(folder: Path) -> AbstractContextManager[Any]:
    """Hold the store's lock, which the system releases if the process dies.

    Raises:
        BusyError: another process holds it for longer than LOCK_TIMEOUT.
    """
    return exclusive(folder / ARTIFACTS / ".lock", patience=LOCK_TIMEOUT)


def relocate(folder: Path) -> bool:
    """Update the store's locations to its present folder; return whether any was out of date.

    This runs SQL on MLflow's own tables because no API of MLflow changes a location: an
    experiment's is fixed when it is created, and runs, logged models and versions copy it. All
    columns change in one transaction.

    Args:
        folder: the project's root, absolute.

    Raises:
        sqlite3.Error: the database is damaged, locked, or not MLflow's.
    """
    database = folder / DATABASE
    if not database.exists() or not _misplaced(folder):
        return False
    with locked(folder), _connection(database) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        moves = _moves(connection, folder)  # another process may have been faster
        for former, present in moves.items():
            for table, column in LOCATIONS:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?)"  # noqa: S608 (constants)
                    f" WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (present, len(former) + 1, former, len(former) + 1, f"{former}/"),
                )
    return bool(moves)


def experiment_id(folder: Path, name: str) -> str | None:
    """Return the id of an experiment in the store of a project; None if there is none."""
    if not (folder / DATABASE).exists():
        return None
    with contextlib.suppress(sqlite3.Error), _connection(folder / DATABASE) as connection:
        query = "SELECT experiment_id FROM experiments WHERE name = ?"
        for (number,) in connection.execute(query, (name,)):
            return str(number)
    return None


def _misplaced(folder: Path) -> bool:
    with _connection(folder / DATABASE) as connection:
        return bool(_moves(connection, folder))


def _connection(database: Path) -> contextlib.closing[sqlite3.Connection]:
    connection = sqlite3.connect(database, timeout=LOCK_TIMEOUT, isolation_level=None)
    return contextlib.closing(connection)


def _moves(connection: sqlite3.Connection, folder: Path) -> dict[str, str]:
    """Return former → present location of every experiment whose artifacts have moved.

    An experiment created by another client, from another folder, keeps its location.
    """
    moves = {}
    for (former,) in connection.execute("SELECT artifact_location FROM experiments"):
        if former is None or not LOCATION.fullmatch(former):
            continue
        present = folder / ARTIFACTS / Path(former).name
        if former != str(present) and (
            present.exists() or not Path(former).is_absolute() or not Path(former).exists()
        ):
            moves[former] = str(present)
    return moves
