"""Call functions one after another in a background thread, each with a time limit."""

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any

SLICE = 0.5  # seconds after which a signal is noticed at the latest


class NoAnswerError(Exception):
    """A function did not return in time; it may still be running."""


class Worker:
    """A thread that calls functions one after another.

    The caller waits without being in the called code. So a call that hangs in any library is given
    up in time, and Ctrl-C works at once: an exception raised by a signal inside a destructor or a
    callback, of which database libraries have many, would be lost.
    """

    def __init__(self) -> None:
        """Start the thread; it does not keep the process alive."""
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def call(self, action: Callable[[], Any], limit: float = math.inf) -> Any:
        """Return the result of `action`, or raise its exception.

        Args:
            action: the function; it starts after all earlier ones.
            limit: maximum number of seconds to wait.

        Raises:
            NoAnswerError: the time is up.
        """
        if threading.current_thread() is self._thread:  # a call inside a call
            return action()
        future: Future[Any] = Future()
        self._calls.put((action, future))
        deadline = time.monotonic() + limit
        while True:
            left = deadline - time.monotonic()
            # A signal that arrives just before the wait begins does not end it.
            wait([future], min(left, SLICE))
            if future.done():
                return future.result()
            if left <= SLICE:
                raise NoAnswerError(f"no answer within {limit:.0f} s")

    def _work(self) -> None:
        while True:
            action, future = self._calls.get()
            try:
                future.set_result(action())
            except BaseException as error:  # raised where it is waited for
                future.set_exception(error)
            del action, future  # keeps no model or picture alive while it waits
