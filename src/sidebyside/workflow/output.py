"""Standard output and error that do not stop a command.

A closed pipe (`| head`) or a full disk may cut off a log, and a terminal may lack a character of a
message. None of these is a reason to lose an hour of training.
"""

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Unfailing(io.FileIO):
    """A file whose writes never fail; `error` is the first error."""

    error: OSError | None = None

    def write(self, content: "ReadableBuffer", /) -> int:
        size = memoryview(content).nbytes
        try:
            written: int | None = super().write(content)
            while written is None:  # a pipe that does not block, and is full for now
                select.select([], [self], [])
                written = super().write(content)
        except OSError as error:
            self.error = self.error or error
            return size
        return written


def protect() -> None:
    """Replace standard output and error by streams that accept all text and never fail.

    A standard stream that the parent process has closed is opened on the null device; otherwise the
    next file that is opened would take its place and receive what libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = _unfailing(sys.stdout, 1, "replace")
    sys.stderr = _unfailing(sys.stderr, 2, "backslashreplace")


def _unfailing(stream: TextIO | None, number: int, errors: str) -> TextIO:
    """Return a stream like the given one; the stream itself if it is not this process's own."""
    if stream is not None and stream not in (sys.__stdout__, sys.__stderr__):
        return stream  # replaced already, or captured by a test
    line, through = True, False
    encoding = "utf-8"
    if isinstance(stream, io.TextIOWrapper):
        encoding, line, through = stream.encoding, stream.line_buffering, stream.write_through
    return io.TextIOWrapper(
        io.BufferedWriter(_Unfailing(number, "w", closefd=False)),
        encoding=encoding,
        errors=errors,
        line_buffering=line,
        write_through=through,
    )


def lost() -> OSError | None:
    """Return the error that cut off standard output; None for a pipe whose reader has ended."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    error = raw.error if isinstance(raw, _Unfailing) else None
    return None if error is None or error.errno == errno.EPIPE else error
