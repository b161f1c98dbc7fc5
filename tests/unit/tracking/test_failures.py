"""The stores fail as real ones do: real HTTP servers, real databases, real cloud libraries."""

import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sidebyside.core.errors import UserError
from sidebyside.tracking import failures, guard
from sidebyside.tracking.runs import open_run
from sidebyside.tracking.store import open_store
from tests.support.bad_servers import Answer, answering
from tests.support.stores import DIGESTS, REGISTERED, TRAINING, runs_of

CREDENTIALS = (
    "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
)
SERVER = "check MLFLOW_TRACKING_URI and the server's log"
ADDRESS = "check MLFLOW_TRACKING_URI"
PAGE = "<!DOCTYPE html>\n<html><form>Log in</form></html>"


def log_and_fail(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Log to a store that fails; return the warning, and the error of a command that needs it."""
    before = time.monotonic()
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_metrics({"loss": 1.0}, step=1)
    assert time.monotonic() - before < 10
    warning, lost = capsys.readouterr().err.splitlines()
    assert lost == "not logged to MLflow: run: 1 metric; `make backfill` logs it later"
    store = open_store(root)
    with pytest.raises(UserError) as caught:
        store.require(lambda: store.client.search_experiments(max_results=1))
    assert len(str(caught.value).splitlines()) == 1
    return warning, str(caught.value)


@pytest.mark.parametrize(
    ("answer", "reason", "advice"),
    [
        (Answer(400, PAGE), "HTTP status 400: Bad Request", SERVER),
        (
            Answer(400, '{"error_code": "INVALID_PARAMETER_VALUE", "message": "Not\\nthis"}'),
            "HTTP status 400: INVALID_PARAMETER_VALUE: Not this",
            SERVER,
        ),
        (Answer(401, PAGE), "HTTP status 401, not allowed", CREDENTIALS),
        (
            Answer(403, '{"error_code": "PERMISSION_DENIED", "message": "No"}'),
            "HTTP status 403, not allowed",
            CREDENTIALS,
        ),
        (Answer(404, PAGE), "HTTP status 404: Not Found", SERVER),
        (Answer(413, PAGE), "HTTP status 413: Request Entity Too Large", SERVER),
        (Answer(500, PAGE), "HTTP status 500: Internal Server Error", SERVER),
        (
            Answer(200, PAGE),
            "its answer is not JSON: it is not an MLflow server, or asks for a login",
            ADDRESS,
        ),
        *(
            (Answer(200, body), "its answers are not those of an MLflow server", ADDRESS)
            for body in ("{}", '{"status": "ok"}', '{"experiment": 3}')
        ),
        (Answer(302, "", {"Location": "/login"}), "Exceeded 30 redirects", ADDRESS),
        (Answer(307, "", {"Location": "/"}), "Exceeded 30 redirects", ADDRESS),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else "",
)
def test_any_answer_of_a_server_is_a_warning(
    answer: Answer,
    reason: str,
    advice: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with answering(answer) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        warning, error = log_and_fail(tmp_path, capsys)
    assert warning == (
        f"warning: MLflow at {address} fails ({reason}): continuing without it; {advice}"
    )
    assert error == f"MLflow at {address} fails ({reason}): {advice}"


def test_a_server_that_asks_to_wait_for_a_day_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(Answer(429, "", {"Retry-After": "86400"})) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        _, error = log_and_fail(tmp_path, capsys)
    assert error.endswith(f"(HTTP status 429: Too Many Requests): {SERVER}")


@pytest.mark.parametrize(
    ("address", "variables", "advice"),
    [
        ("http://a.invalid", {"http_proxy": "http://127.0.0.1:9"}, "HTTP_PROXY, HTTPS_PROXY"),
        ("http://127.0.0.1:9", {"MLFLOW_TRACKING_TOKEN": "secret\ntoken"}, "MLFLOW_TRACKING_TOKEN"),
        (
            "https://a.invalid",
            {"REQUESTS_CA_BUNDLE": "/missing"},
            "MLFLOW_TRACKING_SERVER_CERT_PATH",
        ),
        ("http://127.0.0.1:99999", {}, "MLFLOW_TRACKING_URI"),
        ("https://{plain}", {}, "MLFLOW_TRACKING_URI"),
    ],
    ids=["proxy", "token", "certificates", "port", "TLS"],
)
def test_a_setting_that_is_wrong_is_named(
    address: str,
    variables: dict[str, str],
    advice: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with answering(Answer(200)) as plain:
        address = address.format(plain=plain.removeprefix("http://"))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        warning, error = log_and_fail(tmp_path, capsys)
    assert advice in error.partition("): check ")[2]
    assert "secret" not in warning + error


def test_a_server_that_never_answers_holds_a_stage_no_longer_than_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def sleep(method: str, path: str) -> Answer:
        time.sleep(2)
        return Answer(500)

    monkeypatch.setattr(guard, "PATIENCE", 0.2)
    with answering(sleep) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        before = time.monotonic()
        with open_run(tmp_path, TRAINING, "run", "k") as run:
            for epoch in range(100):
                run.log_metrics({"loss": 1.0}, step=epoch)
        assert time.monotonic() - before < 1
    assert capsys.readouterr().err.splitlines() == [
        f"warning: MLflow at {address} fails (no answer within 0 s): continuing without it",
        "not logged to MLflow: run: 100 metrics; `make backfill` logs it later",
    ]


@pytest.mark.parametrize(
    ("location", "part", "reason"),
    [
        ("s3://bucket/runs", "s3://bucket", "NoCredentialsError: Unable to locate credentials"),
        ("gs://bucket/runs", "gs://bucket", "ModuleNotFoundError: No module named 'google.cloud'"),
        ("wasbs://a@b/runs", "wasbs://b", "ModuleNotFoundError: No module named 'azure'"),
        ("odd://host/runs", "odd://host", "Could not find a registered artifact repository"),
        ("http://127.0.0.1:9/runs", "http://127.0.0.1", "Connection refused"),
    ],
)
def test_an_artifact_store_that_fails_costs_only_the_artifacts(
    root: Path,
    location: str,
    part: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    execute(root, "UPDATE experiments SET artifact_location = ?", location)
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_figure("curves", b"")
        run.log_figure("confusion", b"")
        run.log_metrics({"loss": 1.0}, step=1)
    warning, lost = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: the artifact store {part} fails ({reason}")
    assert lost == "not logged to MLflow: run: 2 figures; `make backfill` logs it later"
    (found,) = runs_of(root)
    assert found.data.metrics == {"loss": 1.0}
    assert "logged" not in found.data.tags


@pytest.mark.parametrize("registry", ["http://127.0.0.1:9", "carrier-pigeon://loft"])
def test_a_registry_at_another_address_that_fails_costs_only_the_champion(
    with_model: Path,
    tmp_path: Path,
    registry: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = Path(shutil.copytree(with_model, tmp_path / "project"))
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", registry)
    with open_run(root, TRAINING, "mlp-original-1", "k") as run:
        run.register(REGISTERED["mlp"], 0.9, DIGESTS)
    warning, lost = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: the model registry of MLflow at {registry} fails (")
    assert lost.startswith("not logged to MLflow: mlp-original-1: 1 champion;")
    with open_run(root, TRAINING, "another", "k2") as run:
        run.log_metrics({"loss": 1.0}, step=1)
    assert capsys.readouterr().err == ""


def execute(root: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(root / "mlflow.db")) as database, database:
        database.execute(statement, values)


def replace_by_folder(database: Path) -> None:
    database.unlink()
    database.mkdir()


def truncate(database: Path) -> None:
    database.write_bytes(database.read_bytes()[: database.stat().st_size // 2])


def from_newer_mlflow(database: Path) -> None:
    execute(database.parent, "UPDATE alembic_version SET version_num = 'ffffffffffff'")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (replace_by_folder, "unable to open database file"),
        (truncate, "database disk image is malformed"),
        (lambda database: database.write_text("no database" * 99), "file is not a database"),
        (from_newer_mlflow, "made by a newer version of MLflow"),
    ],
)
def test_a_database_that_cannot_be_used_is_moved_away_by_the_advice(
    root: Path, damage: Callable[[Path], None], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(root / "mlflow.db")
    warning, error = log_and_fail(root, capsys)
    move = f"mv '{root}/mlflow.db' '{root}/mlflow.db.old'"
    assert warning.endswith(f"mlflow.db fails ({reason}): continuing without it; run `{move} && make backfill`")  # fmt: skip  # noqa: E501
    assert error == f"MLflow at {root}/mlflow.db fails ({reason}): run `{move} && make backfill`"
    subprocess.run(["sh", "-c", move], check=True)
    assert not (root / "mlflow.db").exists()


def test_a_database_of_an_older_mlflow_is_upgraded_by_the_advice(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(root, "UPDATE alembic_version SET version_num = '5b0e9adcef9c'")
    database = root / "mlflow.db"
    _, error = log_and_fail(root, capsys)
    assert error == (
        f"MLflow at {database} fails (made by an older version of MLflow): run `cp '{database}'"
        f" '{database}.old' && mlflow db upgrade 'sqlite:///{database}'`"
    )


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://me:secret@host/x", "http://host/x"),
        ("http://secret@host", "http://host"),
        ("postgresql://me:se/cret@host/db", "postgresql://host/db"),
        ("postgresql://me:se@cret@host/db", "postgresql://host/db"),
        ("postgresql://host/db?user=me&password=secret", "postgresql://host/db?user=me&password=…"),
        ("http://host:80/a/b", "http://host:80/a/b"),
    ],
)
def test_passwords_are_not_shown(address: str, shown: str) -> None:
    assert failures.reason(RuntimeError(f"{address} refused")) == f"RuntimeError: {shown} refused"
    assert failures.shown(address) == shown


def test_an_address_with_spaces_is_shown_on_one_line_and_without_its_password() -> None:
    assert failures.shown("http://me:se cret@host\n") == "http://host%20"
