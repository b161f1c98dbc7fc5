"""Plan the order in which tasks that depend on each other run, several at once."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

Predecessors = Mapping[str, Collection[str]]


class Span(NamedTuple):
    """When a task is expected to run, in seconds from now."""

    start: float
    end: float


def longest_first(predecessors: Predecessors, seconds: Mapping[str, float]) -> list[str]:
    """Return tasks in the order in which to start those that could start at the same time.

    The first one begins the longest chain of tasks that depend on each other, a near-optimal order
    for few workers (Graham 1969).

    Args:
        predecessors: task → tasks that must end before it starts; predecessors come first.
        seconds: task → expected duration.
    """
    chain = dict.fromkeys(predecessors, 0.0)  # task → seconds from its start to the end of all
    for task in reversed([*predecessors]):
        chain[task] += seconds[task]
        for before in predecessors[task]:
            if before in chain:
                chain[before] = max(chain[before], chain[task])
    return sorted(predecessors, key=lambda task: chain[task], reverse=True)


def simulate(
    tasks: Collection[str],
    predecessors: Predecessors,
    seconds: Mapping[str, float],
    running: Collection[str] = (),
    *,
    at_once: int,
) -> dict[str, Span]:
    """Return when each task would run, if each starts as soon as it may.

    Args:
        tasks: tasks to run, in the order in which to start those that could start at the same time.
        predecessors: task → tasks that must end before it starts; others than `tasks` have ended.
        seconds: task → duration from now.
        running: those of `tasks` that have started.
        at_once: maximum number of tasks that run at the same time.
    """
    spans = {task: Span(0.0, seconds[task]) for task in running}
    waiting, now = [task for task in tasks if task not in spans], 0.0
    while waiting:
        busy = [span for span in spans.values() if span.end > now]
        unfinished = {*waiting, *(task for task, span in spans.items() if span.end > now)}
        ready = [task for task in waiting if not unfinished.intersection(predecessors[task])]
        started = ready[: max(0, at_once - len(busy))]
        spans |= {task: Span(now, now + seconds[task]) for task in started}
        waiting = [task for task in waiting if task not in started]
        if not started:
            now = min(span.end for span in busy)
    return spans
