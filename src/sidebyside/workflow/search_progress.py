"""Print the progress of a search."""

import json
from collections.abc import Callable, Sequence
from statistics import fmean

from sidebyside.training.search import SearchTask
from sidebyside.training.strategies import max_trials
from sidebyside.training.trial import Trial
from sidebyside.workflow.progress import duration


def trial_lines(task: SearchTask, label: str) -> Callable[[Trial, Sequence[float]], None]:
    """Return a callback for `run_search` that prints a line per trial.

    A line has the trial's score, the best so far, the time left and the searched values.

    Args:
        task: the search.
        label: the beginning of every line.
    """
    total = max_trials(task.checked_space, task.settings)
    objective = task.settings.objective
    choose = min if objective == "val_loss" else max
    scores: list[float] = []

    def show(trial: Trial, seconds: Sequence[float]) -> None:
        title = f"{label} trial {trial.number}" + (f"/{total}" if total else "")
        if trial.scores is None:
            print(f"{title}: failed: {trial.failure}", flush=True)
            return
        scores.append(trial.scores[objective])
        line = f"{title}: {objective} {scores[-1]:.4f}, best so far {choose(scores):.4f}"
        if left := total - trial.number if total else 0:
            line += f", about {duration(left * fmean(seconds))} left"
        print(f"{line}; {json.dumps(trial.searched)}", flush=True)

    return show
