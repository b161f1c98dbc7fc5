"""Let one process at a time do a piece of work; another waits, or says which process is at work."""

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import platform
import shlex
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

INTERVAL = 0.1  # seconds between two attempts
NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
# DVC's other kind of lock would take the files that its usual kind leaves behind for locks.
DVC_WITHOUT_LOCKS = "rm -f .dvc/tmp/*lock && dvc config --local core.hardlink_lock true"
LONGEST_COMMAND = 120  # characters of a command that a message shows


class BusyError(BlockingIOError):
    """Another process holds the lock; the message names it: its id, since when, its command."""


class LockError(OSError):
    """A file cannot be used as a lock; the message has the command that cures it."""


@contextlib.contextmanager
def exclusive(
    path: Path,
    *,
    patience: float = 0.0,
    on_wait: Callable[[str], None] | None = None,
    doing: str | None = None,
) -> Iterator[IO[str]]:
    """Hold a lock, which the system releases if the process dies; yield the open lock file.

    On a file system without locks, a file in the temporary folder is locked instead.

    Args:
        path: the lock file, removed at the end of the block.
        patience: seconds to wait for another process.
        on_wait: called once with a description of the other process before the wait.
        doing: the command that other processes show; None: the command line of this process.

    Raises:
        BusyError: another process holds the lock for longer than `patience`.
        LockError: the file is write-protected, or something else has its name.
        OSError: the file cannot be written, or the temporary folder has no locks either; it names
            the file.
    """
    _make_folder(path.parent)
    try:
        file = _lock(path, patience, on_wait)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        _note_missing_locks(path.parent)
        file = _lock(_in_temporary_folder(path), patience, on_wait)
    with file:
        _sign(file, doing or shlex.join(sys.argv))
        try:
            yield file
        finally:
            with contextlib.suppress(OSError):
                Path(file.name).unlink()


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


def _lock(path: Path, patience: float, on_wait: Callable[[str], None] | None) -> IO[str]:
    """Open and lock a file."""
    deadline = time.monotonic() + patience
    while (file := _try_lock(path)) is None:
        if time.monotonic() >= deadline:
            raise BusyError(errno.EWOULDBLOCK, holder(path))
        if on_wait:
            on_wait(holder(path))
            on_wait = None
        time.sleep(INTERVAL)
    return file


def _try_lock(path: Path) -> IO[str] | None:
    """Return the locked file; None if another process holds the lock."""
    while True:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(_open(path))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            except OSError as error:
                error.filename = str(path)
                raise
            if _is_at(file, path):  # not removed by its holder since it was opened here
                stack.pop_all()
                return file


def _make_folder(folder: Path) -> None:
    """Create the folder of a lock file.

    Raises:
        LockError: something else has its name, or that of a folder above.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, FileNotFoundError):
        above = (path for path in (*reversed(folder.parents), folder) if os.path.lexists(path))
        blocking = next((path for path in above if not path.is_dir()), None)
        if blocking is None:
            raise
        raise _misplaced(blocking, "not a folder") from None


def _open(path: Path) -> IO[str]:
    """Open a lock file, which is created if missing.

    A link is refused, because the file that it leads to would be overwritten.

    Raises:
        LockError: something else has its name, or it is write-protected.
    """
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise _misplaced(path, "not a regular file")
    try:
        return path.open("a+", encoding="utf-8")
    except PermissionError:
        if not os.access(path.parent, os.W_OK):
            raise
        reason = f"write-protected: `rm -f {_shell_path(path)}` removes it"
        raise LockError(errno.EACCES, reason, str(path)) from None


def _misplaced(path: Path, reason: str) -> LockError:
    name = _shell_path(path)
    return LockError(errno.EINVAL, f"{reason}: `mv {name} {name}.damaged` moves it away", str(path))


def _shell_path(path: Path) -> str:
    return shlex.quote(os.path.relpath(path))


def _is_at(file: IO[str], path: Path) -> bool:
    """Return whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


@functools.cache
def _note_missing_locks(folder: Path) -> None:
    """Print once that a folder lies on a file system without locks, as some network ones are."""
    print(
        f"{folder}: no locks on this file system: processes on other machines are not noticed,"
        f" and DVC needs `{DVC_WITHOUT_LOCKS}`",
        file=sys.stderr,
        flush=True,
    )


def _in_temporary_folder(path: Path) -> Path:
    """Return the file that this user's processes on this machine lock instead of `path`."""
    name = hashlib.sha256(f"{os.getuid()} {path.resolve()}".encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"sidebyside-{name}.lock"


def _sign(file: IO[str], doing: str) -> None:
    """Write who holds the lock; on a full disk, the lock holds without it."""
    line = " ".join(doing.split())
    shown = line if len(line) <= LONGEST_COMMAND else f"{line[: LONGEST_COMMAND - 1]}…"
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    with contextlib.suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        file.write(json.dumps([os.getpid(), platform.node(), since, shown]))
        file.flush()
