"""Choose where jobs run, and how many at once."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

from sidebyside.core.cores import cores
from sidebyside.core.jobs import Arrays, Event, Executor, Job, inline
from sidebyside.data.memory import available_memory
from sidebyside.execution import ray_cluster
from sidebyside.execution.processes import processes

MEBIBYTE = 1 << 20


@contextlib.contextmanager
def executor(
    arrays: Arrays,
    machine: Mapping[str, str],
    at_once: int,
    on_machine: Callable[[Mapping[str, str]], None] = lambda _: None,
) -> Iterator[Executor]:
    """Yield an executor: the Ray cluster at RAY_ADDRESS, or processes, or for one job this process.

    Args:
        arrays: name → array, for all jobs.
        machine: as `machine_facts` returns it. Jobs run with its threads and, unless the user
            allows other machines of a cluster, nowhere else.
        at_once: maximum number of jobs at once.
        on_machine: called with the facts of each machine that runs jobs, once or more often.

    Raises:
        UserError: the cluster cannot be used.
    """
    if ray_cluster.is_chosen():
        with ray_cluster.cluster(arrays, machine, at_once) as run:
            yield ray_cluster.without_places(run, on_machine)
        return

    def here(run: Executor) -> Executor:
        def run_here(jobs: Iterable[Job]) -> Iterator[Event]:
            for event in run(jobs):
                on_machine(machine)
                yield event

        return run_here

    if at_once == 1:
        yield here(inline(arrays))
        return
    with processes(arrays, at_once=at_once) as run:
        yield here(run)


def jobs_at_once(threads: int) -> int:
    """Return how many jobs have a core of this machine for each of their threads, at least one.

    Raises:
        UserError: the environment variable CORES is not a positive whole number.
    """
    return max(1, cores() // threads)


def fitting(wanted: int, name: str, peak: int) -> tuple[int, str | None]:
    """Return how many jobs the memory suffices for, and a line if these are fewer than wanted.

    Args:
        wanted: jobs at once.
        name: a job, for the line.
        peak: memory that a job needs, in bytes; 0: unknown.
    """
    available = available_memory()
    if not peak or available is None or wanted * peak <= available:
        return wanted, None
    number = max(1, available // peak)
    return number, (
        f"{number} at once instead of {wanted}: a {name} needs up to {peak // MEBIBYTE:,} MiB of"
        f" memory, and {available // MEBIBYTE:,} MiB are available"
    )
