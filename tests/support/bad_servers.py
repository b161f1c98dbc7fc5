"""Local servers that answer as MLflow servers, proxies and portals do when something is wrong."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Answer(NamedTuple):
    """An answer to any request."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = {}
    pause: float = 0.0  # seconds between two bytes of the body


@contextlib.contextmanager
def answering(answer: Answer | Callable[[str, str], Answer]) -> Iterator[str]:
    """Run a server that gives the same answer to every request; yield its address.

    Args:
        answer: the answer, or a function of method and path that returns it.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            given = answer if isinstance(answer, Answer) else answer(self.command, self.path)
            self.send_response(given.status)
            for name, value in given.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(given.body.encode())))
            self.end_headers()
            for byte in given.body if given.pause else [given.body]:
                self.wfile.write(byte.encode())
                time.sleep(given.pause)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 (the base's)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base's)
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
