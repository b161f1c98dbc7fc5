"""Serve the champion of a registered model: `make serve MODEL=cnn`.

http://127.0.0.1:5001 is a page that classifies pictures. POST /picture does so for programs:

    curl http://127.0.0.1:5001/picture -H 'Content-Type: image/jpeg' --data-binary @shirt.jpg

POST /invocations classifies raw pixels:

    curl http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' -d '{"inputs": …}'

`inputs` is a list of images of the shape of the model's data set: rows of pixels, each an integer
from 0 to 255, or three of them (red, green, blue). The other forms of MLflow's scoring server are
`instances`, and tables with a row per image: `dataframe_split`, `dataframe_records` and CSV.
The answer has the probabilities as MLflow's server returns them (`predictions`), by class name, and
the name and version of the model; GET /openapi.json describes it. An invalid request gets a 4xx
status and a reason as JSON. Ctrl-C stops the server after it has answered the requests that it has,
at most ten seconds later.
"""

import functools
import os
import socket
import tempfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from sidebyside.config.hyperparameters import RECORDS
from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import CHECKOUT, Paths
from sidebyside.core.errors import UserError
from sidebyside.models.tensorflow_setup import configure
from sidebyside.tracking.registry import CHAMPION, DATASET_TAG, FILE_TAG
from sidebyside.tracking.store import open_store
from sidebyside.tracking.views import registered_model
from sidebyside.workflow import command

HOST, PORT = "127.0.0.1", 5001  # 5000 is the UI's


def main() -> None:
    """Run the server."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "model", choices=RECORDS, nargs="?", default="cnn", help="architecture (cnn)"
    )
    parser.add_argument("--host", default=HOST, help=f"address to listen on ({HOST})")
    parser.add_argument("--port", type=int, default=PORT, help=f"port to listen on ({PORT})")
    arguments = parser.parse_args()
    root = CHECKOUT
    parameters = read_parameters(Paths(root).params)
    listener = bind(arguments.host, arguments.port)
    name = registered_model(parameters.dataset.name, arguments.model)
    best = champion(root, name)
    url = address(arguments.host, listener.getsockname()[1])  # of port 0, the one in use
    print(f"{name}, version {best.version}: open {url}; Ctrl-C stops the server", flush=True)
    os.environ["MLFLOW_TRACKING_URI"] = best.store
    # TensorFlow's messages below "fatal" are about graph rewrites; errors are raised anyway.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    configure(parameters.threads)
    # These take seconds.
    from sidebyside.models.inference import prediction_batch  # noqa: PLC0415
    from sidebyside.serving.answer import Classifier, RegisteredModel  # noqa: PLC0415
    from sidebyside.serving.registered_model import load_registered  # noqa: PLC0415
    from sidebyside.serving.scoring_server import create_server  # noqa: PLC0415

    model, dataset = load_registered(f"models:/{name}/{best.version}", best.digests)
    batch = prediction_batch(dataset.shape)
    predict = functools.partial(model.predict, batch_size=batch, verbose=0)
    registered = RegisteredModel(name=name, version=best.version, dataset=dataset.name)
    classifier = Classifier(predict, dataset, registered)
    with tempfile.TemporaryDirectory() as uploads:
        server = create_server(
            classifier, metadata.version("mlflow"), Path(uploads), arguments.host
        )
        server.run(sockets=[listener])


class Champion(NamedTuple):
    """The best version of a registered model."""

    store: str  # URI of the registry
    version: str
    digests: dict[str, str]  # FILE_TAG, DATASET_TAG → SHA-256 of what was evaluated


def address(host: str, port: int) -> str:
    """Return the server's URL; the host may be a name, an IPv4 or an IPv6 address."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address; a port in use is detected before the model is loaded.

    Raises:
        UserError: the address or port cannot be used.
    """
    if not host:
        raise UserError(f"--host is empty, which means all addresses: give one, such as {HOST}")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # reusable right after a stop
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        advice = "choose another port with --port (make serve PORT=…)"
        raise UserError(f"cannot listen on {host}, port {port}: {reason}: {advice}") from error
    return listener


def champion(root: Path, name: str) -> Champion:
    """Return the champion of a registered model.

    Raises:
        UserError: there is no champion, a digest is unknown, or the store cannot be reached.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI") and not (root / "mlflow.db").exists():
        raise UserError("no model is registered yet: run `make repro backfill`")
    store = open_store(root)
    found = store.require(lambda: store.client.search_registered_models(f"name = '{name}'"))
    version = found[0].aliases.get(CHAMPION) if found else None
    if version is None:
        raise UserError(f"{name} has no {CHAMPION}: run `make repro backfill`")
    tags = store.require(lambda: store.client.get_model_version(name, version)).tags
    for tag in (FILE_TAG, DATASET_TAG):
        if tag not in tags:
            raise UserError(f"{name}, version {version}, has no tag {tag}: run `make backfill`")
    return Champion(store.uri, str(version), {tag: tags[tag] for tag in (FILE_TAG, DATASET_TAG)})


if __name__ == "__main__":
    command.run(main)
