"""Log the trials of a search while they are trained, with a progress bar for each."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from sidebyside.tracking.run import Run
from sidebyside.tracking.search import TrackedSearch, log_trial, open_trial
from sidebyside.training.search import Follow, Follower
from sidebyside.workflow.progress import step_bar


def follow_trials(run: Run, search: TrackedSearch) -> Follow:
    """Return the callback of `run_search` that logs each trial and shows its progress.

    Args:
        run: run of the search.
        search: the search.
    """

    @contextmanager
    def follow(number: int, values: Mapping[str, Any], epochs: int) -> Iterator[Follower]:
        with (
            open_trial(run, search, number, values, epochs) as child,
            step_bar(f"{search.origin.item} trial {number}") as on_steps,
        ):
            yield Follower(
                on_steps,
                lambda row: child.log_epochs([row]),
                partial(log_trial, child, search),
            )

    return follow
