"""Connect to the project's MLflow store or a server, and continue without it if it fails.

Without MLFLOW_TRACKING_URI in the environment the store is `mlflow.db` and `mlruns/` in the
project's root, where a bare `mlflow ui` finds it.

Whatever logs calls the store through `Store.attempt`, which catches every exception and limits the
time that a stage waits.
"""

import contextlib
import functools
import importlib
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from sidebyside.core import imports
from sidebyside.core.errors import UserError
from sidebyside.execution.exclusive import exclusive
from sidebyside.tracking import failures, local_store
from sidebyside.tracking.conflicts import repeated
from sidebyside.tracking.failures import NotMLflowError, shown
from sidebyside.tracking.guard import Guard, InvalidAddressError, warn
from sidebyside.tracking.views import (
    KIND_TAG,
    NOTE_TAG,
    PROJECT,
    PROJECT_TAG,
    Experiment,
    view_tags,
)
from sidebyside.workflow import copies

# Defaults that the user's environment overrides: no telemetry, no messages, and detection of a dead
# server within 15 s (with MLflow's own defaults, it takes minutes).
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "6",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",  # a server may ask to wait for a day
    "GIT_PYTHON_REFRESH": "quiet",
}
DEFAULT = "0"  # the experiment that MLflow puts into every new store
DATABASES = {"sqlite", "postgresql", "mysql", "mssql"}  # addresses that MLflow opens by itself
# MLflow opens a database up to ten times, which takes 105 s; three times take a second.
ATTEMPTS = 3


def store_root(root: Path) -> Path:
    """Return the folder of the MLflow store of the project at `root`.

    An experiment in a temporary copy of the project logs to the original's store.
    """
    return copies.original(root)


