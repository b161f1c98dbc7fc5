"""The scoring server over HTTP, with a predictor that the tests control."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import requests
from numpy.typing import NDArray

from sidebyside.serving import http_protocol, scoring_server
from sidebyside.serving.picture import read_picture
from sidebyside.serving.request_body import FORMS, MAXIMUM_SIZE
from sidebyside.serving.scoring_server import MAXIMUM_REQUESTS
from tests.support import pictures
from tests.support.datasets import FASHION_MNIST
from tests.support.scoring import Running, serving

BLACK = [[[0] * 28] * 28]
JSON = {"Content-Type": "application/json"}
LIMIT = 0.3  # seconds that header and body may take in these tests


@dataclass
class Server:
    """A server in a thread, and a predictor that waits until it is allowed to answer."""

    running: Running
    allowed: threading.Event
    asked: threading.Semaphore

    @property
    def url(self) -> str:
        return self.running.url

    def post(self, content: object, **headers: str) -> requests.Response:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return requests.post(
            f"{self.url}/invocations", data=body, headers={**JSON, **headers}, timeout=20
        )

    def send(self, request: bytes, *, then_close: bool = False) -> bytes:
        """Send bytes and return all that the server answers until it closes the connection.

        Args:
            request: the bytes.
            then_close: whether the client closes its half of the connection then.
        """
        with socket.create_connection(self.running.address, timeout=20) as connection:
            connection.sendall(request)
            if then_close:
                connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    for limit in ("header_seconds", "answer_seconds"):
        monkeypatch.setattr(http_protocol.Protocol, limit, LIMIT)
    allowed, asked = threading.Event(), threading.Semaphore(0)
    allowed.set()

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.release()
        if (images == 1).all():
            raise RuntimeError("a secret of the server")
        allowed.wait(20)
        return np.full((len(images), 10), 0.1, np.float32)

    with serving(predict, tmp_path, LIMIT) as running:
        yield Server(running, allowed, asked)
        allowed.set()


def reason(answer: requests.Response) -> str:
    """Return the sentence of an error; its other field is the name of the status."""
    assert answer.headers["Content-Type"] == "application/json"
    content = answer.json()
    assert content.keys() == {"error_code", "message"}
    message = str(content["message"])
    assert "\n" not in message
    return message


def test_pixels_get_probabilities_with_the_names_of_classes_and_model(server: Server) -> None:
    answer = server.post({"inputs": BLACK * 3})
    assert answer.status_code == 200
    named = dict.fromkeys(FASHION_MNIST.class_names, 0.1)
    image = {"class_name": "T-shirt/top", "probability": 0.1, "probabilities": named}
    assert answer.json() == {
        "predictions": [[0.1] * 10] * 3,
        "images": [image] * 3,
        "model": {"name": "fashion-mnist-cnn", "version": "3", "dataset": "fashion-mnist"},
    }


def test_a_picture_gets_its_prediction_and_what_the_model_was_shown(
    server: Server, tmp_path: Path
) -> None:
    content = pictures.SAMPLES["PNG"]
    (tmp_path / "expected").write_bytes(content)
    expected = read_picture(tmp_path / "expected", FASHION_MNIST)
    (tmp_path / "expected").unlink()
    url, headers = f"{server.url}/picture", {"Content-Type": "image/png"}
    answer = requests.post(url, content, headers=headers, timeout=20)
    assert answer.status_code == 200
    assert answer.json()["images"][0]["class_name"] == "T-shirt/top"
    assert answer.json()["picture"] == {
        "pixels": expected.pixels.tolist(),
        "steps": list(expected.steps),
    }
    assert not list(tmp_path.iterdir())


def test_the_published_schema_describes_requests_and_answers(server: Server) -> None:
    schema = requests.get(f"{server.url}/openapi.json", timeout=20).json()
    assert schema["info"]["title"] == "fashion-mnist-cnn"
    assert schema["info"]["version"] == "3"
    assert schema["paths"].keys() == {"/classes", "/invocations", "/picture"}
    invocations = schema["paths"]["/invocations"]["post"]
    first, *others = invocations["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    image = first["properties"]["inputs"]["items"]
    assert [image["minItems"], image["items"]["maxItems"]] == [28, 28]
    assert [*first["required"], *(form["required"][0] for form in others)] == [*FORMS]
    answer = server.post({"inputs": BLACK}).json()
    parts = schema["components"]["schemas"]
    described = {"Answer": answer, "Prediction": answer["images"][0]}
    for name, content in {**described, "RegisteredModel": answer["model"]}.items():
        assert parts[name]["properties"].keys() == content.keys()
        assert {*parts[name]["required"]} == content.keys()
    assert invocations["responses"].keys() == {"200", "4XX", "5XX"}


@pytest.mark.parametrize(
    ("path", "header"),
    [("/", "Host"), ("/picture", "Host"), ("/picture", "Origin"), ("/invocations", "Origin")],
)
def test_another_web_site_gets_no_answer(server: Server, path: str, header: str) -> None:
    method = "GET" if path == "/" else "POST"
    foreign = {header: {"Host": "site.example:5001", "Origin": "http://site.example"}[header]}
    answer = requests.request(
        method, f"{server.url}{path}", headers={**JSON, **foreign}, data=b"{}", timeout=20
    )
    assert answer.status_code == 403
    assert header in reason(answer)


def test_a_browser_gets_no_permission_for_another_web_site(server: Server) -> None:
    asked = {"Origin": "http://site.example", "Access-Control-Request-Method": "POST"}
    answer = requests.options(f"{server.url}/picture", headers=asked, timeout=20)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_the_page_is_answered_with_its_policy(server: Server) -> None:
    answer = requests.get(server.url, timeout=20)
    assert answer.status_code == 200
    assert f"curl {server.url}/picture" in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src")


def test_health_and_version_are_answered(server: Server) -> None:
    for path, text in (("ping", "\n"), ("health", "\n"), ("version", "1.2.3")):
        answer = requests.get(f"{server.url}/{path}", timeout=20)
        assert (answer.status_code, answer.text) == (200, text)


def test_the_names_of_the_classes_are_answered_in_the_order_of_the_probabilities(
    server: Server,
) -> None:
    answer = requests.get(f"{server.url}/classes", timeout=20)
    assert tuple(answer.json()) == FASHION_MNIST.class_names


def test_every_error_is_json_with_a_reason(server: Server) -> None:
    url = f"{server.url}/invocations"
    for answer, status, message in [
        (server.post({"inputs": [[[0.5]]]}), 400, "inputs.0.0.0: Input should be a valid integer"),
        (requests.get(f"{server.url}/nothing", timeout=20), 404, "Not Found"),
        (requests.post(f"{url}/", timeout=20), 404, "Not Found"),
        (requests.get(url, timeout=20), 405, "Method Not Allowed"),
        (
            requests.post(url, data=b"{}", timeout=20),
            415,
            "Content-Type has to be application/json or",
        ),
        (server.post({}, **{"Content-Type": "image/png"}), 415, "Content-Type has to be"),
        (
            requests.post(f"{server.url}/picture", b"x", timeout=20),
            415,
            "Content-Type has to be image",
        ),
        (server.post({}, **{"Content-Type": "text/csv; charset=latin-1"}), 415, "only charset"),
        (server.post({}, **{"Content-Encoding": "gzip"}), 415, "without compression"),
        (server.post({"inputs": (np.ones((1, 28, 28), int)).tolist()}), 500, "see its output"),
    ]:
        assert answer.status_code == status
        assert message in reason(answer)
        assert "secret" not in answer.text


def test_a_body_in_chunks_is_read(server: Server) -> None:
    chunks = iter([b'{"inputs": ', json.dumps(BLACK).encode(), b"}"])
    answer = requests.post(f"{server.url}/invocations", data=chunks, headers=JSON, timeout=20)
    assert answer.status_code == 200


def test_a_body_above_the_maximum_is_refused_before_it_is_read(server: Server) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    announced = head + f"Content-Length: {MAXIMUM_SIZE + 1}\r\n\r\n".encode()
    answer = server.send(announced)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert f"exceeds {MAXIMUM_SIZE} bytes".encode() in answer


def test_a_body_in_chunks_above_the_maximum_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring_server, "MAXIMUM_SIZE", 10)
    chunks = iter([b" " * 6] * 2)
    answer = requests.post(f"{server.url}/invocations", data=chunks, headers=JSON, timeout=20)
    assert (answer.status_code, "exceeds 10 bytes" in reason(answer)) == (413, True)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /ping HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 20_000,
        b"a shirt\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
    ids=["long header", "no HTTP", "two lengths"],
)
def test_an_invalid_header_is_refused_with_json(server: Server, request_bytes: bytes) -> None:
    head, _, body = server.send(request_bytes).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in head.lower()
    assert json.loads(body) == {
        "error_code": "BAD_REQUEST",
        "message": "Invalid HTTP request received",
    }


@pytest.mark.parametrize("part", [b"", b"POST /invocations HTTP/1.1\r\nHost: "])
def test_a_connection_without_a_whole_header_is_closed(server: Server, part: bytes) -> None:
    started = time.monotonic()
    assert server.send(part) == b""
    assert time.monotonic() - started < 10 * LIMIT


def test_a_second_header_on_a_connection_has_the_same_limit(server: Server) -> None:
    with socket.create_connection(server.running.address, timeout=20) as connection:
        connection.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b""
        while not received.endswith(b"\r\n\r\n\n"):
            received += connection.recv(1000)
        started = time.monotonic()
        connection.sendall(b"GET /pi")
        assert connection.recv(1000) == b""
        assert time.monotonic() - started < 10 * LIMIT


def test_a_body_that_does_not_arrive_is_refused(server: Server) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    answer = server.send(head + b"Content-Length: 100\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert f"did not arrive within {LIMIT} seconds".encode() in answer


def test_a_client_that_leaves_during_its_body_is_no_error_of_the_server(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection(server.running.address, timeout=20) as connection:
        connection.sendall(head + b"Content-Length: 100\r\n\r\n{")
        time.sleep(LIMIT / 3)
    time.sleep(LIMIT / 3)
    assert server.post({"inputs": BLACK}).status_code == 200
    assert "Traceback" not in caplog.text


def test_health_is_answered_during_a_prediction_and_more_requests_are_refused(
    server: Server,
) -> None:
    server.allowed.clear()
    with ThreadPoolExecutor(MAXIMUM_REQUESTS + 1) as pool:
        sent = [pool.submit(server.post, {"inputs": BLACK}) for _ in range(MAXIMUM_REQUESTS + 1)]
        refused = next(as_completed(sent)).result()  # the others wait for the predictor
        assert requests.get(f"{server.url}/ping", timeout=20).status_code == 200
        server.allowed.set()
        answers = sorted(request.result().status_code for request in sent)
    assert answers == [200] * MAXIMUM_REQUESTS + [503]
    assert reason(refused) == "too many requests at a time: try again"


def post(content: object) -> bytes:
    """Return the bytes of a request for predictions."""
    body = json.dumps(content).encode()
    head = "POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("request_bytes", "answers"),
    [
        (post({"inputs": BLACK}), 1),
        (b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n" * 3, 3),
        (post({"inputs": BLACK})[:-1], 0),
        (b"GET /pi", 0),
        (b"", 0),
    ],
    ids=["prediction", "several requests", "part of a body", "part of a header", "nothing"],
)
def test_a_client_that_sends_no_more_gets_the_answers_to_its_whole_requests(
    server: Server, request_bytes: bytes, answers: int
) -> None:
    received = server.send(request_bytes, then_close=True)
    assert received.count(b"HTTP/1.1 200 OK") == answers


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://host/ping", 200),
        ("HTTPS://user@host:8443/ping?a=http://b/c", 200),
        ("http://host", 200),
        ("http://host?/ping", 200),
        ("ftp://host/ping", 404),
    ],
)
def test_a_target_may_be_a_whole_url(server: Server, target: str, status: int) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: host\r\nConnection: close\r\n\r\n"
    assert server.send(request.encode()).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize("read", [0, 1], ids=["nothing", "a byte at a time"])
def test_a_client_that_does_not_read_its_answer_in_time_is_disconnected(
    server: Server, read: int
) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(server.running.address)
        connection.sendall(post({"inputs": BLACK * 500}))
        server.asked.acquire(timeout=20)
        for _ in range(20):
            time.sleep(LIMIT / 5)
            connection.recv(read)
        received = b""
        with contextlib.suppress(ConnectionError):
            received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert len(received) < 50_000  # of 100,000
    assert server.post({"inputs": BLACK}).status_code == 200


def test_a_stopped_server_does_not_wait_for_a_prediction_that_takes_too_long(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.running.server.config.timeout_graceful_shutdown = 1
    server.allowed.clear()
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(server.post, {"inputs": BLACK}) for _ in range(2)]
        server.asked.acquire(timeout=20)
        server.running.server.should_exit = True
        for answer in waiting:
            assert answer.result().status_code == 503
            assert reason(answer.result()) == "the server was stopped"
        server.running.thread.join(20)
        assert not server.running.thread.is_alive()
        server.allowed.set()
    assert "Traceback" not in caplog.text


def test_a_stopped_server_answers_the_requests_it_has_and_drops_slow_ones(server: Server) -> None:
    server.allowed.clear()
    with (
        ThreadPoolExecutor(1) as pool,
        socket.create_connection(server.running.address, timeout=20) as slow,
    ):
        slow.sendall(b"POST /invocations HTTP/1.1\r\nHost: ")
        waiting = pool.submit(server.post, {"inputs": BLACK})
        server.asked.acquire(timeout=20)
        server.running.server.should_exit = True
        time.sleep(0.2)
        server.allowed.set()
        assert waiting.result().status_code == 200
        assert slow.recv(100) == b""
