"""A progress bar for transfers, shown only on a terminal."""

import sys
from typing import Any


def transfer_bar(name: str, total: int | None) -> Any:
    """Return a tqdm bar that counts bytes, as a context manager.

    Args:
        name: label.
        total: expected number of bytes; None if unknown.
    """
    from tqdm import tqdm  # noqa: PLC0415 (0.1 s, needed only when something is transferred)

    return tqdm(
        desc=name, total=total, unit="B", unit_scale=True, leave=False, disable=not _on_terminal()
    )


def _on_terminal() -> bool:
    return sys.stderr.isatty()
