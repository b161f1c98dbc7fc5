"""Run a script that logs to MLflow in a process of its own."""

import os
import subprocess
import textwrap
from collections.abc import Mapping
from pathlib import Path

from tests.support import fork_server

PROJECT = Path(__file__).parents[2]
PRELUDE = """
    import signal, sys, time
    from pathlib import Path
    from sidebyside.tracking import guard, local_store
    from sidebyside.tracking.runs import open_run
    from sidebyside.workflow import command
    from tests.support.stores import TRAINING
    root = Path(sys.argv[1])
    guard.PATIENCE = local_store.LOCK_TIMEOUT = 600.0  # however busy the machine is
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs
    def ready(): print("ready", flush=True)
"""


def start(
    script: str, *arguments: object, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a script after PRELUDE; its first argument is the project's root."""
    code = textwrap.dedent(PRELUDE) + textwrap.dedent(script)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    return subprocess.Popen(
        [fork_server.programs() / "python", "-c", code, *map(str, arguments)],
        env={**clean, "PYTHONPATH": f"{PROJECT / 'src'}:{PROJECT}", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_ready(process: subprocess.Popen[str]) -> None:
    """Wait until the script calls `ready()`."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()
