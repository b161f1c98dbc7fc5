"""Simulate searches and trainings on up to hundreds of workers, from recorded durations.

The project's own supervisor runs jobs on workers that only pass a simulated time. How long an epoch
takes and how many there are is drawn from the recorded trials and trainings. A driver handles one
event after the other: each costs what `benchmarks.execution` measured on Ray, and a checkpoint its
way through a network of 1 or 10 Gbit/s. A search has one driver. Of trainings, each is a stage with
a driver of its own, and they share the network. The supervisor's own processor time is measured,
not simulated.

Reads:  reports/benchmarks/execution.json, reports/provenance.json, reports/tune/, reports/train/
Writes: reports/benchmarks/scaling.json
"""

import heapq
import itertools
import json
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.workloads import MODELS, ROOT
from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import Paths
from sidebyside.core.files import read_json, write_json
from sidebyside.core.jobs import Done, Event, Job, News
from sidebyside.execution.supervision import Lost, Supervisor
from sidebyside.workflow import command

WORKERS = (1, 8, 64, 512)
TRIALS = 10_000
TRAININGS = 2_000
NETWORKS = (1, 10)  # Gbit/s
SEED = 1
TRAINING = "trainings"  # a workload


class Work(NamedTuple):
    """One trial or training."""

    epochs: int
    seconds: float  # of an epoch


class Driver(NamedTuple):
    """What an event costs the driver, in seconds."""

    job: float  # to start a job and receive its end
    epoch: float  # to receive an epoch and keep its checkpoint


@dataclass
class Simulated:
    """Workers whose time is simulated; a handle is the number of a running job."""

    driver: Driver
    now: float = 0.0  # when the driver has handled the last event
    busy: float = 0.0  # seconds that the driver worked
    worked: float = 0.0  # seconds that all workers worked
    events: int = 0
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _queue: list[tuple[float, int, Job, int]] = field(default_factory=list)  # time, …, epochs left

    def start(self, job: Job) -> int:
        """Start a job as soon as the driver is free."""
        self._spend(self.driver.job)
        number = next(self._numbers)
        work: Work = job.arguments
        heapq.heappush(self._queue, (self.now + work.seconds, number, job, work.epochs))
        self.worked += work.epochs * work.seconds
        return number

    def began(self, handle: int) -> bool:
        """Return that no job waits for a worker."""
        return handle >= 0

    def wait(self, handles: Collection[int], seconds: float) -> list[tuple[int, Event | Lost]]:
        """Return the next event and let the time pass until then."""
        at, number, job, left = heapq.heappop(self._queue)
        self.now = max(self.now, at)
        self.events += 1
        if not left:
            return [(number, Done(job.name, None))]
        self._spend(self.driver.epoch)
        # The last epoch ends the job; its worker does not wait for the driver.
        due = at + job.arguments.seconds if left > 1 else at
        heapq.heappush(self._queue, (due, number, job, left - 1))
        return [(number, News(job.name, None, b""))]

    def stop(self, handle: int) -> None:
        """Do nothing: no job is left at the end."""

    def _spend(self, seconds: float) -> None:
        self.now += seconds
        self.busy += seconds


def main() -> None:
    """Simulate, print and write the results."""
    command.parser(__doc__).parse_args()
    paths = Paths(ROOT)
    measured = read_json(paths.report("benchmarks") / "execution.json")
    cost, size = measured["overheads"]["Ray"], measured["checkpoint_bytes"]
    workloads = {
        **{f"{model} trials": drawn(recorded_trials(paths, model), TRIALS) for model in MODELS},
        TRAINING: drawn(recorded_trainings(paths), TRAININGS),
    }
    epoch = cost["epoch"] + cost["checkpoint"]

    def driver(workload: str, gbit: int) -> Driver:
        network = size * 8e-9 / gbit
        if workload == TRAINING:  # the drivers work side by side, and share the network alone
            return Driver(0.0, network)
        return Driver(cost["job"], epoch + network)

    rows = [
        {
            "workload": name,
            "network_gbit": gbit,
            **simulate(works, workers, driver(name, gbit), in_waves=name != TRAINING),
        }
        for name, works in workloads.items()
        for gbit in NETWORKS
        for workers in WORKERS
    ]
    for row in rows:
        print(json.dumps(row))
    result = {"checkpoint_bytes": size, "rows": rows}
    write_json(paths.report("benchmarks") / "scaling.json", result)


def drawn(works: Sequence[Work], number: int) -> list[Work]:
    """Draw works with replacement."""
    return [works[index] for index in np.random.default_rng(SEED).integers(len(works), size=number)]


def recorded_trials(paths: Paths, model: str) -> list[Work]:
    """Return the trials of the recorded search for a model, each with the mean seconds of all."""
    parallel = read_parameters(paths.params).tune.search.parallel
    epochs = pd.read_csv(paths.report("tune") / model / "trials.csv")["epochs"].astype(int)
    seconds = _seconds(paths)[f"tune@{model}"] * parallel / epochs.sum()
    return [Work(number, seconds) for number in epochs]


def recorded_trainings(paths: Paths) -> list[Work]:
    """Return the recorded trainings of the four models."""
    seconds = {name: value for name, value in _seconds(paths).items() if name.startswith("train@")}
    folder = paths.report("train")
    epochs = {name: len(pd.read_csv(folder / name[6:] / "history.csv")) for name in seconds}
    return [Work(epochs[name], seconds[name] / epochs[name]) for name in seconds]


def _seconds(paths: Paths) -> Mapping[str, float]:
    """Return the recorded seconds of each stage that has them."""
    entries = read_json(paths.report("provenance.json"))
    return {name: entry["seconds"] for name, entry in entries.items() if entry.get("seconds")}


def simulate(
    works: Sequence[Work], workers: int, driver: Driver, *, in_waves: bool
) -> dict[str, Any]:
    """Return how works would run on workers.

    Args:
        works: in their order.
        workers: number of workers, each of which runs one at a time.
        driver: the cost of its events.
        in_waves: whether as many as there are workers end before the next ones start, as in a
            search whose `parallel` is the number of workers.
    """
    simulated = Simulated(driver)
    jobs = [Job(f"{number}", "", work) for number, work in enumerate(works)]
    width = workers if in_waves else len(jobs)
    started = time.process_time()
    for first in range(0, len(jobs), width):
        for _ in Supervisor(simulated, workers).run(jobs[first : first + width]):
            pass
    supervisor = time.process_time() - started
    return {
        "jobs": len(jobs),
        "workers": workers,
        "seconds": simulated.now,
        "efficiency": simulated.worked / simulated.now / workers,
        "driver": simulated.busy / simulated.now,
        "supervisor_seconds_per_event": supervisor / simulated.events,
        "events_per_second": simulated.events / simulated.now,
    }


if __name__ == "__main__":
    command.run(main)
