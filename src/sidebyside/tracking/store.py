"""The MLflow store: the project's own or a server, and what happens when it cannot be reached.

Without MLFLOW_TRACKING_URI in the environment the store is `mlflow.db` and `mlruns/` in the
project's root, where a bare `mlflow ui` finds it. Artifact locations are stored relative to that
root, so that a checkout can be moved; MLflow resolves them against the working directory, which
is therefore the root for the moment of each call, and only then.
"""

import contextlib
import fcntl
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
from sidebyside.tracking.views import KIND_TAG, experiment_tags

# Set unless the user has: no telemetry, no talk, and a dead server is found out within 15 s
# (MLflow's own defaults wait for minutes).
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "6",
    "GIT_PYTHON_REFRESH": "quiet",
}
LOCK_TIMEOUT = 30  # seconds to wait for another process that is creating the store; it takes 2
# Seconds for which a failed store is left alone, doubled by each further failure: a dead server
# takes up to 15 s to be found out.
RETRY_AFTER, LONGEST_PAUSE = 30.0, 600.0
DEFAULT = "0"  # the experiment that MLflow puts into every new store

DELETED = "must be in the 'active' state"  # says MLflow of what somebody deleted meanwhile
UNREACHABLE: Any = object()  # the answer of a store that is out of reach


def store_root(root: Path) -> Path:
    """Return the folder that holds the MLflow store of the project at `root`.

    `dvc exp run --temp` and queued experiments run in a throw-away copy of the project; DVC names
    the real one in DVC_ROOT.
    """
    given = os.environ.get("DVC_ROOT")
    if given and (Path(given) / "dvc.yaml").is_file():
        real = Path(given).resolve()
        if not real.is_relative_to(root.resolve()):  # as a pipeline inside the project would be
            return real
    return root.resolve()


