"""Run jobs on a Ray cluster, whose address is in RAY_ADDRESS, as for Ray itself.

Ray ships the library and the arrays, once per node. Its tasks are not retried by Ray: a lost job
continues from its last checkpoint, which only this process has.
"""

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from sidebyside.core.errors import UserError, first_line
from sidebyside.core.jobs import Arrays, Event, Executor, Failed, Job, perform
from sidebyside.execution.supervision import SILENCE, Lost, Supervisor

ADDRESS = "RAY_ADDRESS"
LIBRARY = Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def ray_cluster(
    arrays: Arrays, threads: int, *, at_once: int | None = None, silence: float = SILENCE
) -> Iterator[Executor]:
    """Yield an executor whose jobs run on the cluster; they end with the block.

    Args:
        arrays: name → array, for all jobs; read-only in the jobs.
        threads: cores that Ray reserves for a job.
        at_once: maximum number of jobs at the same time; None for as many as the cluster has cores.
        silence: seconds without an event after which a job is moved to another worker.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError:
        raise UserError(
            f"{ADDRESS} is set, but Ray is not installed: run `make ray`, or `unset {ADDRESS}`"
        ) from None
    try:
        ray.init(
            address=os.environ[ADDRESS],
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"py_modules": [str(LIBRARY)]},
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{ADDRESS}={os.environ[ADDRESS]}: no Ray cluster answers ({first_line(error)}): start"
            f" one, or `unset {ADDRESS}`"
        ) from None
    try:
        cores = int(ray.cluster_resources().get("CPU", 1))
        tasks = _Tasks(ray, arrays, threads)
        yield Supervisor(tasks, at_once or max(1, cores // threads), silence).run
    finally:
        ray.shutdown()


class _Task:
    """A handle."""

    def __init__(self, job: Job, events: Any) -> None:
        self.job, self.events = job, events


class _Tasks:
    """The workers of an executor: one task per job, in processes that Ray keeps and starts."""

    def __init__(self, ray: Any, arrays: Arrays, threads: int) -> None:
        self._ray = ray
        self._references = {name: ray.put(array) for name, array in arrays.items()}
        self._remote = ray.remote(
            num_cpus=threads, max_retries=0, num_returns="streaming", runtime_env=None
        )(perform_remotely)

    def start(self, job: Job) -> _Task:
        remote = self._remote.options(name=job.name, memory=job.memory or None)
        return _Task(job, remote.remote(job, self._references))

    def wait(self, handles: Collection[_Task], seconds: float) -> list[tuple[_Task, Event | Lost]]:
        ready, _ = self._ray.wait([task.events for task in handles], timeout=seconds)
        return [(task, self._next(task)) for task in [*handles] if task.events in ready]

    def stop(self, handle: _Task) -> None:
        self._ray.cancel(handle.events, force=True)

    def _next(self, task: _Task) -> Event | Lost:
        try:
            event: Event = self._ray.get(next(task.events))
        except self._ray.exceptions.RayTaskError as error:  # such as an import that fails
            return Failed(task.job.name, error)
        except self._ray.exceptions.RayError as error:  # WorkerCrashedError, NodeDiedError, …
            return Lost(f"lost ({type(error).__name__})")
        return event


def perform_remotely(job: Job, references: dict[str, Any]) -> Iterator[Event]:
    """Run a job in a worker of the cluster and yield its events."""
    import ray

    yield from perform(job, {name: ray.get(array) for name, array in references.items()})
