"""Plan how many trials of a search run at once, and print its progress."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from sidebyside.execution import ray_cluster
from sidebyside.execution.choice import fitting, jobs_at_once
from sidebyside.training.search import SearchTask
from sidebyside.training.strategies import max_trials
from sidebyside.training.trial import Trial
from sidebyside.workflow.progress import duration
from sidebyside.workflow.stage_plan import peak_memory


def trials_at_once(folder: Path, task: SearchTask) -> int:
    """Return how many trainings of a search run at once; print a line if memory limits them.

    Args:
        folder: the folder of dvc.yaml, whose earlier runs tell how much memory a training needs.
        task: the search.

    Raises:
        UserError: the environment variable CORES is not a positive whole number.
    """
    if ray_cluster.is_chosen():  # which starts no more than it has room for
        return task.most_jobs
    wanted = min(task.most_jobs, jobs_at_once(task.threads))
    number, note = fitting(wanted, "training", peak_memory(folder))
    if note:
        print(note, flush=True)
    return number


def trial_lines(
    task: SearchTask, label: str, at_once: int
) -> Callable[[Trial, Sequence[float]], None]:
    """Return a callback for `run_search` that prints a line per trial.

    A line has the trial's score, the best so far, the time left and the searched values.

    Args:
        task: the search.
        label: the beginning of every line.
        at_once: maximum number of trainings at once.
    """
    total = max_trials(task.checked_space, task.settings)
    objective = task.settings.objective
    choose = min if objective == "val_loss" else max
    scores: list[float] = []
    ended: list[int] = []

    def show(trial: Trial, seconds: Sequence[float]) -> None:
        ended.append(trial.number)
        title = f"{label} trial {trial.number}" + (f"/{total}" if total else "")
        if trial.scores is None:
            print(f"{title}: failed: {trial.failure}", flush=True)
            return
        scores.append(trial.scores[objective])
        line = f"{title}: {objective} {scores[-1]:.4f}, best so far {choose(scores):.4f}"
        if left := total - len(ended) if total else 0:
            line += f", about {duration(left * fmean(seconds) / at_once)} left"
        print(f"{line}; {json.dumps(trial.searched)}", flush=True)

    return show
