"""Another time and another order of files, to show that a result depends on neither.

`verify --vary` lets every Python of the second run begin with it.
"""

import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any

NOW = "2031-12-31 23:59:00+00:00"  # the year changes while the pipeline runs


class _Scan:
    """What `os.scandir` returns, in the opposite order."""

    def __init__(self, entries: Any) -> None:
        with entries:
            self.entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=True))

    def __iter__(self) -> Iterator[Any]:
        return self.entries

    def __next__(self) -> Any:
        return next(self.entries)

    def __enter__(self) -> "_Scan":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: all entries were read at once."""


def perturb() -> None:
    """Set the clock of this process to NOW, from where it goes on, and list files backwards."""
    import time_machine  # noqa: PLC0415 (a development tool, for those who verify)

    time_machine.travel(NOW, tick=True).start()
    listdir, scandir = os.listdir, os.scandir

    def listed(*given: Any) -> list[Any]:
        return sorted(listdir(*given), reverse=True)

    def scanned(*given: Any) -> Any:
        return _Scan(scandir(*given))

    os.listdir, os.scandir = listed, scanned  # type: ignore[assignment]  # overloaded
