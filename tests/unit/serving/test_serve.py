"""The scoring server, started by the command of the Makefile and asked over HTTP."""

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from sidebyside.core.errors import UserError
from sidebyside.serving import serve
from sidebyside.serving.serve import address, bind, champion
from tests.support.ports import free_port
from tests.support.stores import REGISTERED

if TYPE_CHECKING:
    pass


def test_a_used_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        expected = f"^cannot listen on 127.0.0.1, port {port}: Address already in use: choose"
        with pytest.raises(UserError, match=expected):
            bind("127.0.0.1", port)


def test_an_empty_host_is_refused() -> None:
    with pytest.raises(UserError, match="--host is empty, which means all addresses"):
        bind("", free_port())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_the_printed_address_is_a_url(host: str) -> None:
    found = urlsplit(address(host, 5001))
    assert (found.hostname, found.port, found.path) == (host, 5001, "/")


def test_a_port_out_of_range_is_refused_before_the_registry_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serve, "champion", None)
    monkeypatch.setattr(sys, "argv", ["serve", "--port", "65536"])
    with pytest.raises(UserError, match="port 65536"):
        serve.main()


def test_serving_before_the_first_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model is registered yet: run `make repro backfill`"):
        champion(tmp_path, REGISTERED["cnn"])
    assert not list(tmp_path.iterdir())


def test_an_unreachable_registry_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    with pytest.raises(UserError, match=r"^MLflow at http://127\.0\.0\.1:9 cannot be reached \("):
        champion(tmp_path, REGISTERED["cnn"])
