import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from sidebyside.tracking.worker import NoAnswerError, Worker


def test_results_and_exceptions_are_passed_on() -> None:
    worker = Worker()
    assert worker.call(lambda: "a result") == "a result"
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda: 1 / 0)


def test_a_call_that_hangs_is_given_up() -> None:
    before = time.monotonic()
    with pytest.raises(NoAnswerError, match="no answer within 0 s"):
        Worker().call(threading.Event().wait, 0.1)
    assert time.monotonic() - before < 5


def test_a_time_limit_of_the_called_code_is_its_own_error() -> None:
    def times_out() -> None:
        raise TimeoutError("by a library")

    with pytest.raises(TimeoutError, match="by a library"):
        Worker().call(times_out, 10)


def test_calls_do_not_overlap() -> None:
    worker, order = Worker(), list[str]()

    def slow() -> None:
        time.sleep(0.1)
        order.append("slow")

    with pytest.raises(NoAnswerError):
        worker.call(slow, 0.01)
    worker.call(lambda: order.append("next"))
    assert order == ["slow", "next"]


@pytest.fixture
def interrupting() -> Iterator[None]:
    """SIGTERM raises an exception where the program stands, as it does in a command."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("interrupting")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_waiting_but_not_the_call(number: signal.Signals) -> None:
    worker, done, go_on = Worker(), list[str](), threading.Event()

    def change() -> None:
        done.append("first")
        os.kill(os.getpid(), number)  # to the process, as Ctrl-C
        go_on.wait(10)
        done.append("last")

    with pytest.raises(KeyboardInterrupt):
        worker.call(change)
    assert done == ["first"]
    go_on.set()
    worker.call(lambda: None)
    assert done == ["first", "last"]
