"""Let one process at a time do a piece of work; another waits, or says which process is at work."""

import contextlib
import errno
import fcntl
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

INTERVAL = 0.1  # seconds between two attempts
LONGEST_COMMAND = 120  # characters of a command that a message shows


class BusyError(BlockingIOError):
    """Another process holds the lock; the message names it: its id, since when, its command."""


@contextlib.contextmanager
def exclusive(
    path: Path,
    *,
    patience: float = 0.0,
    on_wait: Callable[[str], None] | None = None,
    doing: str | None = None,
) -> Iterator[IO[str]]:
    """Hold a lock, which the system releases if the process dies; yield the open lock file.

    Args:
        path: the lock file. It is left in place, because a process may be waiting for it.
        patience: seconds to wait for another process.
        on_wait: called once with a description of the other process before the wait.
        doing: the command that other processes show; None: the command line of this process.

    Raises:
        BusyError: another process holds the lock for longer than `patience`.
        OSError: the file cannot be written, or its file system has no locks; it names the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        deadline = time.monotonic() + patience
        while not _try_lock(file, path):
            if time.monotonic() >= deadline:
                raise BusyError(errno.EWOULDBLOCK, holder(path))
            if on_wait:
                on_wait(holder(path))
                on_wait = None
            time.sleep(INTERVAL)
        _sign(file, doing or shlex.join(sys.argv))
        yield file


def holder(path: Path) -> str:
    """Describe the last holder of a lock.

    For example: process 123 (`dvc repro`, since 2026-01-31 12:00:00).
    """
    try:
        pid, host, since, doing = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):  # it is about to sign the file
        return "another process"
    where = "" if host == platform.node() else f" on {host}"
    return f"process {pid}{where} (`{doing}`, since {since})"


def _try_lock(file: IO[str], path: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        error.filename = str(path)
        raise
    return True


def _sign(file: IO[str], doing: str) -> None:
    """Write who holds the lock; on a full disk, the lock holds without it."""
    line = " ".join(doing.split())
    shown = line if len(line) <= LONGEST_COMMAND else f"{line[: LONGEST_COMMAND - 1]}…"
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    with contextlib.suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        file.write(json.dumps([os.getpid(), platform.node(), since, shown]))
        file.flush()
