"""Describe an error of MLflow or of a library below it in one line, with advice.

Stores fail with the errors of many libraries: MLflow, requests, SQLAlchemy, Alembic, sqlite3, and
those of cloud storage. No list of types is complete, so any error gets a description.
"""

import http
import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

from sidebyside.core.errors import UserError
from sidebyside.execution.exclusive import BusyError
from sidebyside.tracking.worker import NoAnswerError

NOT_ALLOWED = {401, 403, 407}  # HTTP statuses
STATUS = re.compile(r"(?:failed with error code|too many) (\d{3})\b")
SCHEMA = re.compile(r"out-of-date database schema \(found version (\w+)")
NOT_JSON = "not in a valid JSON format"
NOT_MLFLOW = "its answers are not those of an MLflow server"
CHECKS = {  # part of a message → what to check
    re.compile("(?i:ProxyError|connect to proxy)"): "HTTP_PROXY, HTTPS_PROXY and NO_PROXY",
    re.compile(r"TLS CA certificate|CERTIFICATE_VERIFY_FAILED"): (
        "MLFLOW_TRACKING_SERVER_CERT_PATH, the file of the server's certificate"
    ),
    re.compile("in header value"): (
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    ),
    re.compile(rf"{NOT_JSON}|{NOT_MLFLOW}|redirects|Invalid url|Failed to parse|\[SSL"): (
        "MLFLOW_TRACKING_URI"
    ),
}
# Root cause in a message → its description.
CAUSES = {
    re.compile(NOT_JSON): "its answer is not JSON: it is not an MLflow server, or asks for a login",
    re.compile(rf"{NOT_MLFLOW}|Failed to parse \S+ field"): NOT_MLFLOW,
    re.compile("(?i:ProxyError|connect to proxy)"): "its proxy does not answer",
    re.compile("in header value"): "user name, password or token cannot be sent in a header",
    re.compile(r"\[SSL: \w+\] ([^('\"]+)"): r"\1",
    re.compile(r"\[Errno -?\d+\] ([^'\")\]:]+)"): r"\1",
    re.compile("timed out", re.I): "timed out",
    re.compile(r"failed with exception (.+?)\.?$"): r"\1",
    re.compile(r"\((?:sqlite3|psycopg2|pymysql)\.\w+\) ((?:(?! \[SQL: | \(Background ).)+)"): r"\1",
}
# In an address. Databases take passwords with a slash as they are.
USER = re.compile(r"//(?:[^/\s@:]*:\S*|[^/\s@]*)@")
PASSWORD = re.compile(r"([?&](?:password|passwd|token)=)[^&\s'\"]*", re.I)
# What SQLite reports about a file that need not be replaced.
NOT_DAMAGED = re.compile("locked|readonly|disk is full|disk I/O")


class NotMLflowError(Exception):
    """A server answers with JSON, but not as MLflow's does."""

    def __init__(self) -> None:
        """Describe the server."""
        super().__init__(NOT_MLFLOW)


def reason(error: BaseException) -> str:
    """Return the root cause of an error that MLflow and requests may have wrapped many times."""
    text = " ".join(without_password(str(error)).split())
    if status := _status(error):
        return _http_reason(status, error)
    if isinstance(error, OSError) and (error.filename or isinstance(error, BusyError)):
        file, why = error.filename, error.strerror
        return f"{file}: {why}" if file else f"{why} holds its lock"
    if found := SCHEMA.search(text):
        return f"made by {'an older' if _is_known(found[1]) else 'a newer'} version of MLflow"
    for pattern, description in CAUSES.items():
        if found := pattern.search(text):
            return found.expand(description).strip()
    from_mlflow = type(error).__module__ == "mlflow.exceptions"
    if text and (from_mlflow or isinstance(error, (UserError, NoAnswerError))):
        return text
    return f"{type(error).__name__}: {text}".removesuffix(": ")


def cure(error: BaseException, database: Path | None) -> str | None:
    """Return what cures an error, as an instruction; None if this is unknown.

    Args:
        error: the error.
        database: the store's database, if it is a local file.
    """
    if status := _status(error):
        if status in NOT_ALLOWED:
            return (
                "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or"
                " MLFLOW_TRACKING_TOKEN"
            )
        return "check MLFLOW_TRACKING_URI and the server's log"
    for pattern, settings in CHECKS.items():
        if pattern.search(str(error)):
            return f"check {settings}"
    if isinstance(error, ImportError):
        return "install this package into .venv"
    if isinstance(error, PermissionError) and error.filename:
        return f"run `chmod u+w {shlex.quote(str(error.filename))}`"
    return _database_cure(error, database) if database else None


def message(name: str, error: BaseException, database: Path | None) -> str:
    """Return a line about an error that stops a command, with advice.

    Args:
        name: name of the store in messages.
        error: the error.
        database: the store's database, if it is a local file.
    """
    found, advice = reason(error), cure(error, database)
    if advice is not None:
        return f"{name} fails ({found}): {advice}"
    if database is not None:
        return f"{name} fails ({found}): correct this and run the same command again"
    return f"{name} cannot be reached ({found}): start it and run the same command again"


def without_password(text: str) -> str:
    """Return a text with addresses without user and password."""
    return PASSWORD.sub(r"\1…", USER.sub("//", text))


def shown(address: str) -> str:
    """Return an address for messages: on one line, without user and password."""
    return without_password(re.sub(r"\s", "%20", address))


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of an error, if it has one."""
    answer: Any = getattr(error, "response", None)  # of requests
    if isinstance(status := getattr(answer, "status_code", None), int):
        return status
    if _is_from_server(error):
        return int(error.get_http_status_code())  # type: ignore[attr-defined]
    found = STATUS.search(str(error))
    return int(found[1]) if found else None


def _http_reason(status: int, error: BaseException) -> str:
    if status in NOT_ALLOWED:
        return f"HTTP status {status}, not allowed"
    phrases = {one.value: one.phrase for one in http.HTTPStatus}
    details = str(error) if _is_from_server(error) else phrases.get(status, "")
    return f"HTTP status {status}: {' '.join(details.split())}".removesuffix(": ")


def _is_from_server(error: BaseException) -> bool:
    """Return whether an error is MLflow's RestException: the answer of a tracking server."""
    return hasattr(error, "json") and hasattr(error, "get_http_status_code")


def _database_cure(error: BaseException, database: Path) -> str | None:
    text, old = str(error), f"{database}.old"
    file, backup = shlex.quote(str(database)), shlex.quote(old)
    found = SCHEMA.search(text)
    if found and _is_known(found[1]):
        address = shlex.quote(f"sqlite:///{database}")
        return f"run `cp {file} {backup} && mlflow db upgrade {address}`"
    if "readonly" in text:
        return f"run `chmod u+w {file}`"
    from_sqlite = "(sqlite3." in text or type(error).__module__ == "sqlite3"
    if found or (from_sqlite and not NOT_DAMAGED.search(text)):
        return f"run `mv {file} {backup} && make backfill`"
    return None


def _is_known(revision: str) -> bool:
    """Return whether the installed MLflow knows a revision of the database's schema."""
    package = importlib.util.find_spec("mlflow")
    folders = package.submodule_search_locations if package else None
    versions = Path(*(folders or ())[:1], "store/db_migrations/versions")
    return any(versions.glob(f"{revision}_*.py"))
