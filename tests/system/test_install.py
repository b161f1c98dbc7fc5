"""`make install` with two packages, in hostile surroundings; it needs a package index."""

import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkout import PROJECT
from tools import install

PACKAGE = "attrs"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with an environment in use, and a short lock file."""
    lock = (PROJECT / install.LOCK).read_text()
    for name, text in {
        install.LOCK: install.entry(lock, PACKAGE) + install.entry(lock, "uv"),
        install.PAGE: "",
        "tools/install.py": (PROJECT / "tools/install.py").read_text(),
        ".venv/in use": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "src").symlink_to(PROJECT / "src")
    return tmp_path


def start(
    project: Path, variables: Mapping[str, str] | None = None, file_size: int | None = None
) -> "subprocess.Popen[str]":
    limit = f"ulimit -f {file_size}; " if file_size else ""
    return subprocess.Popen(
        ["sh", "-c", f'{limit}exec "$0" tools/install.py', sys.executable],
        cwd=project,
        env={**os.environ, **(variables or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def assert_refused(project: Path, process: "subprocess.Popen[str]", reason: str) -> None:
    """Check that an installation ends in one line and leaves the environment in use."""
    out, error = process.communicate(timeout=300)
    assert (process.returncode, out) == (1, "")
    (line,) = error.splitlines()
    assert reason in line
    assert line.endswith("; the environment in use is unchanged")
    assert (project / ".venv/in use").exists()
    assert [path.name for path in project.glob(".venv*")] == [".venv"]


@pytest.fixture
def login_page() -> Iterator[str]:
    """The address of a server that answers every request with a login page."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!DOCTYPE html><html><body>Please log in</body></html>")

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "variables",
    [
        {"PIP_USER": "1", "PIP_TARGET": "elsewhere", "PIP_PREFIX": "elsewhere"},
        {"PIP_CONFIG_FILE": "pip.conf"},
        {"HOME": "/proc"},
        {"UV_TARGET": "elsewhere", "UV_SYSTEM_PYTHON": "1", "UV_NO_CACHE": "1"},
    ],
)
def test_settings_of_the_user_do_not_redirect_an_installation(
    project: Path, variables: Mapping[str, str]
) -> None:
    (project / "pip.conf").write_text("[global]\nuser = true\ntarget = elsewhere\n")
    process = start(project, variables)
    assert process.communicate(timeout=300) == ("", "")
    assert process.returncode == 0
    python = project / ".venv/bin/python"
    subprocess.run([python, "-c", f"import {PACKAGE}"], check=True)
    assert not (project / "elsewhere").exists()


@pytest.mark.parametrize(
    ("former", "edited", "reason"),
    [
        (f"{PACKAGE}==", f"<<<<<<< HEAD\n{PACKAGE}==", "Unexpected '<'"),
        ("sha256:", "sha256:0", "hash"),
        ("uv==", "uv=", "requirements.lock has no uv"),
    ],
)
def test_a_lock_file_edited_by_hand_is_refused(
    project: Path, former: str, edited: str, reason: str
) -> None:
    lock = project / install.LOCK
    lock.write_text(lock.read_text().replace(former, edited))
    assert_refused(project, start(project), reason)


def test_a_package_that_differs_from_its_hash_is_refused(project: Path) -> None:
    lock = project / install.LOCK
    text = lock.read_text()
    package = install.entry(text, PACKAGE)
    digests = [line for line in package.splitlines() if "sha256:" in line]
    for line in digests:
        digest = line.partition("sha256:")[2].removesuffix(" \\")
        text = text.replace(digest, digest[::-1])
    lock.write_text(text)
    assert_refused(project, start(project), "Hash mismatch")


def test_an_index_that_answers_with_another_page_is_refused(
    project: Path, login_page: str, tmp_path: Path
) -> None:
    variables = {"PIP_INDEX_URL": login_page, "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    assert_refused(project, start(project, variables), "cannot install uv: ERROR: Could not find")
    variables = {"UV_DEFAULT_INDEX": login_page, "UV_CACHE_DIR": str(tmp_path / "cache")}
    assert_refused(project, start(project, variables), "cannot install the packages: error: No sol")


@pytest.mark.parametrize("blocks", [8, 2000])
def test_a_full_disk_is_reported(project: Path, blocks: int) -> None:
    assert_refused(project, start(project, file_size=blocks), "File too large")


def test_an_interrupted_installation_leaves_the_environment(project: Path) -> None:
    process = start(project)
    while not (project / ".venv.new/bin").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    assert_refused(project, process, "install: interrupted")
