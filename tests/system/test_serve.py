"""The scoring server of a registered model, over HTTP."""

import json
import os
import shlex
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests

from sidebyside.config.paths import ModelName, Paths
from sidebyside.data.npz import read_split
from sidebyside.evaluation.predictions import read_predictions
from tests.support.ports import free_port

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
        for _ in range(2 * START):
            try:
                requests.get(f"{url}/ping", timeout=5)
                break
            except requests.ConnectionError:
                assert process.poll() is None, process.communicate()
                time.sleep(0.5)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ask(server: str, content: Any, kind: str = "application/json") -> requests.Response:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return requests.post(
        f"{server}/invocations", data=body, headers={"Content-Type": kind}, timeout=60
    )


@pytest.mark.timeout(1200)
def test_raw_pixels_get_the_recorded_probabilities(server: str, reproduced: "Checkout") -> None:
    paths = Paths(reproduced.root)
    images = read_split(paths.split("test")).images
    found = ask(server, {"inputs": images.tolist()}).json()["predictions"]
    champions = [ModelName("cnn", data, 1) for data in ("original", "augmented")]
    recorded = [read_predictions(paths.predictions(name)).probabilities for name in champions]
    assert any(np.allclose(found, expected, atol=1e-5) for expected in recorded)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"inputs": np.zeros((1, 28, 27), int).tolist()}, "Shape of input"),
        ({"inputs": [0] * 784}, "Shape of input"),
        ({"inputs": np.full((1, 28, 28), 256).tolist()}, "256 out of bounds for uint8"),
        ({"inputs": np.full((1, 28, 28), -1).tolist()}, "-1 out of bounds for uint8"),
        ({"inputs": "shirt"}, "Failed to convert data"),
        ({"inputs": [[[0, 1], [2]]]}, "inhomogeneous shape"),
        ({"inputs": []}, "Failed to enforce schema"),
        ({"pixels": BLACK}, "inputs"),
        (b"", "valid JSON"),
        (b"a shirt", "valid JSON"),
        (b'{"inputs": [[[NaN]]]}', "NaN"),
        (b"\xff\xfe\xfd", "valid JSON"),
        ({"inputs": np.full((1, 28, 28), 0.5).tolist()}, "0.5 is not a pixel value"),
        ({"inputs": np.full((1, 28, 28), 300.0).tolist()}, "300.0 is not a pixel value"),
        ({"inputs": [[[None] * 28] * 28]}, "not 'NoneType'"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"inputs": ' + b"9" * 5000 + b"}", "integers from 0 to 255"),
    ],
)
def test_a_request_without_valid_images_is_refused_with_a_reason(
    server: str, content: object, message: str
) -> None:
    answer = ask(server, content)
    assert 400 <= answer.status_code < 500
    assert message in answer.text
    assert ask(server, {"inputs": BLACK}).status_code == 200


@pytest.mark.timeout(1200)
def test_a_thousand_images_are_accepted_and_other_content_types_refused(server: str) -> None:
    assert ask(server, b"\x89PNG", "image/png").status_code == 415
    untyped = requests.post(f"{server}/invocations", data=b"{}", timeout=60)
    assert (untyped.status_code, untyped.text[:24]) == (415, "Content-Type is missing:")
    many = ask(server, {"inputs": BLACK * 1000})
    assert len(many.json()["predictions"]) == 1000


@pytest.mark.timeout(1200)
def test_a_body_of_too_large_or_unknown_size_is_refused(server: str) -> None:
    large = ask(server, b" " * 100_000_001)
    assert large.status_code == 413
    assert large.text.startswith("100000001 bytes exceed the maximum")
    header = {"Content-Type": "application/json"}
    chunks = iter([b"{}"])
    chunked = requests.post(f"{server}/invocations", data=chunks, headers=header, timeout=60)
    assert chunked.status_code == 411
    url = urlsplit(server)
    with socket.create_connection((url.hostname, url.port), timeout=60) as both:
        both.sendall(
            b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            b"2\r\n{}\r\n0\r\n\r\n"
        )
        assert both.recv(100).startswith(b"HTTP/1.1 411 ")
    assert ask(server, {"inputs": BLACK}).status_code == 200


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
    assert done.stderr.startswith("serve: error: fashion-mnist-mlp has no champion: run")
    assert len(done.stderr.splitlines()) == 1
