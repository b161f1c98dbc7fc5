import socket
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest

from sidebyside.data import http
from sidebyside.data.archives import SourceError
from sidebyside.data.http import download
from tests.support.published_files import ARCHIVES, FILES, FIRST, Respond, send, send_archive

FILE, ARCHIVE = FILES[0], ARCHIVES[FIRST]
Serve = Callable[[Respond], str]


def fetched(address: str, timeout: float = 5) -> bytes:
    return download(f"{address}/{FIRST}", FILE, timeout)


def refusal(address: str, timeout: float = 5) -> str:
    """Return why the download fails; the reason is one line."""
    with pytest.raises(SourceError) as caught:
        fetched(address, timeout)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_archive_is_returned_packed(serve: Serve) -> None:
    assert fetched(serve(send_archive)) == ARCHIVE


def test_a_server_may_send_chunks(serve: Serve) -> None:
    def chunked(handler: BaseHTTPRequestHandler, name: str) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(ARCHIVE), 700):
            chunk = ARCHIVE[start : start + 700]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        handler.wfile.write(b"0\r\n\r\n")

    assert fetched(serve(chunked)) == ARCHIVE


def test_a_server_may_declare_the_archive_as_an_encoding(serve: Serve) -> None:
    def encoded(handler: BaseHTTPRequestHandler, name: str) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(ARCHIVE)))
        handler.end_headers()
        handler.wfile.write(ARCHIVE)

    assert fetched(serve(encoded)) == ARCHIVE


def test_a_server_may_redirect(serve: Serve) -> None:
    target = serve(send_archive)

    def redirect(handler: BaseHTTPRequestHandler, name: str) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"{target}/{name}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    assert fetched(serve(redirect)) == ARCHIVE


def test_the_proxy_of_the_environment_is_used(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", serve(send_archive))
    monkeypatch.setenv("no_proxy", "")
    assert fetched("http://data.invalid") == ARCHIVE


def endless(handler: BaseHTTPRequestHandler, name: str) -> None:
    send(handler, b"", length=10**12)
    while True:
        handler.wfile.write(bytes(1 << 16))


def raw(header: bytes, body: bytes = b"") -> Respond:
    """Return a handler that sends bytes as they are."""

    def respond(handler: BaseHTTPRequestHandler, name: str) -> None:
        handler.wfile.write(b"HTTP/1.1 " + header + b"\r\nConnection: close\r\n\r\n" + body)

    return respond


@pytest.mark.parametrize(
    ("respond", "expected"),
    [
        (lambda h, n: send(h, b"no", 404), "404 Not Found"),
        (lambda h, n: send(h, b"oh", 500), "500 Internal Server Error"),
        (lambda h, n: send(h, b"", 204), "204 No Content"),
        (lambda h, n: send(h, b"sorry", kind="text/html; x=y"), "the response is an HTML page"),
        (lambda h, n: send(h, b"\n <!doctype html>"), "the response is an HTML page"),
        (lambda h, n: send(h, ARCHIVE[:500], length=len(ARCHIVE)), "the response is truncated"),
        (endless, "larger than any archive of 2,000 bytes"),
        (lambda h, n: h.wfile.write(b"SSH-2.0-OpenSSH\r\n"), ""),
        (raw(b"302 Found\r\nLocation: file:///etc/passwd"), "No connection adapters were found"),
        (raw(b"302 Found\r\nLocation: http://[::1"), "Invalid IPv6 URL"),
        (raw(b"302 Found\r\nLocation: /again"), "Exceeded 30 redirects"),
        (raw(b"200 OK\r\nContent-Length: " + b"9" * 18), "larger than any archive of"),
        (raw(b"200 OK\r\nTransfer-Encoding: chunked", b"-5\r\nabc"), "the response is truncated"),
        (lambda h, n: h.wfile.write(b"\n\n"), "BadStatusLine"),
        (lambda h, n: None, "Remote end closed connection without response"),
    ],
)
def test_an_invalid_response_is_refused_with_the_reason(
    serve: Serve, respond: Respond, expected: str
) -> None:
    began = time.monotonic()
    reason = refusal(serve(respond))
    assert reason.startswith(f"{FIRST}: {expected}")
    assert " at 0x" not in reason
    assert time.monotonic() - began < 4


def test_a_length_of_thousands_of_digits_is_ignored(serve: Serve) -> None:
    header = b"200 OK\r\nContent-Length: " + b"9" * 5000
    assert fetched(serve(raw(header, ARCHIVE))) == ARCHIVE


def test_the_body_of_a_redirect_is_not_read(serve: Serve) -> None:
    sent: list[int] = []

    def redirect(handler: BaseHTTPRequestHandler, name: str) -> None:
        if name == "archive":
            send_archive(handler, FIRST)
            return
        handler.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: /archive\r\n\r\n")
        while True:  # until the client closes the connection
            sent.append(handler.wfile.write(bytes(1 << 16)))

    assert fetched(serve(redirect)) == ARCHIVE
    assert sum(sent) < 1 << 24  # the buffers of the connection


def test_a_refused_connection_is_reported() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{probe.getsockname()[1]}"
    assert refusal(closed) == f"{FIRST}: Connection refused"


def test_an_unknown_host_is_reported() -> None:
    with pytest.raises(socket.gaierror) as caught:
        socket.getaddrinfo("nowhere.invalid", 80)
    assert refusal("http://nowhere.invalid") == f"{FIRST}: {caught.value.strerror}"


def test_a_server_without_encryption_is_reported(serve: Serve) -> None:
    reason = refusal(serve(send_archive).replace("http:", "https:"))
    assert reason.startswith(f"{FIRST}: [SSL")  # the rest differs between releases of OpenSSL


def test_an_invalid_address_is_reported() -> None:
    expected = f"{FIRST}: Invalid URL 'http://:0/%/{FIRST}': No host supplied"
    assert refusal("http://:0/%") == expected


def silent(handler: BaseHTTPRequestHandler, name: str) -> None:
    time.sleep(3)


def stalled(handler: BaseHTTPRequestHandler, name: str) -> None:
    send(handler, ARCHIVE[:500], length=len(ARCHIVE))
    time.sleep(3)


def dripping(handler: BaseHTTPRequestHandler, name: str) -> None:
    send(handler, b"", length=len(ARCHIVE))
    for byte in ARCHIVE:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.02)


def dripping_headers(handler: BaseHTTPRequestHandler, name: str) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("respond", "expected"),
    [
        (silent, "no response within 0.6 s"),
        (stalled, "no response within 0.6 s"),
        (dripping, "slower than 16,384 bytes per second"),
        (dripping_headers, "no response within 0.6 s"),
    ],
)
def test_a_slow_server_is_abandoned(serve: Serve, respond: Respond, expected: str) -> None:
    began = time.monotonic()
    assert refusal(serve(respond), timeout=0.6) == f"{FIRST}: {expected}"
    assert time.monotonic() - began < 2.5


def test_a_server_that_accepts_no_connection_is_abandoned() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=5) as listening:
        reason = refusal(f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=0.2)
    assert reason == f"{FIRST}: no response within 0.2 s"


def test_a_steady_server_may_take_longer_than_the_timeout(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MIN_SPEED", 100)

    def steady(handler: BaseHTTPRequestHandler, name: str) -> None:
        send(handler, b"", length=len(ARCHIVE))
        for start in range(0, len(ARCHIVE), 400):
            handler.wfile.write(ARCHIVE[start : start + 400])
            time.sleep(0.2)

    began = time.monotonic()
    assert fetched(serve(steady), timeout=0.8) == ARCHIVE
    assert time.monotonic() - began > 0.8
