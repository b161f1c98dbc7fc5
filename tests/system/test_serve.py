"""The scoring server of a registered model, over HTTP."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import requests

from sidebyside.config.dataset import read_dataset
from sidebyside.config.paths import ModelName, Paths
from sidebyside.data.npz import read_split
from sidebyside.evaluation.predictions import read_predictions
from sidebyside.serving.scoring_server import STOP_SECONDS
from tests.support import pictures
from tests.support.ports import free_port
from tests.support.source_code import PROJECT
from tests.support.stores import REGISTERED, client_of

if TYPE_CHECKING:
    from tests.support.checkout import Checkout


START = 180  # maximum seconds until the server answers


BLACK = np.zeros((1, 28, 28), int).tolist()


@pytest.fixture(scope="module")
def server(reproduced: "Checkout") -> "Iterator[str]":
    """The address of a server, started by the command of the Makefile."""
    port = free_port()
    make = reproduced.run(
        *("make", "--dry-run", "--no-print-directory", "serve", f"PORT={port}")
    ).stdout
    line = shlex.split(make.splitlines()[-1])
    process = reproduced.start(*line, environment={"PYTHONPATH": "src"})
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_it_answers(url, process)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_until_it_answers(url: str, process: "subprocess.Popen[str]") -> None:
    for _ in range(2 * START):
        try:
            requests.get(f"{url}/ping", timeout=5)
        except requests.ConnectionError:
            assert process.poll() is None, process.communicate()
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"the server does not answer after {START} seconds")


def ask(server: str, content: Any, kind: str = "application/json") -> requests.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return requests.post(
        f"{server}/invocations", data=body, headers={"Content-Type": kind}, timeout=60
    )


@pytest.mark.timeout(1200)
def test_raw_pixels_get_the_recorded_probabilities(server: str, reproduced: "Checkout") -> None:
    paths = Paths(reproduced.root)
    images = read_split(paths.split("test"), read_dataset(paths.dataset)).images
    found = ask(server, {"inputs": images.tolist()}).json()["predictions"]
    champions = [ModelName("cnn", data, 1) for data in ("original", "augmented")]
    recorded = [read_predictions(paths.predictions(name), 10).probabilities for name in champions]
    assert any(np.allclose(found, expected, atol=1e-5) for expected in recorded)


def documented(language: str) -> list[str]:
    """Return the examples of docs/browse.md that ask the server."""
    text = (PROJECT / "docs/browse.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)
    return [block for block in blocks if "5001" in block and not block.startswith(("make", "#"))]


@pytest.mark.timeout(1200)
def test_the_documented_examples_classify_a_picture_and_pixels(server: str, tmp_path: Path) -> None:
    (tmp_path / "shirt.jpg").write_bytes(pictures.SAMPLES["JPEG"])
    programs = [["sh", "-c", block] for block in documented("sh")]
    programs += [[sys.executable, "-c", block] for block in documented("python")]
    port = server.rpartition(":")[2]
    command, program, client = (
        subprocess.run(
            [*start, text.replace("5001", port)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for *start, text in programs
    )
    answer = json.loads(command)
    assert answer.keys() == {"predictions", "images", "model", "picture"}
    assert answer["model"]["name"] == REGISTERED["cnn"]
    prediction = answer["images"][0]
    assert [*prediction["probabilities"].values()] == answer["predictions"][0]
    assert program.split() == [
        *prediction["class_name"].split(),
        *(str(prediction["probability"]), REGISTERED["cnn"], answer["model"]["version"]),
    ]
    assert client.count("[") == 3  # two rows of an array


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"inputs": np.zeros((1, 28, 27), int).tolist()}, "at least 28 items"),
        ({"inputs": np.full((1, 28, 28), 256).tolist()}, "less than or equal to 255"),
        ({"inputs": np.full((1, 28, 28), 0.5).tolist()}, "integers from 0 to 255, not scaled"),
        ({"pixels": BLACK}, "pixels: Extra inputs are not permitted"),
        (b"a shirt", "Invalid JSON"),
        (b"[" * 100_000, "recursion limit exceeded"),
    ],
)
def test_a_request_without_valid_images_is_refused_with_a_reason(
    server: str, content: object, message: str
) -> None:
    answer = ask(server, content)
    assert answer.status_code == 400
    assert message in answer.json()["message"]
    assert ask(server, {"inputs": BLACK}).status_code == 200


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", [1, 3, 1000])
def test_any_number_of_images_is_accepted(server: str, number: int) -> None:
    assert len(ask(server, {"inputs": BLACK * number}).json()["predictions"]) == number


@pytest.mark.timeout(1200)
def test_ctrl_c_stops_the_server_within_its_limit(own: "Checkout") -> None:
    port = free_port()
    process = own.start(
        *("python", "-m", "sidebyside.serving.serve", "cnn", "--port", str(port)),
        environment={"PYTHONPATH": "src"},
    )
    wait_until_it_answers(f"http://127.0.0.1:{port}", process)
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"POST /invocations HTTP/1.1\r\nContent-Type: application/json\r\n")
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert time.monotonic() - started < STOP_SECONDS + 5
    assert "Traceback" not in error


@pytest.mark.timeout(1200)
def test_the_server_listens_on_loopback_only(server: str) -> None:
    port = int(server.rpartition(":")[2])
    sockets = [
        line.split()[1:4]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    listening = {local for local, _, state in sockets if state == "0A"}
    loopback = f"0100007F:{port:04X}"  # as the kernel writes 127.0.0.1
    assert {local for local in listening if local.endswith(f":{port:04X}")} == {loopback}


@pytest.mark.timeout(1200)
def test_an_unregistered_model_is_named(own: "Checkout") -> None:
    own.forget_runs()
    own.run("python", "-c", "import mlflow; mlflow.MlflowClient().search_experiments()")
    done = own.run(
        *("python", "-m", "sidebyside.serving.serve", "mlp"),
        environment={"PYTHONPATH": "src"},
        fails=True,
    )
    assert done.stderr.startswith(f"serve: error: {REGISTERED['mlp']} has no champion: run")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.timeout(1200)
def test_a_model_that_is_not_the_evaluated_one_is_served_after_a_backfill(own: "Checkout") -> None:
    environment = {"PYTHONPATH": "src"}
    port = free_port()
    serve = ("python", "-m", "sidebyside.serving.serve", "mlp", "--port", str(port))
    backfill = ("python", "-m", "sidebyside.tracking.backfill")
    client = client_of(own.root)
    version = client.get_model_version_by_alias(REGISTERED["mlp"], "champion")

    client.delete_model_version_tag(version.name, version.version, "file_sha256")
    line = own.run(*serve, environment=environment, fails=True).stderr
    assert line.endswith("has no tag file_sha256: run `make backfill`\n")
    own.run(*backfill, environment=environment)

    assert version.source
    model = version.source.removeprefix("models:/")
    (file,) = (own.root / "mlruns").rglob(f"{model}/artifacts/data/model.keras")
    evaluated = file.read_bytes()
    other = next(path for path in (own.root / "models").glob("*") if path.read_bytes() != evaluated)
    shutil.copyfile(other, file)
    line = own.run(*serve, environment=environment, fails=True).stderr
    assert "is not the file that was evaluated: run `make backfill`;" in line
    own.run(*backfill, environment=environment)
    assert file.read_bytes() == evaluated

    process = own.start(*serve, environment=environment)
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}", process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
