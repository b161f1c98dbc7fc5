"""MLflow's scoring server, behind a guard that refuses what it would misread.

MLflow answers most of what is no image by a status of 4xx, but not all of it. Fractions lose what
is behind the point without a word, so that pixels scaled to 0…1 would count as black. JSON nested
too deeply or with numbers too long gets a 500, as does a body that does not say what it is. And a
body may have any size.
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

# What MLflow writes of a Keras model, as far as it decides what is loaded and by which code.
DATA = "data"
FLAVORS: Mapping[str, Mapping[str, Any]] = {
    "python_function": {"loader_module": "mlflow.tensorflow", "data": DATA, "code": None},
    "tensorflow": {"model_type": "keras", "data": DATA, "code": None},
}
ARCHIVE = "model.keras"
TEXTS = {"keras_module.txt": b"tensorflow.keras", "save_format.txt": b"tf"}

LARGEST = 100_000_000  # bytes; the test split's 10,000 images are 31 MB of JSON


def server(uri: str) -> uvicorn.Server:
    """Return a server that answers for a model, given where MLflow has it.

    Whoever may write to a shared store may register what runs code of theirs as it is loaded: only
    a Keras model without code or pickles beside it is. It is fetched once, so that what is looked
    at is what is loaded, whatever becomes the champion meanwhile.

    Raises:
        UserError: there is no such model, or it is none of Keras's alone, or not one of ours.
    """
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    with tempfile.TemporaryDirectory() as folder:
        try:
            fetched = Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder))
            _check(fetched)
            model = mlflow.pyfunc.load_model(str(fetched))
        except (MlflowException, OSError, UserError) as error:
            raise UserError(f"{uri} is not served: {str(error).splitlines()[0]}") from None
    net = model.get_raw_model()
    net.predict = functools.partial(net.predict, verbose=0)  # no progress bar for each request
    return uvicorn.Server(uvicorn.Config(guard(scoring_server.init(model))))


def _check(folder: Path) -> None:
    """Refuse a folder of MLflow's that has anything else than one of our models.

    Raises:
        UserError: it has.
        MlflowException: MLflow cannot read what it has.
    """
    flavors = mlflow.models.get_model_info(str(folder)).flavors
    told = {
        name: {key: flavor.get(key) for key in FLAVORS.get(name, {})}
        for name, flavor in flavors.items()
    }
    files = {path.name: path for path in (folder / DATA).glob("*")}
    if (
        told != FLAVORS
        or files.keys() != {ARCHIVE, *TEXTS}
        or any(files[name].read_bytes() != text for name, text in TEXTS.items())
    ):
        raise UserError("it is no model of Keras's alone")
    from sidebyside.models.saving import load_model  # noqa: PLC0415 (TensorFlow has to be configured first)

    try:
        load_model(files[ARCHIVE])  # MLflow, which loads it again, has tracebacks only
    except UserError as error:
        raise UserError(str(error).removeprefix(f"{folder}/")) from None


def guard(app: FastAPI) -> FastAPI:
    """Return a scoring server that refuses what it would misread, in one line of plain text."""

    @app.middleware("http")
    async def refuse(
        request: Request, answer: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        if request.method != "POST":
            return await answer(request)
        if "content-type" not in request.headers:
            message = "say what the body is: Content-Type: application/json"
            return PlainTextResponse(message, status_code=415)
        size = request.headers.get("content-length")
        # Of both headers the latter counts, and says nothing of the size.
        if size is None or "transfer-encoding" in request.headers:
            message = "say how long the body is: Content-Length, and no Transfer-Encoding"
            return PlainTextResponse(message, status_code=411)
        if int(size) > LARGEST:
            message = f"{size} bytes are too many, {LARGEST} may be sent: ask for fewer images"
            return PlainTextResponse(message, status_code=413)
        reason = await asyncio.to_thread(misreading, await request.body())
        if reason is not None:
            return PlainTextResponse(reason, status_code=400)
        return await answer(request)

    return app


def misreading(body: bytes) -> str | None:
    """Return why MLflow would misread a body, or None where its own answer is right."""
    try:
        json.loads(body, parse_float=_refuse)
    except _FractionError as fraction:
        return f"{fraction} is no pixel: send whole numbers from 0 to 255, not scaled to 0…1"
    except RecursionError:
        return "nested too deeply: send a list of images, each 28 rows of 28 whole numbers"
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None  # MLflow says so
    except ValueError as error:  # more digits than Python reads
        return f"{error}: send whole numbers from 0 to 255"
    return None


class _FractionError(Exception):
    """A number with a point or an exponent."""


def _refuse(number: str) -> NoReturn:
    raise _FractionError(number)
