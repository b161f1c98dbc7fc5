"""Serve a champion of the registry with MLflow's own server: `make serve MODEL=cnn`.

It answers on POST /invocations, with class probabilities for raw pixels:

    curl http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' -d '{"inputs": …}'

`inputs` is a list of images, each 28 rows of 28 whole numbers from 0 (background) to 255. What it
cannot take is answered by a status of 4xx that says why. Ctrl-C ends it.
"""

import os
import socket
from pathlib import Path

from sidebyside.config.hyperparameters import RECORDS
from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import CHECKOUT, Paths
from sidebyside.core.errors import UserError
from sidebyside.models.tensorflow_setup import configure
from sidebyside.tracking.runs import CHAMPION
from sidebyside.tracking.store import open_store
from sidebyside.tracking.views import registered_model
from sidebyside.workflow import command

HOST, PORT = "127.0.0.1", 5001  # 5000 is the UI's


def main() -> None:
    """Run MLflow's server, if there is something to serve."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "model", choices=RECORDS, nargs="?", default="cnn", help="the architecture (cnn)"
    )
    parser.add_argument("--host", default=HOST, help=f"address to listen at ({HOST})")
    parser.add_argument("--port", type=int, default=PORT, help=f"port to listen at ({PORT})")
    arguments = parser.parse_args()
    root = CHECKOUT
    threads = read_parameters(Paths(root).params).threads
    name = registered_model(arguments.model)
    store, version = champion(root, name)
    place = bind(arguments.host, arguments.port)
    url = address(arguments.host, arguments.port)
    print(f"{name}, version {version}: POST {url}; Ctrl-C ends it", flush=True)
    os.chdir(root)  # the store's files have their places relative to it
    os.environ["MLFLOW_TRACKING_URI"] = store
    # Below "fatal" TensorFlow only says how it rewrites a graph; what fails raises.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    configure(threads)
    from sidebyside.serving import server  # noqa: PLC0415 (MLflow's server loads in seconds)

    server.server(f"models:/{name}@{CHAMPION}").run(sockets=[place])


def address(host: str, port: int) -> str:
    """Return the URL that takes images, whose host may be a name, an IPv4 or an IPv6 address."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/invocations"


def bind(host: str, port: int) -> socket.socket:
    """Return a socket of an address, so that one in use is known before a model is loaded.

    Raises:
        UserError: it cannot be had.
    """
    if not host:
        raise UserError(f"--host is empty, which would be every address: give one, such as {HOST}")
    place = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # free at once after a stop
    try:
        place.bind((host, port))
    except (OSError, OverflowError) as error:
        place.close()
        reason = getattr(error, "strerror", None) or error
        another = "choose another with --port (make serve PORT=…)"
        raise UserError(f"cannot listen at {host}, port {port}: {reason}: {another}") from error
    return place


def champion(root: Path, name: str) -> tuple[str, str]:
    """Return where the registry is, and the version of a registered model that is the champion.

    Raises:
        UserError: there is none, or the store cannot be reached.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI") and not (root / "mlflow.db").exists():
        raise UserError("nothing is registered yet: run `make repro`")
    store = open_store(root)
    found = store.ask(lambda: store.client.search_registered_models(f"name = '{name}'"))
    version = found[0].aliases.get(CHAMPION) if found else None
    if version is None:
        raise UserError(f"{name} has no {CHAMPION}: run `make repro`")
    return store.uri, str(version)


if __name__ == "__main__":
    command.run(main)
