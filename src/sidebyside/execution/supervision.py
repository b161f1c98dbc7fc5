"""Supervise jobs in workers that may die or hang: each job continues from its last checkpoint."""

import itertools
import sys
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from sidebyside.core.errors import UserError
from sidebyside.core.jobs import Event, Failed, Job, News

SILENCE = 600.0  # seconds without an event after which a worker counts as hung
LOSSES = 3  # workers that a job may lose in a row, without a checkpoint between them
INTERVAL = 1.0  # seconds between two looks at silent workers


class Lost(NamedTuple):
    """The end of a worker in the middle of a job."""

    reason: str  # such as: killed by SIGKILL


class Workers(Protocol):
    """Processes that run a job each; a handle stands for a running job."""

    def start(self, job: Job) -> Any:
        """Start a job and return its handle."""

    def began(self, handle: Any) -> bool:
        """Return whether a worker has begun with a job, so that its silence counts."""

    def wait(self, handles: Collection[Any], seconds: float) -> list[tuple[Any, Event | Lost]]:
        """Return new events, at most one of each handle; none if there are none for `seconds`."""

    def stop(self, handle: Any) -> None:
        """End the worker of a job."""


@dataclass
class _Attempt:
    """A job with its last checkpoint."""

    job: Job
    losses: int = 0  # in a row
    silent: float = 0.0  # seconds

    @property
    def alone(self) -> bool:
        """Whether other jobs wait: the memory may suffice for this one alone."""
        return self.losses == LOSSES - 1


@dataclass
class Supervisor:
    """Runs jobs in workers.

    Args:
        workers: run the jobs.
        at_once: maximum number of jobs that run at the same time.
        silence: seconds without an event after which a worker is replaced.
    """

    workers: Workers
    at_once: int
    silence: float = SILENCE
    _running: dict[Any, _Attempt] = field(default_factory=dict)
    _waiting: deque[_Attempt] = field(default_factory=deque)

    def run(self, jobs: Iterable[Job]) -> Iterator[Event]:
        """Yield the events of jobs.

        Args:
            jobs: taken one by one, each when it can start.
        """
        source = iter(jobs)
        try:
            while True:
                self._start(source)
                if not self._running:
                    return
                for handle, event in self._wait():
                    yield from self._handle(handle, event)
        finally:  # the caller may not want all events
            for handle in self._running:
                self.workers.stop(handle)
            self._running.clear()
            self._waiting.clear()

    def _start(self, source: Iterator[Job]) -> None:
        """Start as many jobs as may run."""
        while len(self._running) < self.at_once:
            if not self._waiting:
                self._waiting.extend(_Attempt(job) for job in itertools.islice(source, 1))
            if not self._waiting or not self._may_start(self._waiting[0]):
                return
            attempt = self._waiting.popleft()
            self._running[self.workers.start(attempt.job)] = attempt

    def _may_start(self, attempt: _Attempt) -> bool:
        if not self._running:
            return True
        return not any(one.alone for one in [attempt, *self._running.values()])

    def _wait(self) -> list[tuple[Any, Event | Lost]]:
        """Return new events; a worker that is silent for too long is ended, and lost."""
        started = time.monotonic()
        events = self.workers.wait(self._running, INTERVAL)
        # Not more than the interval: this process may have been stopped, its workers with it.
        elapsed = min(time.monotonic() - started, INTERVAL)
        for handle, attempt in self._running.items():
            attempt.silent += elapsed * self.workers.began(handle)
        for handle, _ in events:
            self._running[handle].silent = 0.0
        hung = [one for one, attempt in self._running.items() if attempt.silent >= self.silence]
        for handle in hung:
            self.workers.stop(handle)
        return [*events, *((handle, Lost(f"silent for {self.silence:g} s")) for handle in hung)]

    def _handle(self, handle: Any, event: Event | Lost) -> Iterator[Event]:
        """Yield the event; resume the job of a lost worker."""
        if isinstance(event, News):
            attempt = self._running[handle]
            if event.checkpoint is not None:
                attempt.job = replace(attempt.job, checkpoint=event.checkpoint)
                attempt.losses = 0
            yield event
            return
        attempt = self._running.pop(handle)
        if not isinstance(event, Lost):
            yield event
            return
        name, attempt.losses, attempt.silent = attempt.job.name, attempt.losses + 1, 0.0
        if attempt.losses < LOSSES:
            _say(f"{name}: worker {event.reason}: continues from its last checkpoint in another")
            self._waiting.append(attempt)
        else:
            yield Failed(
                name,
                UserError(
                    f"{name}: {LOSSES} workers in a row ended, the last one {event.reason}:"
                    " end other programs if memory is short, and run the same command again"
                ),
            )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
