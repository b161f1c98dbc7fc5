"""Perturb the environment of a run: clock, order of files, home, locale, umask, hash seed.

Results must not depend on any of these. `make verify-smoke` perturbs its second run.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

NOW = "2031-12-31 23:59:00+00:00"  # one minute before the year changes
ENVIRONMENT = {
    "HOME": "/proc",  # not writable, not even for root
    "TZ": "Asia/Kathmandu",
    "LC_ALL": "C",
    "PYTHONHASHSEED": "4711",
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # as in a notebook
    "PYTHONPATH": "src",  # the folder of sitecustomize.py
}
UMASK = 0o077
# Python runs a module of this name at its start.
SITECUSTOMIZE = "from sidebyside.reproducibility import perturb\n\nperturb.perturb()\n"


@contextlib.contextmanager
def perturbed(checkout: Path) -> Iterator[None]:
    """Perturb the environment of every process that is started in the block in `checkout`."""
    (checkout / "src/sitecustomize.py").write_text(SITECUSTOMIZE, encoding="utf-8")
    before = dict(os.environ)
    umask = os.umask(UMASK)
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        os.umask(umask)
        os.environ.clear()
        os.environ.update(before)


def perturb() -> None:
    """Set the clock of this process to NOW, ticking, and list folders in reverse order."""
    import time_machine  # noqa: PLC0415 (a development dependency, needed only here)

    time_machine.travel(NOW, tick=True).start()
    listdir, scandir = os.listdir, os.scandir

    def reversed_listdir(*arguments: Any) -> list[Any]:
        return sorted(listdir(*arguments), reverse=True)

    def reversed_scandir(*arguments: Any) -> Any:
        return _ReversedScan(scandir(*arguments))

    os.listdir, os.scandir = reversed_listdir, reversed_scandir  # type: ignore[assignment]  # overloaded


class _ReversedScan:
    """The iterator that `os.scandir` returns, in reverse order of names."""

    def __init__(self, entries: Any) -> None:
        with entries:
            self.entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=True))

    def __iter__(self) -> Iterator[Any]:
        return self.entries

    def __next__(self) -> Any:
        return next(self.entries)

    def __enter__(self) -> "_ReversedScan":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: the constructor has read all entries and closed the iterator."""
