"""Data and models shared through a DVC remote: a folder, and a server that speaks S3."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.support.stores import own_store

if TYPE_CHECKING:
    from tests.support.checkout import Checkout

pytestmark = pytest.mark.timeout(1200)

BUCKET = "sidebyside"
ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": "no secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """Start the server and return the DVC commands that configure it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    address = f"http://127.0.0.1:{port}"
    for name, value in ACCOUNT.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket=BUCKET)
    yield [
        ["remote", "add", "--default", "shared", f"s3://{BUCKET}/store"],
        ["remote", "modify", "shared", "endpointurl", address],
    ]
    server.stop()


@pytest.fixture
def folder(tmp_path: Path) -> list[list[str]]:
    return [["remote", "add", "--default", "shared", str(tmp_path / "a shared folder")]]


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_clone_pulls_all_outputs_and_reruns_no_stage(
    kind: str,
    own: "Checkout",
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    for arguments in request.getfixturevalue(kind):
        own.run("dvc", *arguments)
    own.commit()
    own.run("dvc", "push")

    clone = type(own)(tmp_path / "clone")
    own.run("git", "clone", "--quiet", str(own.root), str(clone.root))
    assert not (clone.root / "models").exists()
    clone.run("dvc", "pull")
    assert clone.results() == own.results()
    assert clone.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."
    ran = clone.run("dvc", "repro").stdout
    assert "Running stage" not in ran

    clone.run("python", "-m", "sidebyside.tracking.backfill", environment={"PYTHONPATH": "src"})
    assert own_store(clone) == own_store(own)
