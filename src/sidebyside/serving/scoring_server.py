"""Answer HTTP requests for predictions, as MLflow's scoring server does, but checked and limited.

MLflow's own server reads each form of a body with another validation: some truncate fractions, take
`true` for 1 or fill missing pixels. It limits neither the size of a body nor the time to send it,
and its errors show the server's paths.
"""

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from http import HTTPStatus

import h11
import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from numpy.typing import NDArray
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from sidebyside.config.dataset import Dataset
from sidebyside.serving.request_body import CSV, JSON, MAXIMUM_SIZE, BodyReader, InvalidRequestError

MAXIMUM_HEADER = 16_384  # bytes of a request's header
MAXIMUM_REQUESTS = 8  # read or waiting at a time, each up to MAXIMUM_SIZE
HEADER_SECONDS, BODY_SECONDS = 10.0, 60.0  # in which the header and the body must arrive
ANSWER_SECONDS = 60.0  # in which a client must read the answer
STOP_SECONDS = 10  # after Ctrl-C, for requests that are being answered
ORIGIN = re.compile(rb"https?://[^/?]*", re.IGNORECASE)  # of a URL

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # [N, *shape] → [N, classes]


def create_server(
    predict: Predict, dataset: Dataset, version: str, body_seconds: float = BODY_SECONDS
) -> uvicorn.Server:
    """Return uvicorn's server of a model.

    Args:
        predict: returns the class probabilities of images.
        dataset: the model's data set, with the shape of the images and the names of the classes.
        version: MLflow's version, the answer to /version.
        body_seconds: in which a body must arrive.
    """
    config = uvicorn.Config(
        tolerant(create_application(predict, dataset, version, body_seconds)),
        http=Protocol,
        ws="none",
        lifespan="off",
        h11_max_incomplete_event_size=MAXIMUM_HEADER,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return uvicorn.Server(config)


def create_application(
    predict: Predict, dataset: Dataset, version: str, body_seconds: float = BODY_SECONDS
) -> FastAPI:
    """Return the application: /invocations, /classes, and /ping, /health and /version.

    One request at a time is checked and predicted, in a thread, so that the server answers the
    others meanwhile. Requests that a stopped server cannot answer in time get an error.
    """
    application = FastAPI(openapi_url=None, redirect_slashes=False)
    reader = BodyReader(dataset.shape)
    one = asyncio.Semaphore()
    requests = asyncio.Semaphore(MAXIMUM_REQUESTS)

    @application.get("/ping")
    @application.get("/health")
    async def ping() -> Response:
        return Response("\n", media_type=JSON)

    @application.get("/version")
    async def show_version() -> Response:
        return Response(version, media_type=JSON)

    @application.get("/classes")
    async def show_classes() -> Response:
        return JSONResponse(list(dataset.class_names))

    @application.post("/invocations")
    async def invocations(request: Request) -> Response:
        kind = content_type(request)
        if requests.locked():
            raise refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at a time: try again")
        try:
            async with requests:
                body = await read_body(request, reader.maximum_images, body_seconds)
                async with one:
                    return await in_thread(lambda: answer(predict, reader, kind, body))
        except asyncio.CancelledError:
            raise refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the server was stopped") from None

    @application.exception_handler(StarletteHTTPException)
    async def refuse(_: Request, error: StarletteHTTPException) -> Response:
        return JSONResponse(
            content(error.status_code, error.detail), error.status_code, error.headers
        )

    @application.exception_handler(Exception)
    async def fail(_: Request, __: Exception) -> Response:
        status = HTTPStatus.INTERNAL_SERVER_ERROR  # the server shows the traceback
        return JSONResponse(content(status, "an error in the server: see its output"), status)

    return application


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


async def in_thread(action: Callable[[], Response]) -> Response:
    """Return the result of `action`, called in a thread that a stopped server does not wait for."""
    future: Future[Response] = Future()
    future.set_running_or_notify_cancel()  # a result that comes too late is no error

    def call() -> None:
        try:
            future.set_result(action())
        except BaseException as error:  # raised where it is waited for
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return await asyncio.wrap_future(future)


def answer(predict: Predict, reader: BodyReader, kind: str, body: bytes) -> Response:
    """Return the predictions for a body.

    Raises:
        HTTPException: the body has no valid images.
    """
    try:
        images = reader.read(kind, body)
    except InvalidRequestError as error:
        raise refusal(HTTPStatus.BAD_REQUEST, str(error)) from None
    return JSONResponse({"predictions": predict(images).tolist()})


def content_type(request: Request) -> str:
    """Return the type of a request's body, JSON or CSV.

    Raises:
        HTTPException: the body has another type, encoding or compression.
    """
    kind, *parameters = request.headers.get("content-type", "").lower().replace(" ", "").split(";")
    if kind not in (JSON, CSV):
        raise refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Type has to be {JSON} or {CSV}")
    if any(parameter not in ("charset=utf-8", 'charset="utf-8"', "") for parameter in parameters):
        raise refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type allows only charset=utf-8")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the body without compression")
    return kind


