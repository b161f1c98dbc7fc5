"""Run MLflow's scoring server behind a check that rejects requests it would misread.

MLflow answers most invalid requests with a 4xx status, but not all. It truncates fractions
silently, so that pixels scaled to 0…1 count as black. It answers JSON that is nested too deeply, or
has too long a number, with 500, and likewise a body without a content type. It accepts a body of
any size.
"""

import asyncio
import functools
import json
import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import mlflow.artifacts
import mlflow.models
import mlflow.pyfunc
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

from sidebyside.core.errors import UserError

# The parts of MLflow's description of a Keras model that decide which code loads which files.
DATA = "data"
FLAVORS: Mapping[str, Mapping[str, Any]] = {
    "python_function": {"loader_module": "mlflow.tensorflow", "data": DATA, "code": None},
    "tensorflow": {"model_type": "keras", "data": DATA, "code": None},
}
ARCHIVE = "model.keras"
TEXTS = {"keras_module.txt": b"tensorflow.keras", "save_format.txt": b"tf"}

MAXIMUM_SIZE = 100_000_000  # bytes of a body; the test split's 10,000 images are 31 MB of JSON


def create_server(uri: str) -> uvicorn.Server:
    """Return a server for a model in MLflow.

    A model in a shared store may contain code that runs when the model is loaded. Therefore only a
    Keras model without code or pickles is accepted. It is downloaded once, so that the files that
    are checked are the files that are loaded, even if another model becomes the champion.

    Args:
        uri: URI of the model, such as models:/fashion-mnist-cnn@champion.

    Raises:
        UserError: there is no such model, or it is not a plain Keras model of this project.
    """
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    with tempfile.TemporaryDirectory() as folder:
        try:
            fetched = Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder))
            _check(fetched)
            model = mlflow.pyfunc.load_model(str(fetched))
        except (MlflowException, OSError, UserError) as error:
            raise UserError(f"{uri} cannot be served: {str(error).splitlines()[0]}") from None
    network = model.get_raw_model()
    # Keras would print a progress bar per request.
    network.predict = functools.partial(network.predict, verbose=0)
    return uvicorn.Server(uvicorn.Config(add_checks(scoring_server.init(model))))


def _check(folder: Path) -> None:
    """Refuse a model folder of MLflow unless it contains a plain Keras model of this project.

    Raises:
        UserError: it contains anything else.
        MlflowException: MLflow cannot read it.
    """
    flavors = mlflow.models.get_model_info(str(folder)).flavors
    described = {
        name: {key: flavor.get(key) for key in FLAVORS.get(name, {})}
        for name, flavor in flavors.items()
    }
    files = {path.name: path for path in (folder / DATA).glob("*")}
    if (
        described != FLAVORS
        or files.keys() != {ARCHIVE, *TEXTS}
        or any(files[name].read_bytes() != text for name, text in TEXTS.items())
    ):
        raise UserError("it is not a plain Keras model without code")
    from sidebyside.models.loading import load_model  # noqa: PLC0415 (loads TensorFlow)

    try:
        load_model(files[ARCHIVE])  # MLflow would show a traceback
    except UserError as error:
        raise UserError(str(error).removeprefix(f"{folder}/")) from None


def add_checks(app: FastAPI) -> FastAPI:
    """Return a scoring server that answers requests it would misread with a one-line refusal."""

    @app.middleware("http")
    async def check(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.method != "POST":
            return await answer(request)
        if "content-type" not in request.headers:
            message = "Content-Type is missing: send application/json"
            return PlainTextResponse(message, status_code=415)
        size = request.headers.get("content-length")
        # If both headers are sent, Transfer-Encoding takes precedence, and the size is unknown.
        if size is None or "transfer-encoding" in request.headers:
            message = "the size is unknown: send Content-Length and no Transfer-Encoding"
            return PlainTextResponse(message, status_code=411)
        if int(size) > MAXIMUM_SIZE:
            message = f"{size} bytes exceed the maximum of {MAXIMUM_SIZE}: send fewer images"
            return PlainTextResponse(message, status_code=413)
        reason = await asyncio.to_thread(reason_to_refuse, await request.body())
        if reason is not None:
            return PlainTextResponse(reason, status_code=400)
        return await answer(request)

    return app


def reason_to_refuse(body: bytes) -> str | None:
    """Return the reason to refuse a body that MLflow would misread, or None."""
    try:
        json.loads(body, parse_float=_refuse)
    except _FractionError as fraction:
        return f"{fraction} is not a pixel value: send integers from 0 to 255, not scaled to 0…1"
    except RecursionError:
        return "nested too deeply: send a list of images, each 28 rows of 28 integers"
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None  # MLflow reports it
    except ValueError as error:  # more digits than Python accepts
        return f"{error}: send integers from 0 to 255"
    return None


class _FractionError(Exception):
    """A number with a decimal point or an exponent."""


def _refuse(number: str) -> NoReturn:
    raise _FractionError(number)
