"""Jobs and their events: what an executor takes and yields.

An executor is a function of jobs that yields their events, in any order between jobs. Jobs take
values and yield values, so they can run anywhere; the process that called the executor writes files
and logs. `inline` is an executor; the others are in the package `execution`.
"""

import pickle
import pkgutil
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from sidebyside.core.errors import UserError, first_line

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Job:
    """A call of a generator function: f(arguments, arrays, checkpoint).

    It yields (content, checkpoint): something to report, and a state from which another call
    continues, or None if there is no new one. Its return value is the result.
    """

    name: str  # unique in a run of an executor
    function: str  # package.module:function
    arguments: Any  # picklable
    checkpoint: bytes | None = None  # state to continue from


class News(NamedTuple):
    """A report of a running job. After a lost worker, reports since its last checkpoint repeat."""

    job: str
    content: Any
    checkpoint: bytes | None


class Done(NamedTuple):
    """The end of a job."""

    job: str
    result: Any


class Failed(NamedTuple):
    """The end of a job by an error."""

    job: str
    error: Exception


Event = News | Done | Failed
Executor = Callable[[Iterable[Job]], Iterator[Event]]


def perform(job: Job, arrays: Arrays) -> Iterator[Event]:
    """Run a job in this process and yield its events, of which all can be pickled.

    Args:
        job: the job.
        arrays: name → array; the same for all jobs of an executor.
    """
    try:
        work = pkgutil.resolve_name(job.function)(job.arguments, arrays, job.checkpoint)
        while True:
            content, checkpoint = next(work)
            yield News(job.name, content, checkpoint)
    except StopIteration as end:
        yield Done(job.name, end.value)
    except Exception as error:
        yield Failed(job.name, _picklable(error))


def inline(arrays: Arrays) -> Executor:
    """Return an executor that runs jobs in this process.

    Args:
        arrays: name → array, for all jobs.
    """

    def run(jobs: Iterable[Job]) -> Iterator[Event]:
        for job in jobs:
            yield from perform(job, arrays)

    return run


def _picklable(error: Exception) -> Exception:
    """Return the error, or another with its message; that of a bug has its traceback as a note."""
    if not isinstance(error, UserError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (of this line)
    except Exception:  # whatever the class of the error raises
        return RuntimeError(f"{type(error).__name__}: {first_line(error)}")
    return error
