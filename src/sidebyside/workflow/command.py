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

from sidebyside.core.errors import UserError

EXIT_FAILED = 1
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_TERMINATED = 128 + signal.SIGTERM

EXIT_CODES = """exit status:
  0    finished
  1    failed; one line on standard error says why
  2    the command line is wrong
  130  interrupted (Ctrl-C)
  143  terminated"""


class Terminated(BaseException):
    """SIGTERM, raised where the program stands so that its clean-up runs."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is a script's docstring followed by the exit statuses."""
    return argparse.ArgumentParser(
        description=description,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run(main: Callable[[], None]) -> NoReturn:
    """Call `main` and leave the process with an exit status from `EXIT_CODES`.

    What a user can put right ends in one line on standard error; anything else is a fault of the
    program and keeps its traceback.
    """
    name = Path(sys.argv[0]).stem
    _raise_on(signal.SIGTERM, Terminated)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell's background commands
        _raise_on(signal.SIGINT, KeyboardInterrupt)
    try:
        main()
    except UserError as error:
        _leave(f"{name}: error: {error}", EXIT_FAILED)
    except KeyboardInterrupt:
        _leave(f"{name}: interrupted; run the same command again to go on", EXIT_INTERRUPTED)
    except Terminated:
        _leave(f"{name}: terminated; run the same command again to go on", EXIT_TERMINATED)
    except OSError as error:
        _leave(f"{name}: error: {describe(error)}", EXIT_FAILED)
    sys.exit(0)


def describe(error: OSError) -> str:
    """Return what the operating system refused, and to which file, in one line."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = f"{reason}: free some space and run the same command again"
    return f"{error.filename}: {reason}" if error.filename else reason


def _raise_on(number: signal.Signals, error: type[BaseException]) -> None:
    """Let a signal raise an error where the program stands, outside TensorFlow.

    TensorFlow's C++ code calls Python back, to convert a tensor for example, and crashes if an
    error comes up there (seen in 1 of 83 interrupted trainings). Inside TensorFlow, the error
    therefore waits for the next line of what called it; at a second signal it waits no longer.
    """

    def handle(signum: int, frame: FrameType | None) -> None:
        signal.signal(signum, raise_here)
        caller = _caller_of_tensorflow(frame)
        if caller is None:
            raise error
        caller.f_trace = raise_here
        sys.settrace(lambda *_: None)  # lets the interpreter look at f_trace

    def raise_here(*_: Any) -> NoReturn:
        sys.settrace(None)
        raise error

    signal.signal(number, handle)


def _caller_of_tensorflow(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame that has no TensorFlow outside it, if there is any inside."""
    caller = None
    while frame:
        if frame.f_globals.get("__name__", "").partition(".")[0] == "tensorflow":
            caller = frame.f_back
        frame = frame.f_back
    return caller


def _leave(message: str, status: int) -> NoReturn:
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)
    if status in (EXIT_INTERRUPTED, EXIT_TERMINATED):
        # TensorFlow's threads may hold the interpreter's ordinary exit for seconds.
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)
