"""Connect to the project's MLflow store or a server, and continue without it during an outage.

Without MLFLOW_TRACKING_URI in the environment the store is `mlflow.db` and `mlruns/` in the
project's root, where a bare `mlflow ui` finds it.
"""

import contextlib
import functools
import importlib
import logging
import os
import re
import signal
import sqlite3
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from sidebyside.core import imports
from sidebyside.core.errors import UserError
from sidebyside.tracking import local_store
from sidebyside.tracking.views import KIND_TAG, Experiment, view_tags
from sidebyside.workflow import copies

# Defaults that the user's environment overrides: no telemetry, no messages, and detection of a dead
# server within 15 s (with MLflow's own defaults, it takes minutes).
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "6",
    "GIT_PYTHON_REFRESH": "quiet",
}
# Seconds without a call after a failure, doubled after each further failure, because detecting a
# dead server takes up to 15 s.
RETRY_AFTER, LONGEST_PAUSE = 30.0, 600.0
DEFAULT = "0"  # the experiment that MLflow puts into every new store
# Marks the experiments of this project in a store that others use too.
PROJECT_TAG, PROJECT = "project", "sidebyside"
DATABASES = {"sqlite", "postgresql", "mysql", "mssql"}  # addresses that MLflow opens by itself

DELETED = "must be in the 'active' state"  # MLflow's message about runs deleted meanwhile
UNREACHABLE: Any = object()  # the result of a call to a store that cannot be reached


def store_root(root: Path) -> Path:
    """Return the folder of the MLflow store of the project at `root`.

    An experiment in a temporary copy of the project logs to the original's store.
    """
    return copies.original(root)


class Store:
    """An MLflow store; after a failure, calls are skipped for a pause that grows each time."""

    def __init__(self, uri: str, folder: Path, local: bool) -> None:
        """Connect.

        Args:
            uri: MLflow's tracking address.
            folder: the project's root, absolute.
            local: whether the store is the project's own, created if it is missing.
        """
        self.uri = uri
        self.folder = folder
        self.local = local
        self.address = str(folder / local_store.DATABASE) if local else _without_password(uri)
        self.failure: str | None = None  # the reason while it cannot be reached
        self._pause: float = RETRY_AFTER
        self._retry_at = 0.0
        self.client: Any = None
        # All runs, in a backfill: complete runs are then compared with the results too.
        self.index: Any = None
        self._mlflow = _import_mlflow()
        self._experiments: dict[str, str] = {}
        self.attempt(lambda: None)

    def entity(self, name: str) -> Any:
        """Return a class of `mlflow.entities`."""
        return getattr(self._mlflow.entities, name)

    def attempt(self, action: Callable[[], Any]) -> Any:
        """Return the result of `action`, or UNREACHABLE while the store fails."""
        if self.failure is not None and time.monotonic() < self._retry_at:
            return UNREACHABLE
        try:
            result = self._call(action)
        except Exception as error:
            if not self._is_outage(error):
                raise
            if self.failure is None:
                reason = _reason(error)
                warn(f"warning: MLflow at {self.address} fails ({reason}): continuing without it")
                self.failure = reason
            self._retry_at = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            return UNREACHABLE
        if self.failure is not None:
            warn(f"MLflow at {self.address} responds again")
            self.failure, self._pause = None, RETRY_AFTER
        return result

    def require(self, action: Callable[[], Any]) -> Any:
        """Return the result of `action`, for a command that needs the store.

        Raises:
            UserError: the store cannot be reached.
        """
        try:
            return self._call(action)
        except Exception as error:
            if not self._is_outage(error):
                raise
            message = f"MLflow at {self.address} cannot be reached ({_reason(error)})"
            raise UserError(f"{message}: start it and run the same command again") from None

    def _call(self, action: Callable[[], Any]) -> Any:
        """Return the result of `action`, called with a connected client."""
        with (
            _environment("MLFLOW_TRACKING_URI", self.uri),  # the registry reads the address there
            warnings.catch_warnings(action="ignore"),  # MLflow's, about its internals
            # Not for a server, which may take seconds: Ctrl-C has to work at once.
            _signals_deferred() if self.local else contextlib.nullcontext(),
        ):
            if self.client is None:
                self._connect()
            return action()

    def retry(self) -> None:
        """End the pause after a failure: the next attempt calls the store."""
        self._retry_at = 0.0

    def experiment(self, experiment: Experiment) -> str:
        """Return the id of an experiment, created if it is missing."""
        name = experiment.name
        if name not in self._experiments:
            with local_store.locked(self.folder) if self.local else contextlib.nullcontext():
                self._experiments[name] = self._get_or_create(experiment)
        return self._experiments[name]

    def _get_or_create(self, experiment: Experiment) -> str:
        name = experiment.name
        found = self.client.get_experiment_by_name(name)
        if found is None:
            # A server sets the location of artifacts. MLflow's default without one is the working
            # directory.
            local = urlsplit(self.uri).scheme.partition("+")[0] in DATABASES
            location = str(self.folder / local_store.ARTIFACTS / name) if local else None
            tags = {KIND_TAG: "custom_model_development"}
            try:
                self.client.create_experiment(name, artifact_location=location, tags=tags)
            except self._mlflow.MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # by another process just now
                    raise
            found = self.client.get_experiment_by_name(name)
        if found.lifecycle_stage == "deleted":  # its name stays reserved
            self.client.restore_experiment(found.experiment_id)
            warn(f"MLflow experiment {name} had been deleted: restored with its runs")
        if found.tags.get(PROJECT_TAG) != PROJECT:
            # The mark comes last: after a kill before it, all are set again.
            tags = {**view_tags(experiment, found.experiment_id), PROJECT_TAG: PROJECT}
            for tag, value in tags.items():
                self.client.set_experiment_tag(found.experiment_id, tag, value)
        return str(found.experiment_id)

    def project_experiments(self) -> dict[str, str]:
        """Return id → name of the experiments that this project has in the store."""
        found = self.client.search_experiments(
            filter_string=f"tags.{PROJECT_TAG} = '{PROJECT}'", order_by=["name ASC"]
        )
        return {one.experiment_id: one.name for one in found}

    def _connect(self) -> None:
        if self.local:
            local_store.create(self.folder, self._create_tables)
        try:
            client = self._mlflow.MlflowClient(self.uri, registry_uri=self.uri)
        except (ImportError, self._mlflow.MlflowException) as error:
            if not self.local and not self._is_outage(error):
                raise UserError(f"MLFLOW_TRACKING_URI={self.address}: {_reason(error)}") from None
            raise
        if self.local:
            local_store.relocate(self.folder)
        self.client = client

    def _create_tables(self, uri: str) -> None:
        client = self._mlflow.MlflowClient(uri)
        client.delete_experiment(DEFAULT)  # it would stay empty

    def _is_outage(self, error: Exception) -> bool:
        """Whether the store is the cause of an error, not the caller."""
        if isinstance(error, self._mlflow.MlflowException):
            if DELETED in str(error):
                return True
            return error.error_code not in {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}
        database_errors = (
            sqlite3.Error,
            importlib.import_module("sqlalchemy.exc").SQLAlchemyError,
            importlib.import_module("alembic.util").CommandError,
        )
        return isinstance(error, (OSError, *database_errors))  # requests' errors are OSErrors


