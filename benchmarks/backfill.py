"""Measure how long a backfill of all results takes through an MLflow server on this machine.

An empty store on SQLite is filled with the runs of the pipeline and of the published systems, then
compared with the results by a second backfill. Requests are counted in the server's log.

Reads:  the results of `make repro` and `make replications`
Writes: reports/benchmarks/backfill.json
"""

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.workloads import ROOT
from sidebyside.config.paths import Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_json
from sidebyside.workflow import command

MODULES = ("sidebyside.tracking.backfill", "study.backfill")
PYTHONPATH = "src:replications/src"
START = 120  # seconds a server may take to start


def main() -> None:
    """Measure and write the results."""
    parser = command.parser(__doc__)
    parser.add_argument("modules", nargs="*", default=MODULES, help="modules that are measured")
    modules = parser.parse_args().modules
    with tempfile.TemporaryDirectory() as name, server(Path(name)) as (address, log):
        result: dict[str, Any] = {"machine": machine.describe()}
        for state in ("empty", "full"):
            result[state] = measure(modules, address, log)
            print(state, result[state], flush=True)
        result["runs"] = requests(log, "runs/create")
    print(f"{result['runs']} runs")
    if modules == MODULES:
        write_json(Paths(ROOT).report("benchmarks") / "backfill.json", result)


def measure(modules: Sequence[str], address: str, log: Path) -> dict[str, float]:
    """Return the seconds and the requests of one backfill by each module.

    Raises:
        UserError: a backfill failed.
    """
    before, start = requests(log), time.monotonic()
    for module in modules:
        done = subprocess.run(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": PYTHONPATH, "MLFLOW_TRACKING_URI": address},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise UserError(done.stderr.strip().rpartition("\n")[2])
    seconds = round(time.monotonic() - start, 1)
    return {"seconds": seconds, "requests": requests(log) - before}


def requests(log: Path, address: str = "") -> int:
    """Return the number of requests in a server's log, to addresses with a text."""
    return len(re.findall(rf'"[A-Z]+ /\S*{address}\S* HTTP', log.read_text(encoding="utf-8")))


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[str, Path]]:
    """Run a server with an empty store in a folder; yield its address and its log.

    Raises:
        UserError: the server did not start.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    log = folder / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server"),
                *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db"),
                *("--artifacts-destination", str(folder / "artifacts")),
                *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            ],
            cwd=folder,
            env={
                **os.environ,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            },
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + START
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise UserError("`mlflow server` did not start")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", log
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    command.run(main)