async def read_body(request: Request, images: int, seconds: float) -> bytes:
    """Return the body of a request.

    Args:
        request: the request.
        images: number of images that a body may have, for messages.
        seconds: in which the body must arrive.

    Raises:
        HTTPException: it is too large, or does not arrive within the given time.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            announced = request.headers.get("content-length", "0")
            if len(announced) > len(str(MAXIMUM_SIZE)) or int(announced) > MAXIMUM_SIZE:
                raise _too_large(images)
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAXIMUM_SIZE:
                    raise _too_large(images)
    except TimeoutError:
        message = f"the body did not arrive within {seconds:g} seconds"
        raise refusal(HTTPStatus.REQUEST_TIMEOUT, message) from None
    except ClientDisconnect:  # nobody reads the answer
        raise refusal(HTTPStatus.BAD_REQUEST, "the body is incomplete") from None
    return bytes(body)


def _too_large(images: int) -> HTTPException:
    message = f"the body exceeds {MAXIMUM_SIZE} bytes: send at most {images} images per request"
    return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)


def refusal(status: HTTPStatus, message: str) -> HTTPException:
    """Return an exception that becomes an answer; the rest of the body is not read."""
    return HTTPException(status, message, {"Connection": "close"})


def content(status: int, message: str) -> dict[str, str]:
    """Return the content of an error, in MLflow's form."""
    return {"error_code": HTTPStatus(status).name, "message": message}


class Protocol(H11Protocol):
    """HTTP/1.1, with limits on the time of clients, errors in JSON, and half-closed connections."""

    header_seconds, answer_seconds = HEADER_SECONDS, ANSWER_SECONDS
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None  # the end of the time to read the answer
    _sends_no_more = False  # the client has closed its half of the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # writing pauses until all has been sent
        self._limit_header()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._limit_header()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._cancel_limit()
        self._cancel_unread()

    def eof_received(self) -> bool:  # type: ignore[override]  # as in asyncio
        """Keep the connection of a client that sends no more until its requests are answered."""
        self._sends_no_more = True
        return self._is_answering

    def on_response_complete(self) -> None:
        """Close the connection after the last answer to a client that sends no more."""
        super().on_response_complete()
        if self._sends_no_more and not self._is_answering:
            self.transport.close()

    def pause_writing(self) -> None:
        """Close the connection later if the client has not read the answer then."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has read the answer."""
        super().resume_writing()
        self._cancel_unread()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no valid HTTP request; uvicorn would answer with plain text."""
        response = JSONResponse(content(400, msg.removesuffix(".")), 400, {"Connection": "close"})
        events: Sequence[h11.Event] = (
            h11.Response(status_code=400, headers=response.raw_headers),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        )
        for event in events:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _limit_header(self) -> None:
        """Close the connection later if it is still waiting for a header then."""
        if self.conn.their_state is not h11.IDLE:
            self._cancel_limit()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.header_seconds, self.transport.close)

    @property
    def _is_answering(self) -> bool:
        """Whether a whole request has arrived and its answer is not complete."""
        cycle = self.cycle
        return cycle is not None and not cycle.more_body and not cycle.response_complete

    def _cancel_unread(self) -> None:
        if self._unread:
            self._unread.cancel()
            self._unread = None

    def _cancel_limit(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None
