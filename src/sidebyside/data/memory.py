"""Refuse images that do not fit into the memory, before they are read."""

from pathlib import Path

from sidebyside.core.errors import UserError

COPIES = 4  # of all images in memory at once while they are split and written
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
MEBIBYTE = 1 << 20


class MemoryShortageError(UserError):
    """The images do not fit into the memory."""


def available_memory() -> int | None:
    """Return the bytes of memory that this process may still use, or None where it is unknown."""
    lines = [line for line in _lines(MEMINFO) if line.startswith("MemAvailable:")]
    limits = [int(line.split()[1]) * 1024 for line in lines]
    limit, used = _lines(CGROUP / "memory.max"), _lines(CGROUP / "memory.current")
    if limit and used and limit[0].isdigit():
        limits.append(int(limit[0]) - int(used[0]))
    return min(limits, default=None)


def shortage(needed: int) -> str | None:
    """Return how much of the needed bytes of memory is available, or None if it is enough."""
    available = available_memory()
    if available is None or needed <= available:
        return None
    return (
        f"about {needed // MEBIBYTE:,} MiB of memory, but only {available // MEBIBYTE:,} MiB are"
        " available"
    )


def require_memory(size: int, name: str) -> None:
    """Check that `size` bytes of images can be processed.

    Args:
        size: bytes of the images as arrays.
        name: prefix of the error message.

    Raises:
        MemoryShortageError: they need more memory than is available.
    """
    if lacking := shortage(COPIES * size):
        raise MemoryShortageError(
            f"{name}: images of {size // MEBIBYTE:,} MiB need {lacking}: use fewer or smaller"
            " images, or end other programs"
        )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return []