def open_store(folder: Path) -> Store:
    """Return the process's store for a project, the environment's or the project's own.

    Args:
        folder: the project's root.

    Raises:
        UserError: the environment's address is invalid, or MLflow cannot write below the folder.
    """
    folder = folder.resolve()
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if given:
        return _connect_once(_checked_address(given, folder), folder, False)
    if set(str(folder)) & set("?%"):
        raise UserError(f"MLflow cannot write below {folder}: move it to a path without ? and %")
    return _connect_once(f"sqlite:///{folder / local_store.DATABASE}", folder, True)


def _checked_address(given: str, folder: Path) -> str:
    """Return an address; a relative path of a SQLite database is below `folder`.

    Raises:
        UserError: MLflow would retry it for two minutes, or fail with a traceback.
    """
    try:
        address = urlsplit(given)
    except ValueError as error:
        raise UserError(f"MLFLOW_TRACKING_URI={_without_password(given)}: {error}") from None
    if address.scheme != "sqlite":
        return given
    database = folder / address.path.removeprefix("/")
    if database.is_dir() or not database.parent.is_dir():
        raise UserError(f"MLFLOW_TRACKING_URI={given}: {database} cannot be a database file")
    return f"sqlite:///{database}" + (f"?{address.query}" if address.query else "")


# One store per process: after a failure in one run, the next run skips calls too.
_connect_once = functools.cache(Store)


@contextlib.contextmanager
def _signals_deferred() -> Iterator[None]:
    """Defer Ctrl-C and SIGTERM to the end of a block of milliseconds.

    An exception raised inside a destructor or a callback is lost, and a database library has many:
    the signal would be ignored and the training would continue.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in before.items() if handler is not None}
    for number in handlers:
        signal.signal(number, lambda number, frame: waiting.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if waiting:
            signal.raise_signal(waiting[0])


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable during a block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _import_mlflow() -> ModuleType:
    """Return MLflow, silenced; imported here because it takes seconds to load."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for logger in ("alembic", "mlflow", "urllib3.connectionpool"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    with imports.fast_imports():
        mlflow = importlib.import_module("mlflow")
        importlib.import_module("mlflow.entities")
    return mlflow


def _reason(error: BaseException) -> str:
    """Return the root cause of an error that MLflow and requests have wrapped many times."""
    text = str(error)
    if isinstance(error, BlockingIOError):
        return f"{error.strerror} holds its lock"
    if found := re.search(r"\[Errno -?\d+\] ([^'\")\]:]+)", text):
        return found[1].strip()
    if "timed out" in text.lower():
        return "timed out"
    if found := re.search(r"too many (\d+) error responses", text):
        return f"HTTP status {found[1]}"
    if found := re.search(r"\((?:sqlite3|psycopg2|pymysql)\.\w+\) (.+)", text):
        return found[1].strip()
    return _without_password(text.strip().partition("\n")[0])[:200]


def _without_password(uri: str) -> str:
    """Return an address without user and password, for messages."""
    return re.sub(r"//[^/\s]*@", "//", uri)


def warn(message: str) -> None:
    """Print a line on standard error, if there still is one."""
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)
