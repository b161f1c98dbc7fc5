"""Run a script's `main` as a command: one-line errors, exit codes, signals."""

import argparse
import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from sidebyside.core import environment
from sidebyside.core.errors import UserError, printable
from sidebyside.workflow import output

EXIT_FAILED = 1
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_TERMINATED = 128 + signal.SIGTERM

RESTARTED = "SIDEBYSIDE_RESTARTED"  # the process that has started again in a clean environment

EXIT_CODES = """exit status:
  0    success
  1    failure; one line on standard error gives the reason
  2    invalid command line
  130  interrupted (Ctrl-C)
  143  terminated, or its terminal was closed"""


_leaves_at_once = False


class Terminated(BaseException):
    """SIGTERM or SIGHUP, raised in the running code so that its clean-up runs."""


SIGNALS: dict[signal.Signals, type[BaseException]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
    signal.SIGHUP: Terminated,
}


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is a script's docstring followed by the exit statuses."""
    return argparse.ArgumentParser(
        description=description,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run(main: Callable[[], None], *, output_is_log: bool = False) -> NoReturn:
    """Call `main` and end the process with an exit status from `EXIT_CODES`.

    An error that the user can correct is reported in one line on standard error. Any other error
    is a bug and keeps its traceback.

    Args:
        main: the command.
        output_is_log: whether the command succeeds even if its output is lost, because of a full
            disk for example.
    """
    clean_environment()
    output.protect()
    name = Path(sys.argv[0]).stem
    try:
        _interruptible(main)
    except UserError as error:
        _exit(f"{name}: error: {error}", EXIT_FAILED)
    except KeyboardInterrupt:
        _exit(f"{name}: interrupted; run the same command again to resume", EXIT_INTERRUPTED)
    except Terminated:
        _exit(f"{name}: terminated; run the same command again to resume", EXIT_TERMINATED)
    except OSError as error:
        _exit(f"{name}: error: {describe(error)}", EXIT_FAILED)
    if cut_off := output.lost():
        message = f"standard output is incomplete: {describe(cut_off)}"
        if not output_is_log:
            _exit(f"{name}: error: {message}", EXIT_FAILED)
        _exit(f"{name}: warning: {message}", 0)
    _exit(None, 0)


def leave_at_once() -> None:
    """Let the process end without waiting for threads: one of them is known to hang."""
    global _leaves_at_once  # noqa: PLW0603 (a fact about the process)
    _leaves_at_once = True


def clean_environment() -> None:
    """Clean the environment of this process and of those that it will start.

    If it has started with a variable that Python or numpy has read already, it starts again, as the
    same process.
    """
    early = environment.read_early(os.environ)
    environment.clean()
    process = str(os.getpid())
    if early and os.environ.get(RESTARTED) != process:  # once: an import may set a variable again
        os.environ[RESTARTED] = process
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def describe(error: OSError) -> str:
    """Return an error of the operating system in one line: the file and the reason."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = f"{reason}: free some space and run the same command again"
    return f"{error.filename}: {reason}" if error.filename else reason


def _interruptible(main: Callable[[], None]) -> None:
    """Call `main`; signals raise errors in it, and nothing after its end.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        Terminated: the process is asked to end, or its terminal was closed.
    """
    for number, error in SIGNALS.items():
        # A background job ignores SIGINT, and a command of nohup SIGHUP.
        if number is signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            _raise_on(number, error)
    main()


def _raise_on(number: signal.Signals, error: type[BaseException]) -> None:
    """Make a signal raise an error in the running code, but outside TensorFlow.

    TensorFlow's C++ code calls back into Python, for example to convert a tensor, and crashes if
    an error is raised there (seen in 1 of 83 interrupted trainings). Inside TensorFlow, the error
    is therefore raised at the next line of the calling code; a second signal raises it at once.
    """

    def handle(signum: int, frame: FrameType | None) -> None:
        if not _is_running(frame):
            return
        signal.signal(signum, handle_again)
        caller = _caller_of_tensorflow(frame)
        if caller is None:
            raise error
        caller.f_trace = raise_here
        sys.settrace(lambda *_: None)  # enables f_trace

    def handle_again(_: int, frame: FrameType | None) -> None:
        if _is_running(frame):
            raise_here()

    def raise_here(*_: Any) -> NoReturn:
        sys.settrace(None)
        raise error

    signal.signal(number, handle)


def _is_running(frame: FrameType | None) -> bool:
    """Return whether a frame is below the one that calls `main`."""
    while frame and frame.f_code is not _interruptible.__code__:
        frame = frame.f_back
    return frame is not None


def _caller_of_tensorflow(frame: FrameType | None) -> FrameType | None:
    """Return the frame that called into TensorFlow; None outside TensorFlow."""
    caller = None
    while frame:
        if frame.f_globals.get("__name__", "").partition(".")[0] == "tensorflow":
            caller = frame.f_back
        frame = frame.f_back
    return caller


def _exit(message: str | None, status: int) -> NoReturn:
    if message is not None:
        with contextlib.suppress(OSError):
            print(printable(message), file=sys.stderr, flush=True)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)  # ends a process that waits for its threads
    if _leaves_at_once or status in (EXIT_INTERRUPTED, EXIT_TERMINATED):
        # TensorFlow's threads may delay the interpreter's regular exit by seconds.
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)
