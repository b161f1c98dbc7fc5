import contextlib
import os
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.published_files import Respond


@pytest.fixture
def serve() -> Iterator[Callable[[Respond], str]]:
    """Start HTTP servers on this machine; return the address of each."""
    servers: list[ThreadingHTTPServer] = []

    def start(respond: Respond) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.close_connection = True
                with contextlib.suppress(ConnectionError, ValueError):  # the client is gone
                    respond(self, self.path.rpartition("/")[2])

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def apt_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a fake apt-get first on the PATH; return the log of its calls."""

    def install(package: bytes | None = None, before_download: str = "", update: str = "") -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        if package is not None:
            (folder / "package").write_bytes(package)
        script = folder / "apt-get"
        program = f"""\
            #!{sys.executable} -S
            import os, pathlib, shutil, subprocess, sys, time
            here = pathlib.Path(__file__).parent
            settings = dict(w.split("=", 1) for w in sys.argv if "=" in w)
            with (here / "calls").open("a") as log:
                print(os.getcwd(), *sys.argv[1:], sep="|", file=log)
            assert (pathlib.Path(settings["Dir::State::lists"]) / "partial").is_dir()
            if sys.argv[-1] == "update":
                print("W: Download is performed unsandboxed as root", file=sys.stderr)
                {update or "pass"}
            else:
                {before_download or "pass"}
                shutil.copy(here / "package", sys.argv[-1] + "_1_all.deb")
            """
        script.write_text(textwrap.dedent(program))
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        return folder / "calls"

    return install
