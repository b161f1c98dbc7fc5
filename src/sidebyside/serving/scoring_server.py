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
from collections.abc import Awaitable, Callable
from pathlib import Path, PurePosixPath
from typing import NoReturn

import mlflow.artifacts
import mlflow.pyfunc
import mlflow.tensorflow
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from mlflow.pyfunc import scoring_server

from sidebyside.core.errors import UserError
from sidebyside.core.files import sha256
from sidebyside.tracking.logged_models import KERAS_FILE, signature

ARCHIVE = PurePosixPath(KERAS_FILE).name
MAXIMUM_SIZE = 100_000_000  # bytes of a body; the test split's 10,000 images are 31 MB of JSON


def create_server(uri: str, digest: str) -> uvicorn.Server:
    """Return a server for a model in MLflow.

    Anybody who can write to a shared store can put code into what MLflow loads with a model.
    Therefore only the Keras file is downloaded, and is loaded if it is the one that was evaluated;
    everything else that MLflow needs is written again.

    Args:
        uri: URI of the model, such as models:/fashion-mnist-cnn/1.
        digest: SHA-256 of its Keras file.

    Raises:
        UserError: there is no such model, or its file is another one.
    """
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    from sidebyside.models.loading import MAX_BYTES, load_model  # noqa: PLC0415 (loads TensorFlow)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            network = load_model(_download(uri, digest, folder, MAX_BYTES))
        except UserError as error:
            reason = str(error).replace(str(folder / ARCHIVE), KERAS_FILE)
            raise UserError(f"{uri} cannot be served: {reason}") from None
        mlflow.tensorflow.save_model(
            network, folder / "model", signature=signature(), pip_requirements=[]
        )
        model = mlflow.pyfunc.load_model(str(folder / "model"))
    network = model.get_raw_model()
    # Keras would print a progress bar per request.
    network.predict = functools.partial(network.predict, verbose=0)
    return uvicorn.Server(uvicorn.Config(add_checks(scoring_server.init(model))))


def _download(uri: str, digest: str, folder: Path, max_bytes: int) -> Path:
    """Download the Keras file of a model in MLflow into a folder.

    Raises:
        UserError: there is no such file, it is too large, or has another digest.
    """
    parent = PurePosixPath(KERAS_FILE).parent
    try:
        listed = mlflow.artifacts.list_artifacts(artifact_uri=f"{uri}/{parent}")
        sizes = {PurePosixPath(file.path).name: file.file_size or 0 for file in listed}
        if not sizes.get(ARCHIVE):
            raise UserError(f"it has no file {KERAS_FILE}: run `make backfill`")
        if sizes[ARCHIVE] > max_bytes:
            raise UserError(f"{KERAS_FILE} is larger than {max_bytes >> 30} GiB")
        file = mlflow.artifacts.download_artifacts(f"{uri}/{KERAS_FILE}", dst_path=str(folder))
    except UserError:
        raise
    except Exception as error:  # artifact stores raise the errors of their own libraries
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(reason) from None
    if sha256(Path(file)) != digest:
        raise UserError(f"{KERAS_FILE} is not the file that was evaluated: run `make backfill`")
    return Path(file)


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