class Store:
    """An MLflow store; after a failure it is left alone for a while, ever a little longer."""

    def __init__(self, uri: str, folder: Path, local: bool) -> None:
        """Connect.

        Args:
            uri: MLflow's tracking address.
            folder: relative artifact locations are resolved against it.
            local: whether the store is `folder`'s own, to be created here.
        """
        self.uri = uri
        self.folder = folder
        self.local = local
        self.place = str(folder / "mlflow.db") if local else _without_password(uri)
        self.failure: str | None = None  # why it cannot be reached, as long as that is so
        self._pause: float = RETRY_AFTER
        self._retry_at = 0.0
        self.client: Any = None
        self._mlflow = _import_mlflow()
        self._experiments: dict[str, str] = {}
        self.attempt(lambda: None)

    def entity(self, name: str) -> Any:
        """Return a class of `mlflow.entities`."""
        return getattr(self._mlflow.entities, name)

    def attempt(self, action: Callable[[], Any]) -> Any:
        """Return what `action` returns, or UNREACHABLE while the store fails."""
        if self.failure is not None and time.monotonic() < self._retry_at:
            return UNREACHABLE
        try:
            result = self._do(action)
        except Exception as error:
            if not self._is_outage(error):
                raise
            if self.failure is None:
                reason = _reason(error)
                warn(f"warning: MLflow at {self.place} fails ({reason}): going on without it")
                self.failure = reason
            self._retry_at = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            return UNREACHABLE
        if self.failure is not None:
            warn(f"MLflow at {self.place} answers again")
            self.failure, self._pause = None, RETRY_AFTER
        return result

    def ask(self, action: Callable[[], Any]) -> Any:
        """Return what `action` returns, for a command that can do nothing without the store.

        Raises:
            UserError: the store cannot be reached.
        """
        try:
            return self._do(action)
        except Exception as error:
            if not self._is_outage(error):
                raise
            message = f"MLflow at {self.place} cannot be reached ({_reason(error)})"
            raise UserError(f"{message}: start it and run this again") from None

    def _do(self, action: Callable[[], Any]) -> Any:
        """Return what `action` returns.

        Relative artifact locations need the root as working directory, and the registry asks the
        environment for the address; both are put back at once.
        """
        with (
            contextlib.chdir(self.folder),
            _environment("MLFLOW_TRACKING_URI", self.uri),
            warnings.catch_warnings(action="ignore"),  # of MLflow about its own insides
            # A server may take its time, and whoever presses Ctrl-C will not.
            _signals_deferred() if self.local else contextlib.nullcontext(),
        ):
            if self.client is None:
                self._connect()
            return action()

    def retry(self) -> None:
        """Let the next attempt ask the store, however short ago it failed."""
        self._retry_at = 0.0

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, created if it is not there."""
        if name not in self._experiments:
            with self._lock() if self.local else contextlib.nullcontext():
                self._experiments[name] = self._get_or_create(name)
        return self._experiments[name]

    def _get_or_create(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is None:
            place = str(self.folder / "mlruns" / name) if self.local else None
            tags = {KIND_TAG: "custom_model_development"}
            try:
                new = self.client.create_experiment(name, artifact_location=place, tags=tags)
                for tag, value in experiment_tags(name, new).items():
                    self.client.set_experiment_tag(new, tag, value)
            except self._mlflow.MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # by another process just now
                    raise
            found = self.client.get_experiment_by_name(name)
        if found.lifecycle_stage == "deleted":  # MLflow gives its name to no other
            self.client.restore_experiment(found.experiment_id)
            warn(f"MLflow's experiment {name} had been deleted: restored, with its runs")
        if self.local and found.artifact_location.startswith("/"):
            self._make_locations_relative()
        return str(found.experiment_id)

    def _connect(self) -> None:
        if self.local:
            self._create()
        try:
            self.client = self._mlflow.MlflowClient(self.uri, registry_uri=self.uri)
        except (ImportError, self._mlflow.MlflowException) as error:
            if not self.local and not self._is_outage(error):
                raise UserError(f"MLFLOW_TRACKING_URI={self.place}: {_reason(error)}") from None
            raise

    def _create(self) -> None:
        """Create `mlflow.db` in one step: two processes, or a kill at any moment, do no harm."""
        database = self.folder / "mlflow.db"
        (self.folder / "mlruns").mkdir(exist_ok=True)
        if database.exists():
            return
        with self._lock():
            if database.exists():
                return
            new = self.folder / "mlruns" / ".new.db"
            for leftover in (new, new.with_name(f"{new.name}-journal")):
                leftover.unlink(missing_ok=True)  # a stale journal would be replayed
            client = self._mlflow.MlflowClient(f"sqlite:///{new}")  # makes all tables
            client.delete_experiment(DEFAULT)  # it would stay empty
            os.replace(new, database)

    def _make_locations_relative(self) -> None:
        """Cut the root off all artifact locations; MLflow only ever writes absolute ones."""
        prefix = f"{self.folder}/"
        database = sqlite3.connect(self.folder / "mlflow.db", timeout=LOCK_TIMEOUT)
        with contextlib.closing(database), database:
            database.execute(
                "UPDATE experiments SET artifact_location = substr(artifact_location, ?)"
                " WHERE substr(artifact_location, 1, ?) = ?",
                (len(prefix) + 1, len(prefix), prefix),
            )

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the store's lock, which goes with the process that holds it."""
        path = self.folder / "mlruns" / ".lock"
        deadline = time.monotonic() + LOCK_TIMEOUT
        with path.open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
            yield

    def _is_outage(self, error: Exception) -> bool:
        """Whether the store is to blame, and not the caller."""
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
    """Return the process's store for the project at `folder`, wherever the environment puts it.

    Raises:
        UserError: the environment's address is none, or MLflow would take the folder for another.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if given:
        _check_address(given, folder)
    elif set(str(folder)) & set("?%"):
        raise UserError(f"MLflow cannot write below {folder}: move it to a place without ? and %")
    return _connect_once(given or f"sqlite:///{folder / 'mlflow.db'}", folder, not given)


def _check_address(given: str, folder: Path) -> None:
    """Refuse at once what MLflow would try for two minutes, or fail on with a traceback.

    A relative place of a database is below `folder`, which is where `attempt` calls MLflow.
    """
    try:
        address = urlsplit(given)
    except ValueError as error:
        raise UserError(f"MLFLOW_TRACKING_URI={_without_password(given)}: {error}") from None
    if address.scheme == "sqlite":
        database = folder / address.path.removeprefix("/")
        if database.is_dir() or not database.parent.is_dir():
            raise UserError(f"MLFLOW_TRACKING_URI={given}: {database} cannot be a database file")


# A server found dead for one run is not asked at once for the next.
_connect_once = functools.cache(Store)


@contextlib.contextmanager
def _signals_deferred() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait for the end of a block of milliseconds.

    An exception raised inside a destructor or a callback is lost, and a database library has many:
    the signal would be swallowed and the training go on.
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
    """Set an environment variable for the length of a block."""
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
    """Return MLflow, silenced; it loads slowly, so only a process that logs pays for it."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for logger in ("alembic", "mlflow", "urllib3.connectionpool"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    with imports.fast_imports():
        mlflow = importlib.import_module("mlflow")
        importlib.import_module("mlflow.entities")
    return mlflow


def _reason(error: BaseException) -> str:
    """Return the kernel of an error that MLflow and requests have wrapped many times."""
    text = str(error)
    if isinstance(error, BlockingIOError):
        return "another process holds its lock"
    if found := re.search(r"\[Errno -?\d+\] ([^'\")\]:]+)", text):
        return found[1].strip()
    if "timed out" in text.lower():
        return "no answer in time"
    if found := re.search(r"too many (\d+) error responses", text):
        return f"it answers {found[1]}"
    if found := re.search(r"\((?:sqlite3|psycopg2|pymysql)\.\w+\) (.+)", text):
        return found[1].strip()
    return _without_password(text.strip().partition("\n")[0])[:200]


def _without_password(uri: str) -> str:
    """Return an address as it may be shown."""
    return re.sub(r"//[^/\s]*@", "//", uri)


def warn(message: str) -> None:
    """Print a line on standard error, if there still is one."""
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)
