"""A PostgreSQL database, and MLflow servers on a database."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.ports import free_port

START = 120  # seconds a server may take to answer


def program(name: str) -> str:
    """Return the path of a PostgreSQL program; on Debian they are not on the PATH."""
    paths = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = str(paths[-1]) if paths else shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing: apt-get install postgresql")
    return found


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """Run PostgreSQL and yield the address of a new, empty database."""
    # PostgreSQL refuses to run as root, and its user cannot read pytest's folders.
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "cluster"
        if user:
            shutil.chown(name, "postgres")
        port = free_port()
        subprocess.run(
            [*user, program("initdb"), "--auth=trust", "--username=mlflow", "-D", folder],
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
        )
        line = [*user, program("postgres"), "-D", str(folder), "-k", name, "-p", str(port)]
        server = subprocess.Popen([*line, "-c", "listen_addresses=127.0.0.1"], cwd="/")
        try:
            for _ in range(10 * START):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            server.wait()


@contextlib.contextmanager
def serving(database: str, folder: Path, port: int) -> Iterator[str]:
    """Run an MLflow server and yield its address."""
    process = subprocess.Popen(
        [
            *("mlflow", "server", "--backend-store-uri", database),
            *("--artifacts-destination", folder),
            *("--host", "127.0.0.1", "--port", str(port), "--workers", "2"),
        ],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(10 * START):
            with contextlib.suppress(requests.ConnectionError):
                requests.get(f"{address}/health", timeout=5)
                break
            time.sleep(0.1)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
