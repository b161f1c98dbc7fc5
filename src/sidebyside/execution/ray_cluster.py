"""Run jobs on a Ray cluster, whose address is in RAY_ADDRESS, as for Ray itself.

Ray ships the library and the arrays, once per node. Its tasks are not retried by Ray: a lost job
continues from its last checkpoint, which only this process has.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from sidebyside.core.cores import limit
from sidebyside.core.errors import UserError, first_line
from sidebyside.core.fingerprint import machine_facts
from sidebyside.core.jobs import Arrays, Event, Executor, Failed, Job, News, perform
from sidebyside.execution.detached import detached
from sidebyside.execution.supervision import Lost, Supervisor

ADDRESS = "RAY_ADDRESS"
ANYWHERE = "ANY_MACHINE"
CONNECTING = 10  # seconds
LIBRARY = Path(__file__).resolve().parents[1]


def is_chosen() -> bool:
    """Return whether jobs run on a Ray cluster."""
    return bool(os.environ.get(ADDRESS))


def other_machines_allowed() -> bool:
    """Return whether jobs may run on nodes with another fingerprint.

    Raises:
        UserError: the environment variable ANY_MACHINE has another value than 1.
    """
    given = os.environ.get(ANYWHERE, "")
    if given not in ("", "1"):
        raise UserError(f"{ANYWHERE}={given!r} is not 1: set it to 1, or `unset {ANYWHERE}`")
    return bool(given)


class Place(NamedTuple):
    """The content of the first report of a job."""

    machine: Mapping[str, str]  # as `machine_facts` returns it


def without_places(run: Executor, on_machine: Callable[[Mapping[str, str]], None]) -> Executor:
    """Return an executor without the reports of places.

    Args:
        run: the executor of `cluster`.
        on_machine: called with each place.
    """

    def run_without(jobs: Iterable[Job]) -> Iterator[Event]:
        for event in run(jobs):
            if isinstance(event, News) and isinstance(event.content, Place):
                on_machine(event.content.machine)
            else:
                yield event

    return run_without


def cluster(
    arrays: Arrays, machine: Mapping[str, str], at_once: int
) -> AbstractContextManager[Executor]:
    """Return an executor whose jobs run on the cluster; they end with its block.

    Ray ends the process that it is used in if it loses the cluster, so it has one of its own.

    Args:
        arrays: name → array, for all jobs; read-only in the jobs.
        machine: as `machine_facts` returns it; a job on a node with another fingerprint fails,
            unless the user allows it.
        at_once: maximum number of jobs that are submitted at the same time.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address, or it is none, or
            it is lost, or ANY_MACHINE has another value than 1.
    """
    address = os.environ[ADDRESS]
    return detached(
        f"{__name__}:{connected.__name__}",
        {
            "arrays": arrays,
            "machine": machine,
            "at_once": at_once,
            "address": address,
            "anywhere": other_machines_allowed(),
        },
        refusal=f"{ADDRESS}={address}: this machine is not a node of the cluster:"
        f" `ray start --address={address} --num-cpus=0` makes it one that runs no jobs",
        loss=f"the connection to the Ray cluster at {address} is lost: start the cluster again if"
        " it has ended, and run the same command again to resume",
    )


@contextlib.contextmanager
def connected(
    arrays: Arrays, machine: Mapping[str, str], at_once: int, address: str, *, anywhere: bool
) -> Iterator[Executor]:
    """Yield the executor of `cluster` in the process that uses Ray."""
    try:
        import ray
    except ImportError:
        raise UserError(
            f"{ADDRESS} is set, but Ray is not installed: run `make ray`, or `unset {ADDRESS}`"
        ) from None
    try:
        _reach(address)
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={
                "py_modules": [str(LIBRARY)],
                "env_vars": limit(int(machine["threads"])),
            },
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{ADDRESS}={address}: no Ray cluster answers ({first_line(error)}): start one, or"
            f" `unset {ADDRESS}`"
        ) from None
    try:
        yield Supervisor(_Tasks(ray, arrays, machine, anywhere=anywhere), at_once).run
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Check that something listens at the address, for which Ray itself would wait for minutes.

    Raises:
        UserError: it is not an address of a head node.
        OSError: nothing listens there.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise UserError(f"{ADDRESS}={address} is not `auto` or <host>:<port> of the head node")
    with socket.create_connection((host, int(port)), CONNECTING):
        pass


class _Task:
    """A handle."""

    def __init__(self, job: Job, events: Any) -> None:
        self.job, self.events, self.began = job, events, False


class _Tasks:
    """The workers of an executor: one task per job, in processes that Ray keeps and starts."""

    def __init__(
        self, ray: Any, arrays: Arrays, machine: Mapping[str, str], *, anywhere: bool
    ) -> None:
        self._ray, self._machine, self._anywhere = ray, machine, anywhere
        self._references = {name: ray.put(array) for name, array in arrays.items()}
        gpus = gpus_per_job(machine, ray.cluster_resources(), anywhere=anywhere)
        self._remote = ray.remote(
            num_cpus=int(machine["threads"]),
            num_gpus=gpus,
            max_retries=0,
            num_returns="streaming",
            # A job that asks for no GPU would see all of its node.
            runtime_env={} if gpus else {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}},
        )(perform_remotely)

    def start(self, job: Job) -> _Task:
        remote = self._remote.options(name=job.name)
        return _Task(job, remote.remote(job, self._references, self._machine, self._anywhere))

    def began(self, handle: _Task) -> bool:
        return handle.began

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
        task.began = True
        return event


def gpus_per_job(
    machine: Mapping[str, str], resources: Mapping[str, float], *, anywhere: bool
) -> int:
    """Return how many GPUs a job uses: one if the results are those of a GPU.

    Args:
        machine: that of the driver, as `machine_facts` returns it.
        resources: those of the cluster, by Ray's names.
        anywhere: whether jobs may run on other machines than the driver's.
    """
    return int("gpu" in machine or (anywhere and resources.get("GPU", 0) > 0))


def perform_remotely(
    job: Job, references: Mapping[str, Any], machine: Mapping[str, str], anywhere: bool
) -> Iterator[Event]:
    """Run a job in a worker of the cluster; yield its place at its start, then its events."""
    import ray

    here = machine_facts(int(machine["threads"]))
    yield News(job.name, Place(here), None)
    if not anywhere and (different := [name for name in here if here[name] != machine.get(name)]):
        facts = ", ".join(
            f"{name} {here[name]} instead of {machine.get(name)}"
            for name in different
            if name != "fingerprint"
        )
        node = ray.util.get_node_ip_address()
        yield Failed(
            job.name,
            UserError(
                f"{job.name}: node {node} may give other bytes ({facts}): use nodes like this"
                f" machine, or allow others with `export {ANYWHERE}=1`"
            ),
        )
        return
    yield from perform(job, {name: ray.get(array) for name, array in references.items()})
