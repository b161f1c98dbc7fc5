"""Jobs of whole numbers for tests of executors."""

import os
import signal
import struct
import sys
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidebyside.core.errors import UserError
from sidebyside.core.jobs import Job

Work = Generator[tuple[Any, bytes | None], None, Any]


class Count(NamedTuple):
    """Count to a number, and misbehave at one of the events."""

    to: int
    at: int = -1  # number of the event, from 0: a step and a checkpoint by turns
    how: str = ""  # name of a function below
    once: Path | None = None  # exists when that has happened


def job(name: str, *count: Any, **options: Any) -> Job:
    return Job(name, "tests.support.jobs:count", Count(*count, **options))


def count(given: Count, arrays: Mapping[str, NDArray[Any]], checkpoint: bytes | None) -> Work:
    """Yield a step and a checkpoint for each number; return their sum, and the process."""
    done, total = map(int, checkpoint.split()) if checkpoint else (0, 0)
    while done < given.to:
        misbehave(given, 2 * done)
        yield f"step {done + 1}", None
        misbehave(given, 2 * done + 1)
        done, total = done + 1, total + done + 1
        yield done, f"{done} {total}".encode()
    misbehave(given, 2 * done)
    return total, os.getpid()


def misbehave(given: Count, event: int) -> None:
    if event == given.at and not (given.once and given.once.exists()):
        if given.once:
            given.once.touch()
        globals()[given.how]()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    os._exit(3)


def hang() -> None:
    time.sleep(1000)


def stop_in_a_message() -> None:
    """Send the beginning of a message over the worker's connection, and stop."""
    os.write(int(sys.argv[1]), struct.pack("!i", 1000) + b"half")
    os.kill(os.getpid(), signal.SIGSTOP)


def refuse() -> None:
    raise UserError("the number is unlucky: choose another")


def err() -> None:
    raise KeyError("bug")


class AwkwardError(Exception):
    """An error that can be pickled, but not unpickled."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def err_awkwardly() -> None:
    raise AwkwardError(1, 2)


class Seen(NamedTuple):
    """An array as a job got it."""

    values: list[Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    aligned: bool
    writeable: bool


def look_at_arrays(_: None, arrays: Mapping[str, NDArray[Any]], checkpoint: bytes | None) -> Work:
    """Return what each array is like, and change it if it is the job's own."""
    seen = {
        name: Seen(
            array.tolist(),
            array.shape,
            array.dtype,
            array.ctypes.data % 64 == 0,
            array.flags.writeable,
        )
        for name, array in arrays.items()
    }
    yield from ()
    return seen
