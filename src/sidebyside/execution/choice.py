"""Choose where jobs run."""

import contextlib
import os
from collections.abc import Iterator

from sidebyside.core.errors import UserError
from sidebyside.core.jobs import Arrays, Executor, inline
from sidebyside.data.memory import available_memory
from sidebyside.execution.processes import processes

VARIABLE = "JOBS"  # maximum number of jobs at once


@contextlib.contextmanager
def executor(arrays: Arrays, threads: int) -> Iterator[Executor]:
    """Yield the executor for this machine: processes, or this process if one job runs at a time.

    Args:
        arrays: name → array, for all jobs.
        threads: threads of a job.

    Raises:
        UserError: the environment variable JOBS is not a positive whole number.
    """
    at_once = jobs_at_once(threads)
    if at_once == 1:
        yield inline(arrays)
        return
    with processes(arrays, at_once=at_once, memory=available_memory()) as run:
        yield run


def jobs_at_once(threads: int) -> int:
    """Return how many jobs run at once: JOBS, or as many as have a core for each thread.

    Raises:
        UserError: JOBS is not a positive whole number.
    """
    given = os.environ.get(VARIABLE, "")
    if not given:
        return max(1, len(os.sched_getaffinity(0)) // threads)
    if not given.isascii() or not given.isdecimal() or not int(given):
        raise UserError(f"{VARIABLE}={given!r} is not a whole number from 1: set it to 1, 2, …")
    return int(given)
