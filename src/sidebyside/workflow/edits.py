"""Find files that were changed since this process started.

A stage loads its code and inputs in its first seconds. A `git stash` or `git pull` in these seconds
mixes two states of them, and after `git stash pop` their contents are the same as before. Only the
time of the last change of a file's inode shows it, which no program can set.
"""

import contextlib
import functools
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from sidebyside.core.errors import UserError

MAX_SHOWN = 3  # names in a message
LOADING = 60.0  # seconds; some containers give no, or another, start of a process
_watched: set[Path] = set()


@contextlib.contextmanager
def watching(files: Iterable[Path]) -> Iterator[None]:
    """Watch files in a block: they must not change until this process has loaded them."""
    before = {*_watched}
    _watched.update(files)
    try:
        yield
    finally:
        _watched.clear()
        _watched.update(before)


def require_unchanged_since_start() -> None:
    """Check that this process has loaded a single state of the watched files.

    Raises:
        UserError: some were changed since this process started; the message names the first.
    """
    if files := changed_since_start(_watched):
        names = sorted(os.path.relpath(file) for file in files)
        shown = ", ".join(names[:MAX_SHOWN]) + (", …" if len(names) > MAX_SHOWN else "")
        raise UserError(f"{shown} changed while the stage started: run the same command again")


def changed_since_start(files: Iterable[Path]) -> list[Path]:
    """Return the files that were changed since this process started, except for deleted ones."""
    started, now = _start(), time.time()
    # A later time is that of another machine's clock.
    return [file for file in files if file.exists() and started < file.stat().st_ctime <= now]


@functools.cache
def _start() -> float:
    """Return when this process started; on systems other than Linux, when it loaded this module."""
    with contextlib.suppress(OSError):
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        # Rounded up: a shell may have changed files right before.
        since_boot = (int(fields[19]) + 1) / os.sysconf("SC_CLK_TCK")
        boot = -time.clock_gettime(time.CLOCK_BOOTTIME) + time.time()
        return max(boot + since_boot, _imported - LOADING)
    return _imported


_imported = time.time()
