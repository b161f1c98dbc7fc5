"""Serve a champion of the registry with MLflow's own server: `make serve MODEL=cnn`.

It answers on POST /invocations, with class probabilities for raw pixels:

    curl http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' -d '{"inputs": …}'

`inputs` is a list of images, each 28 rows of 28 whole numbers from 0 (background) to 255. What it
cannot take is answered by a status of 4xx that says why. Ctrl-C ends it.
"""

import os
import sys
from pathlib import Path

from fashion import command
from fashion.errors import UserError
from fashion.hyperparameters import RECORDS

REGISTERED = "fashion-mnist-{}"  # by evaluate, one per architecture
ALIAS = "champion"
HOST, PORT = "127.0.0.1", 5001  # 5000 is the UI's


def main() -> None:
    """Become MLflow's server, if there is something to serve."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "model", choices=RECORDS, nargs="?", default="cnn", help="the architecture (cnn)"
    )
    parser.add_argument("--host", default=HOST, help=f"address to listen at ({HOST})")
    parser.add_argument("--port", type=int, default=PORT, help=f"port to listen at ({PORT})")
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parents[2]
    store = store_address(root)
    name = REGISTERED.format(arguments.model)
    version = champion(store, name)
    address = f"http://{arguments.host}:{arguments.port}/invocations"
    print(f"{name}, version {version}: POST {address}; Ctrl-C ends it", flush=True)
    os.chdir(root)  # the store's files have their places relative to it
    os.environ["MLFLOW_TRACKING_URI"] = store
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    line = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    line += ["--model-uri", f"models:/{name}@{ALIAS}"]
    line += ["--host", arguments.host, "--port", str(arguments.port)]
    os.execv(sys.executable, line)  # noqa: S606 (no shell is wanted)


def store_address(root: Path) -> str:
    """Return where the registry is.

    Raises:
        UserError: there is none.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    database = root / "mlflow.db"
    if not given and not database.exists():
        raise UserError("nothing is registered yet: run `make repro`")
    return given or f"sqlite:///{database}"


def champion(store: str, name: str) -> str:
    """Return the version of a registered model that its alias points at.

    Raises:
        UserError: there is none, or the store cannot be asked.
    """
    from mlflow import MlflowClient  # noqa: PLC0415 (MLflow loads in seconds)
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 (likewise)

    try:
        found = MlflowClient(store, store).get_model_version_by_alias(name, ALIAS)
    except MlflowException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{name} has no {ALIAS}: run `make repro` ({reason})") from None
    return str(found.version)


if __name__ == "__main__":
    command.run(main)
