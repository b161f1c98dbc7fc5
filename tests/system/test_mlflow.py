"""MLflow's UI and a notebook that loads models, in a moved checkout."""

import contextlib
import json
import os
import signal
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from tests.support.checkout import PROJECT, Checkout
from tests.support.pipeline import (
    TRAINING,
    by_name,
)


class Server:
    """A running `mlflow ui`."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str, /, **query: str) -> bytes:
        url = f"{self.address}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 (our own server)
            content: bytes = answer.read()
        return content

    def post(self, path: str, content: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(  # noqa: S310
            f"{self.address}{path}",
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.loads(answer.read())


@contextlib.contextmanager
def serve(checkout: Checkout) -> Iterator[Server]:
    """Run `make ui`; yield it once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = f"exec python -m sidebyside.tracking.ui --port {port} >ui.log 2>&1"
    process = checkout.start("sh", "-c", line, environment={"PYTHONPATH": "src"}, forked=False)
    server = Server(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                server.get("/health")
                break
            except OSError:
                assert process.poll() is None, "`make ui` ended"
                assert time.monotonic() < deadline, "`make ui` does not answer"
                time.sleep(0.2)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_the_ui_shows_everything_in_a_moved_checkout(own: Checkout) -> None:
    found = by_name(own, TRAINING)
    run = found["cnn-original-1"]
    # The UI must serve the file in the new folder, not one in the old folder.
    (figure,) = own.root.glob(f"mlruns/*/{run.info.run_id}/artifacts/confusion.png")
    figure.write_bytes(b"from the new folder")
    moved = type(own)(own.root.with_name("moved to"))
    own.root.rename(moved.root)
    before = sorted(path.name for path in moved.root.iterdir())
    with serve(moved) as server:
        answer = server.post(
            "/api/2.0/mlflow/runs/search",
            {"experiment_ids": [run.info.experiment_id], "max_results": 100},
        )
        assert {each["info"]["run_name"] for each in answer["runs"]} == set(found)
        listed = json.loads(server.get("/api/2.0/mlflow/artifacts/list", run_id=run.info.run_id))
        assert "confusion.png" in {file["path"] for file in listed["files"]}
        artifact = server.get("/get-artifact", run_uuid=run.info.run_id, path="confusion.png")
        assert artifact == b"from the new folder"
        assert b"<html" in server.get("/")
    after = sorted(path.name for path in moved.root.iterdir())
    assert set(after) - set(before) <= {"ui.log", "mlflow.db-wal", "mlflow.db-shm"}


def test_the_notebook_loads_the_models_in_a_folder_below_a_moved_project(own: Checkout) -> None:
    moved = type(own)(own.root.with_name("moved to"))
    own.root.rename(moved.root)
    # The next command moves the locations, here that of `make backfill`.
    moved.run("python", "-m", "sidebyside.tracking.backfill", environment={"PYTHONPATH": "src"})
    notebook = json.loads((PROJECT / "docs/use_models.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(one["source"]) for one in notebook["cells"] if one["cell_type"] == "code"]
    script = "import os; os.chdir('docs')\n" + "\n".join(cells)
    printed = moved.run("python", "-c", script, forked=False).stdout
    for model in ("mlp", "cnn"):
        assert f"models:/{TRAINING}-{model}@champion is version 1" in printed
    assert "**Classes**, in the order of the probabilities: T-shirt/top, Trouser" in printed
