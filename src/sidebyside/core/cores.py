"""The cores that a process may use, and its share of them for a child process."""

import os

from sidebyside.core.errors import UserError

VARIABLE = "CORES"  # set by the user, or for the stages and workers that share a machine


def cores() -> int:
    """Return how many cores this process may use: CORES, or all that the system gives it.

    Raises:
        UserError: the environment variable CORES is not a positive whole number.
    """
    given = os.environ.get(VARIABLE, "")
    if not given:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if not given.isascii() or not given.isdecimal() or not int(given):
        raise UserError(f"{VARIABLE}={given!r} is not a whole number from 1: set it to 1, 2, …")
    return int(given)


def share(number: int) -> dict[str, str]:
    """Return environment variables for each of some processes that share the cores of this one.

    Args:
        number: how many processes, at least 1.

    Raises:
        UserError: as `cores` raises it.
    """
    return limit(max(1, cores() // number))


def limit(number: int) -> dict[str, str]:
    """Return environment variables for a process that is to use some number of cores.

    TensorFlow then runs as many operations at once; without the limit, processes that share the
    cores would run one per core each and compete for caches. No result changes.
    """
    return {VARIABLE: str(number), "TF_NUM_INTEROP_THREADS": str(number)}
