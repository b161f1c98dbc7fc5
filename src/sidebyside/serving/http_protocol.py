"""HTTP/1.1 for the scoring server: uvicorn's protocol with limits on the time of clients."""

import asyncio
from collections.abc import Sequence

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from sidebyside.serving.answer import error_response

HEADER_SECONDS = 10.0  # in which a request's header must arrive
ANSWER_SECONDS = 60.0  # in which a client must read the answer


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
        response = error_response(400, msg.removesuffix("."), {"Connection": "close"})
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
