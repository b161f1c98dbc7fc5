"""Follow the trials of a search: a child run and a progress bar for each."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from sidebyside.tracking import stages
from sidebyside.tracking.runs import Run
from sidebyside.training.trials import Follow, Follower
from sidebyside.workflow.progress import step_bar


def follow_trials(
    run: Run, place: stages.Place, model: str, record: stages.Record, label: str
) -> Follow:
    """Return the callback of `run_search` that logs each trial while it is trained.

    Args:
        run: run of the search.
        place: the search in MLflow and among DVC's stages.
        model: the architecture.
        record: the search's record, with the key and machine of its provenance.
        label: the beginning of the progress bar.
    """

    @contextmanager
    def follow(number: int, values: Mapping[str, Any], epochs: int) -> Iterator[Follower]:
        with (
            stages.trial_run(run, place, model, record, number, values, epochs) as child,
            step_bar(f"{label} trial {number}") as on_steps,
        ):
            yield Follower(
                on_steps,
                lambda row: stages.log_epochs(child, [row]),
                partial(stages.log_trial, child),
            )

    return follow
