"""Answer HTTP requests for predictions, as MLflow's scoring server does, but checked and limited.

MLflow's own server reads each form of a body with another validation: some truncate fractions, take
`true` for 1 or fill missing pixels. It limits neither the size of a body nor the time to send it,
its errors show the server's paths, and its answers have no names.
"""

import asyncio
import contextlib
import re
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from sidebyside.core.errors import UserError
from sidebyside.serving import picture_page
from sidebyside.serving.answer import Answer, Classifier, Error, PictureAnswer, error_response
from sidebyside.serving.cross_site import same_site
from sidebyside.serving.http_protocol import Protocol
from sidebyside.serving.request_body import CSV, JSON, MAXIMUM_SIZE, BodyReader, InvalidRequestError
from sidebyside.serving.uploaded_picture import read_upload

MAXIMUM_HEADER = 16_384  # bytes of a request's header
MAXIMUM_REQUESTS = 8  # read or waiting at a time, each up to MAXIMUM_SIZE
BODY_SECONDS = 60.0  # in which the body must arrive
STOP_SECONDS = 10  # after Ctrl-C, for requests that are being answered
ORIGIN = re.compile(rb"https?://[^/?]*", re.IGNORECASE)  # of a URL
IMAGE, BYTES = "image/…", "application/octet-stream"  # types of a picture

Result = TypeVar("Result")