class Store:
    """An MLflow store; its failures are warnings."""

    def __init__(self, uri: str, folder: Path, local: bool) -> None:
        """Connect.

        Args:
            uri: MLflow's tracking address.
            folder: the project's root, absolute.
            local: whether the store is the project's own, created if it is missing.

        Raises:
            InvalidAddressError: MLflow does not know this kind of address.
        """
        self.uri = uri
        self.folder = folder
        self.local = local
        self.address = str(folder / local_store.DATABASE) if local else shown(uri)
        self.client: Any = None
        # All runs, in a backfill: complete runs are then compared with the results too.
        self.index: Any = None
        self.guard = Guard(f"MLflow at {self.address}", folder, _database(uri))
        self._mlflow = _import_mlflow()
        self._experiments: dict[str, str] = {}
        self._recognized = not uri.startswith(("http:", "https:"))
        self.guard.attempt(self._open)

    @property
    def registry(self) -> str:
        """Name of the model registry in messages."""
        return f"the model registry of MLflow at {shown(self._registry_uri)}"

    def artifact_store(self, location: str) -> str:
        """Name of the store of artifacts at a location in messages."""
        address = urlsplit(location)
        if address.scheme in ("", "file", "mlflow-artifacts"):
            return f"the artifact store of {self.guard.name}"
        return f"the artifact store {address.scheme}://{address.hostname}"

    def entity(self, name: str) -> Any:
        """Return a class of `mlflow.entities`."""
        return getattr(self._mlflow.entities, name)

    def attempt(
        self, action: Callable[[], Any], part: str | None = None, limit: float = math.inf
    ) -> Any:
        """Return the result of `action`, or UNREACHABLE; arguments as for `Guard.attempt`."""
        return self.guard.attempt(functools.partial(self._call, action), part, limit)

    def require(self, action: Callable[[], Any]) -> Any:
        """Return the result of `action`, for a command that needs the store.

        Raises:
            UserError: the store fails.
        """
        return self.guard.require(functools.partial(self._call, action))

    def retry(self) -> None:
        """End the pauses after failures: the next attempt calls the store."""
        self.guard.retry()

    def _call(self, action: Callable[[], Any]) -> Any:
        """Return the result of `action`, called with a connected client."""
        self._open()
        with self._settings():
            if not self._recognized:
                self._recognize()
            return repeated(action)

    def _open(self) -> None:
        """Connect the client; this does not call a server."""
        if self.client is None:
            with self._settings():
                repeated(self._connect)

    @contextlib.contextmanager
    def _settings(self) -> Iterator[None]:
        """Let MLflow use this store, without its warnings about its own internals, in a block."""
        with (
            _environment("MLFLOW_TRACKING_URI", self.uri),  # the registry reads the address there
            warnings.catch_warnings(action="ignore"),
        ):
            yield

    def _recognize(self) -> None:
        """Check that the server is MLflow's: any JSON object would pass for an empty store.

        Raises:
            NotMLflowError: it is not.
        """
        with contextlib.suppress(self._mlflow.exceptions.RestException):  # an answer of MLflow
            if self.client.get_experiment(DEFAULT).experiment_id != DEFAULT:
                raise NotMLflowError
        self._recognized = True

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
            folder = self.folder / local_store.ARTIFACTS / name
            location = str(folder) if _is_database(self.uri) else None
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
            self._set_tags(found, tags)
        return str(found.experiment_id)

    def show(self, experiment: Experiment) -> None:
        """Update the view of an experiment, if it exists; the description may be a user's by now.

        The store's errors are raised, not handled as an outage.
        """
        found = self.client.get_experiment_by_name(experiment.name)
        if found is not None and found.tags.get(PROJECT_TAG) == PROJECT:
            tags = view_tags(experiment, found.experiment_id)
            self._set_tags(found, {tag: tags[tag] for tag in tags if tag != NOTE_TAG})

    def _set_tags(self, experiment: Any, tags: Mapping[str, str]) -> None:
        for tag, value in tags.items():
            if experiment.tags.get(tag) != value:
                self.client.set_experiment_tag(experiment.experiment_id, tag, value)

    def project_experiments(self) -> dict[str, str]:
        """Return id → name of the experiments that this project has in the store."""
        found = self.client.search_experiments(
            filter_string=f"tags.{PROJECT_TAG} = '{PROJECT}'", order_by=["name ASC"]
        )
        return {one.experiment_id: one.name for one in found}

    @property
    def _registry_uri(self) -> str:
        return os.environ.get("MLFLOW_REGISTRY_URI") or self.uri

    def _connect(self) -> None:
        if _is_database(self.uri):
            utils: Any = importlib.import_module("mlflow.store.db.utils")
            utils.MAX_RETRY_COUNT = ATTEMPTS
        if self.local:
            local_store.require_folder(self.folder)
            local_store.create(self.folder, self._create_tables)
        registry = importlib.import_module("mlflow.tracking.registry")
        try:
            with self._creation_lock():
                if database := _database(self.uri):
                    local_store.remove_journals(database)
                client = self._mlflow.MlflowClient(self.uri, registry_uri=self._registry_uri)
        except registry.UnsupportedModelRegistryStoreURIException as error:
            reason = failures.reason(error)
            raise InvalidAddressError(f"MLFLOW_TRACKING_URI={self.address}: {reason}") from None
        if self.local:
            local_store.relocate(self.folder)
        self.client = client

    def _creation_lock(self) -> AbstractContextManager[Any]:
        """Return a lock for creating a SQLite database: two processes at once leave it damaged."""
        address = urlsplit(self.uri)
        if self.local or address.scheme != "sqlite":
            return contextlib.nullcontext()
        database = Path(address.path)
        lock = database.with_name(f".{database.name}.lock")
        return exclusive(lock, patience=local_store.LOCK_TIMEOUT)

    def _create_tables(self, uri: str) -> None:
        client = self._mlflow.MlflowClient(uri)
        client.delete_experiment(DEFAULT)  # it would stay empty


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
        raise UserError(f"MLFLOW_TRACKING_URI={shown(given)}: {error}") from None
    if address.scheme != "sqlite":
        return given
    database = folder / address.path.removeprefix("/")
    if database.is_dir() or not database.parent.is_dir():
        raise UserError(f"MLFLOW_TRACKING_URI={shown(given)}: {database} cannot be a database file")
    return f"sqlite:///{database}" + (f"?{address.query}" if address.query else "")


# One store per process: after a failure in one run, the next run skips calls too.
_connect_once = functools.cache(Store)


def _database(uri: str) -> Path | None:
    """Return the database of an address, if it is a local file."""
    address = urlsplit(uri)
    return Path(address.path.removeprefix("/")) if address.scheme == "sqlite" else None


def _is_database(uri: str) -> bool:
    return urlsplit(uri).scheme.partition("+")[0] in DATABASES


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable during a block, unless it has this value already."""
    before = os.environ.get(name)
    if before == value:
        yield
        return
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
