import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from sidebyside.core.errors import UserError
from sidebyside.tracking import guard
from sidebyside.tracking.guard import TRACEBACK, UNREACHABLE, Guard, InvalidAddressError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


class CloudError(Exception):
    """An error of a library that nobody has thought of."""


def fail(message: str = "no credentials\nfound") -> None:
    raise CloudError(message)


@pytest.mark.parametrize("error", [CloudError, ImportError, AttributeError, MemoryError, OSError])
def test_any_exception_is_a_warning(
    error: type[Exception], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def action() -> None:
        raise error("no credentials\nfound")

    assert Guard("the store", tmp_path, None).attempt(action) is UNREACHABLE
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: the store fails ({error.__name__}: no credentials found)")
    assert "in action" in (tmp_path / TRACEBACK).read_text()


def test_a_message_is_never_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "long " * 1000 + "end"
    Guard("the store", tmp_path, None).attempt(lambda: fail(text))
    assert text in capsys.readouterr().err


def test_an_invalid_address_is_an_error(tmp_path: Path) -> None:
    def action() -> None:
        raise InvalidAddressError

    with pytest.raises(InvalidAddressError):
        Guard("the store", tmp_path, None).attempt(action)


def test_a_command_that_needs_the_store_gets_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the store cannot be reached \(CloudError: no cred.*\n?"):
        Guard("the store", tmp_path, None).require(fail)


def test_the_same_failure_is_reported_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guarded = Guard("the store", tmp_path, None)
    for _ in range(2):
        guarded.attempt(fail)
        guarded.attempt(lambda: None)
    assert len(capsys.readouterr().err.splitlines()) == 2  # a warning and "responds again"


def test_a_server_that_is_gone_is_reported_once_for_all_its_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guarded = Guard("the store", tmp_path, None)
    for part in (None, "its artifacts", "its registry"):
        guarded.attempt(fail, part)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_parts_of_a_store_fail_separately(
    tmp_path: Path, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    def fails_slowly() -> None:
        clock[0] += 2
        fail()

    guarded, calls = Guard("the store", tmp_path, None), list[str]()
    guarded.attempt(fails_slowly, "its artifacts")
    for part in ("its artifacts", "its registry", None):
        guarded.attempt(partial(calls.append, str(part)), part)
    assert calls == ["its registry", "None"]
    guarded.attempt(fails_slowly)
    assert guarded.attempt(lambda: calls.append("again"), "its registry") is UNREACHABLE
    assert [line.split(" (")[0] for line in capsys.readouterr().err.splitlines()] == [
        "warning: its artifacts fails",
        "warning: the store fails",
    ]


def test_the_pause_after_a_slow_failure_doubles_up_to_a_maximum(
    tmp_path: Path, clock: list[float]
) -> None:
    called, guarded = list[float](), Guard("the store", tmp_path, None)

    def fails() -> None:
        called.append(clock[0])
        clock[0] += 2
        fail()

    def attempt(start: int, end: int) -> None:
        for second in range(start, end, 4):
            clock[0] = max(clock[0], float(second))
            guarded.attempt(fails)

    attempt(0, 3000)
    pauses = [after - before for before, after in itertools.pairwise(called)]
    assert pauses[:6] == [32, 64, 124, 244, 484, 604]
    guarded.retry()
    assert guarded.attempt(lambda: "a result") == "a result"
    called.clear()
    attempt(4000, 4040)
    assert called == [4000, 4032]


def test_a_quick_failure_causes_no_pause(tmp_path: Path) -> None:
    guarded = Guard("the store", tmp_path, None)
    guarded.attempt(fail)
    assert guarded.attempt(lambda: "a result") == "a result"


def test_a_call_that_hangs_is_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.1)
    guarded, before = Guard("the store", tmp_path, None), time.monotonic()
    assert guarded.attempt(threading.Event().wait) is UNREACHABLE
    for _ in range(100):
        assert guarded.attempt(lambda: "a result") is UNREACHABLE
    assert time.monotonic() - before < 5
    assert capsys.readouterr().err.splitlines() == [
        "warning: the store fails (no answer within 0 s): continuing without it"
    ]


def test_a_command_that_needs_a_store_waits_for_an_answer_for_a_stated_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "CALL_LIMIT", 0.1)
    guarded, before = Guard("the store", tmp_path, None), time.monotonic()
    with pytest.raises(UserError, match=r"^the store cannot be reached \(no answer within 0 s\)"):
        guarded.require(threading.Event().wait)
    assert time.monotonic() - before < 5


@pytest.mark.parametrize(
    ("action", "reason"),
    [(threading.Event().wait, "no answer within 0 s"), (fail, "CloudError: no credentials found")],
)
def test_a_required_store_fails_with_its_first_call_and_is_not_called_again(
    action: Callable[[], None],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(guard, "CALL_LIMIT", 0.1)
    guarded, before = Guard("the store", tmp_path, None), time.monotonic()
    guarded.required = True
    for _ in range(100):
        with pytest.raises(UserError, match=rf"^its artifacts cannot be reached \({reason}\)"):
            guarded.attempt(action, "its artifacts")
    assert guarded.attempt(lambda: None, limit=2.0) is UNREACHABLE  # at Ctrl-C
    assert time.monotonic() - before < 5
    assert capsys.readouterr().err == ""


def test_a_store_that_responds_slowly_is_given_up_in_the_stated_time(
    tmp_path: Path, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    def responds() -> None:
        clock[0] += 5

    guarded = Guard("the store", tmp_path, None)
    for _ in range(400):
        guarded.attempt(responds)
    assert guard.PATIENCE <= clock[0] <= guard.PATIENCE + 10
    assert capsys.readouterr().err.splitlines() == [
        "warning: the store is too slow: nothing more is logged to it"
    ]


def test_a_long_stage_has_more_patience(tmp_path: Path, clock: list[float]) -> None:
    def responds() -> None:
        clock[0] += 1

    guarded = Guard("the store", tmp_path, None)
    for _ in range(400):
        clock[0] += 60
        assert guarded.attempt(responds) is None


HANGS = """
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from sidebyside.tracking import guard
from sidebyside.workflow import command
guard.PATIENCE = 0.1
def main():
    upload = lambda: ThreadPoolExecutor().submit(time.sleep, 30).result()  # as cloud libraries do
    guard.Guard("the store", Path(sys.argv[1]), None).attempt(upload)
    print("done")
command.run(main)
"""


def test_a_process_does_not_wait_for_a_hanging_call_at_its_end(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=25,
    )
    assert done.stdout == "done\n"
    assert "no answer" in done.stderr
