"""The Dockerfile's files and command in an empty folder; there is no Docker to build the image."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from tests.support import pictures
from tests.support.ports import free_port
from tests.support.source_code import PROJECT
from tests.support.stores import REGISTERED
from tests.system.test_serve import wait_until_it_answers

if TYPE_CHECKING:
    from tests.support.checkout import Checkout

LINES = (PROJECT / "Dockerfile").read_text(encoding="utf-8").splitlines()
INSTRUCTIONS = [line.split(maxsplit=1) for line in LINES if line[:1].isupper()]
COPIED = [  # (source, target)
    (source, target)
    for name, value in INSTRUCTIONS
    if name == "COPY"
    for *sources, target in [re.sub(r"--chown=\S+ ", "", value).split()]
    for source in sources
]


def instruction(name: str) -> str:
    (value,) = (value for other, value in INSTRUCTIONS if other == name)
    return value


def test_the_builder_gets_exactly_the_files_that_are_copied() -> None:
    ignored = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in ignored if not line.startswith("#")]
    assert patterns[0] == "*"
    sent = {line[1:] for line in patterns if line.startswith("!")}
    assert sent == {source for source, _ in COPIED}


@pytest.mark.timeout(1200)
def test_the_copied_files_and_the_command_serve_the_registered_model(
    reproduced: "Checkout", tmp_path: Path
) -> None:
    root, programs = tmp_path / "app", tmp_path / "bin"
    root.mkdir()
    for source, target in COPIED:
        path = reproduced.root / source
        if path.is_dir():
            shutil.copytree(path, root / target)
        else:
            shutil.copy(path, root / target)
    programs.mkdir()
    (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "python").chmod(0o755)
    port = free_port()
    name, value = instruction("ENV").split("=")
    process = subprocess.Popen(
        [*json.loads(instruction("ENTRYPOINT")), *json.loads(instruction("CMD")), f"--port={port}"],
        cwd=root,
        env={"PATH": str(programs), "HOME": str(root), name: value},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_it_answers(url, process)
        content, headers = pictures.SAMPLES["PNG"], {"Content-Type": "image/png"}
        answer = requests.post(f"{url}/picture", content, headers=headers, timeout=60).json()
        assert answer["model"]["name"] == REGISTERED["cnn"]
        process.send_signal(signal.SIGTERM)  # as `docker stop`
        _, error = process.communicate(timeout=30)
        assert "Traceback" not in error
    finally:
        process.kill()
        process.communicate()