def create_server(
    classifier: Classifier,
    mlflow_version: str,
    uploads: Path,
    host: str = "localhost",
    body_seconds: float = BODY_SECONDS,
) -> uvicorn.Server:
    """Return uvicorn's server of a model.

    Args:
        classifier: the model.
        mlflow_version: the answer to /version.
        uploads: an empty folder.
        host: name of this computer, or its address.
        body_seconds: in which a body must arrive.
    """
    application = create_application(classifier, mlflow_version, uploads, body_seconds)
    config = uvicorn.Config(
        tolerant(same_site(application, host)),
        http=Protocol,
        ws="none",
        lifespan="off",
        h11_max_incomplete_event_size=MAXIMUM_HEADER,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return uvicorn.Server(config)


def create_application(
    classifier: Classifier, mlflow_version: str, uploads: Path, body_seconds: float
) -> FastAPI:
    """Return the application: a page, /picture, /invocations, and what they publish of the model.

    Checking and predicting the images of one request at a time, and preparing one picture, happens
    in threads, so that the server answers the others meanwhile. Requests that a stopped server
    cannot answer in time get an error.

    Args:
        classifier, mlflow_version, uploads, body_seconds: as for `create_server`.
    """
    registered, dataset = classifier.registered, classifier.dataset
    application = FastAPI(
        title=registered.name,
        version=registered.version,
        description=f"Classify images of {dataset.title}, or any picture as one of its classes.",
        docs_url=None,  # these pages load scripts from the internet
        redoc_url=None,
        redirect_slashes=False,
    )
    reader = BodyReader(dataset.shape)
    one_prediction, one_picture = asyncio.Semaphore(), asyncio.Semaphore()
    requests = asyncio.Semaphore(MAXIMUM_REQUESTS)

    @application.get("/", include_in_schema=False)
    async def show_page(request: Request) -> Response:
        html = picture_page.page(classifier, str(request.base_url))
        return HTMLResponse(html, headers=picture_page.headers(html))

    @application.get("/ping", include_in_schema=False)
    @application.get("/health", include_in_schema=False)
    async def ping() -> Response:
        return Response("\n", media_type=JSON)

    @application.get("/version", include_in_schema=False)
    async def show_version() -> Response:
        return Response(mlflow_version, media_type=JSON)

    @application.get("/classes", summary="Names of the classes", responses=answers(list[str]))
    async def show_classes() -> Response:
        return JSONResponse(list(dataset.class_names))

    @application.post(
        "/invocations",
        summary="Classify images as raw pixels",
        openapi_extra=accepts({JSON: reader.json_schema(), CSV: {"type": "string"}}),
        responses=answers(Answer),
    )
    async def invocations(request: Request) -> Response:
        kind = content_type(request, (JSON, CSV))

        async def classify(body: bytes) -> str:
            async with one_prediction:
                return await in_thread(
                    lambda: classifier.classify(reader.read(kind, body)).model_dump_json()
                )

        advice = f"send at most {reader.maximum_images} images per request"
        return await handled(request, classify, advice)

    @application.post(
        "/picture",
        summary="Prepare and classify the content of a picture file",
        openapi_extra=accepts({kind: {"type": "string"} for kind in ("image/*", BYTES)}),
        responses=answers(PictureAnswer),
    )
    async def picture(request: Request) -> Response:
        content_type(request, (IMAGE, BYTES))

        async def classify(body: bytes) -> str:
            async with one_picture:
                prepared = await in_thread(lambda: read_upload(body, uploads, dataset))
            async with one_prediction:
                return await in_thread(
                    lambda: classifier.classify_picture(prepared).model_dump_json()
                )

        return await handled(request, classify, "send a smaller picture")

    async def handled(
        request: Request, answer: Callable[[bytes], Awaitable[str]], advice: str
    ) -> Response:
        """Return the answer to a request's body, or raise why there is none."""
        if requests.locked():
            raise refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at a time: try again")
        try:
            async with requests:
                body = await read_body(request, advice, body_seconds)
                return Response(await answer(body), media_type=JSON)
        except (InvalidRequestError, UserError) as error:
            raise refusal(HTTPStatus.BAD_REQUEST, str(error)) from None
        except asyncio.CancelledError:
            raise refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the server was stopped") from None

    @application.exception_handler(StarletteHTTPException)
    async def refuse(_: Request, error: StarletteHTTPException) -> Response:
        headers = dict(error.headers or {})
        return error_response(error.status_code, error.detail, headers)

    @application.exception_handler(Exception)
    async def fail(_: Request, __: Exception) -> Response:
        status = HTTPStatus.INTERNAL_SERVER_ERROR  # the server shows the traceback
        return error_response(status, "an error in the server: see its output")

    return application


def answers(content: Any) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a path for the published schema: the content, or an error."""
    return {
        200: {"model": content},
        "4XX": {"model": Error, "description": "the request was refused"},
        "5XX": {"model": Error, "description": "the server is busy, was stopped or failed"},
    }


def accepts(schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the body of a path for the published schema: media type → JSON schema."""
    content = {kind: {"schema": schema} for kind, schema in schemas.items()}
    return {"requestBody": {"required": True, "content": content}}


def tolerant(application: ASGIApp) -> ASGIApp:
    """Return an application that accepts a whole URL as target, and ends quietly at a stop.

    RFC 9112 requires every server to accept the URLs that clients send to proxies.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if found := ORIGIN.match(scope["raw_path"]):
            start = len(found[0])
            path, raw_path = scope["path"][start:] or "/", scope["raw_path"][start:] or b"/"
            scope = {**scope, "path": path, "raw_path": raw_path}
        with contextlib.suppress(asyncio.CancelledError):
            await application(scope, receive, send)

    return call


async def in_thread(action: Callable[[], Result]) -> Result:
    """Return the result of `action`, called in a thread that a stopped server does not wait for."""
    future: Future[Result] = Future()
    future.set_running_or_notify_cancel()  # a result that comes too late is no error

    def call() -> None:
        try:
            future.set_result(action())
        except BaseException as error:  # raised where it is waited for
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return await asyncio.wrap_future(future)


def content_type(request: Request, allowed: tuple[str, str]) -> str:
    """Return the type of a request's body.

    A page of another web site cannot send these types without asking the server before, which
    refuses.

    Args:
        request: the request.
        allowed: the types that the body may have.

    Raises:
        HTTPException: the body has another type, encoding or compression.
    """
    kind, *parameters = request.headers.get("content-type", "").lower().replace(" ", "").split(";")
    if not any(kind.startswith(one.removesuffix("…")) for one in allowed):
        message = f"Content-Type has to be {' or '.join(allowed)}"
        raise refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, message)
    if any(parameter not in ("charset=utf-8", 'charset="utf-8"', "") for parameter in parameters):
        raise refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type allows only charset=utf-8")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the body without compression")
    return kind


async def read_body(request: Request, advice: str, seconds: float) -> bytes:
    """Return the body of a request.

    Args:
        request: the request.
        advice: what to do if the body is too large, for messages.
        seconds: in which the body must arrive.

    Raises:
        HTTPException: it is too large, or does not arrive within the given time.
    """
    large = f"the body exceeds {MAXIMUM_SIZE} bytes: {advice}"
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            announced = request.headers.get("content-length", "0")
            if len(announced) > len(str(MAXIMUM_SIZE)) or int(announced) > MAXIMUM_SIZE:
                raise refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, large)
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAXIMUM_SIZE:
                    raise refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, large)
    except TimeoutError:
        message = f"the body did not arrive within {seconds:g} seconds"
        raise refusal(HTTPStatus.REQUEST_TIMEOUT, message) from None
    except ClientDisconnect:  # nobody reads the answer
        raise refusal(HTTPStatus.BAD_REQUEST, "the body is incomplete") from None
    return bytes(body)


def refusal(status: HTTPStatus, message: str) -> HTTPException:
    """Return an exception that becomes an answer; the rest of the body is not read."""
    return HTTPException(status, message, {"Connection": "close"})
