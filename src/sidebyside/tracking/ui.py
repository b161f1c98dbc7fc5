"""Browse the runs in MLflow: `make ui`."""

import os
import socket
import sqlite3
from pathlib import Path

from sidebyside.config.paths import CHECKOUT
from sidebyside.core.errors import UserError
from sidebyside.tracking.local_store import DATABASE, experiment_id, relocate, require_folder
from sidebyside.tracking.start_page import STORE
from sidebyside.tracking.views import TRAINING_PAGES, VIEW
from sidebyside.workflow import command

PORT = 5000
# By default, MLflow's server starts four processes, and others for evaluating language models.
FAST = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_WORKERS": "1"}
COMMAND = ("mlflow", "ui", "--app-name", "sidebyside", "--host", "127.0.0.1")


def main() -> None:
    """Start MLflow's UI on this checkout's store, on the loopback interface."""
    parser = command.parser(main.__doc__)
    parser.add_argument("--port", type=int, default=PORT, help="port, which has to be free")
    port = parser.parse_args().port
    require_free(port)
    prepare(CHECKOUT)
    print(f"In a few seconds, http://127.0.0.1:{port} shows the runs. Ctrl-C stops it.", flush=True)
    store = f"sqlite:///{CHECKOUT / DATABASE}"
    os.chdir(CHECKOUT)
    os.execvpe(  # noqa: S606 (without a shell)
        COMMAND[0], [*COMMAND, "--port", str(port)], {STORE: store, **FAST, **os.environ}
    )


def prepare(folder: Path) -> None:
    """Update the artifact locations in a project's store.

    Raises:
        UserError: something else is in the place of the store, or it is damaged.
    """
    require_folder(folder)
    try:
        if relocate(folder):
            print(f"{DATABASE}: artifact locations updated to {folder}")
    except sqlite3.Error as error:
        raise UserError(f"{folder / DATABASE}: {error}") from None


def plain_address(folder: Path, experiment: str) -> str | None:
    """Return the address of the table of runs for a plain `mlflow ui`; None without a local store.

    There, MLflow's own start page leads to its pages for language models.

    Args:
        folder: the project's root.
        experiment: name of the experiment.
    """
    number = experiment_id(folder, experiment)
    shown = f"#/experiments/{number}/runs?{TRAINING_PAGES}&viewStateShareKey={VIEW}"
    return f"http://127.0.0.1:{PORT}/{shown}" if number else None


def require_free(port: int) -> None:
    """Refuse a port that cannot be listened on: MLflow would report that as a success.

    Raises:
        UserError: another process uses the port, or it is not a port for users.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # free right after a stop
        try:
            listener.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "not from 0 to 65535"
            raise UserError(f"port {port}: {reason}: choose another, `make ui PORT=5002`") from None


if __name__ == "__main__":
    command.run(main)
