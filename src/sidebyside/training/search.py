"""Run a search: train each trial, keep it across interruptions, and choose the best.

Progress and tracking follow a search by callbacks, on which its outcome does not depend.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from sidebyside.config.dataset import Dataset
from sidebyside.config.hyperparameters import Hyperparameters, parse_hyperparameters
from sidebyside.config.parameters import Search
from sidebyside.config.result_files import HISTORY_COLUMNS
from sidebyside.config.search_space import SearchSpace, parse_search_space, searched_hyperparameters
from sidebyside.core.errors import TrainingError, UserError
from sidebyside.core.files import read_json, write_json
from sidebyside.core.seeding import derive_seed
from sidebyside.core.stopwatch import Stopwatch
from sidebyside.data.splits import Split, split_digest
from sidebyside.data.statistics import class_counts
from sidebyside.models import architectures
from sidebyside.training import loop
from sidebyside.training.history import Epoch, Progress
from sidebyside.training.strategies import search
from sidebyside.training.trial import Trial, Values, trial_identity

Record = dict[str, Any]  # JSON values


class Follower(NamedTuple):
    """Callbacks that follow the training of one trial."""

    on_steps: Callable[[int, int], None]  # steps done in an epoch, and their total
    on_epoch: Callable[[Epoch], None]  # each epoch of the first execution that is computed
    on_end: Callable[[Sequence[Epoch], Mapping[str, float]], None]  # first history, mean scores


# (number, all hyperparameters, maximum epochs) → the follower of a trial that is being trained
Follow = Callable[[int, Values, int], AbstractContextManager[Follower]]


@dataclass(frozen=True, eq=False)
class SearchTask:
    """Everything that determines the outcome of a search, except the number of threads."""

    model: str  # the architecture, a key of RECORDS
    space: dict[str, Any]  # hyperparameter → value or range, as in params.yaml
    settings: Search
    seed: int
    dataset: Dataset
    train: Split
    val: Split

    @cached_property
    def checked_space(self) -> SearchSpace:
        """The space with its ranges as objects.

        Raises:
            UserError: a value is impossible for the images of the data set.
        """
        try:
            return parse_search_space(self.model, self.space, self.dataset)
        except ValueError as error:
            raise UserError(f"params.yaml: {error}") from None

    @property
    def names(self) -> list[str]:
        """The hyperparameters that are searched."""
        return searched_hyperparameters(self.checked_space)

    @property
    def fixed(self) -> Values:
        """The hyperparameters that are not searched, with their values."""
        return {name: value for name, value in self.space.items() if name not in self.names}

    @cached_property
    def record(self) -> Record:
        """The task as JSON values."""
        splits = {"train": self.train, "val": self.val}
        names = self.dataset.class_names
        return {
            "seed": self.seed,
            "settings": self.settings.model_dump(mode="json"),
            "space": self.space,
            "fixed": self.fixed,
            "searched": self.names,
            "data_sha256": {name: split_digest(split) for name, split in splits.items()},
            "classes": {name: class_counts(split, names) for name, split in splits.items()},
        }

    def trial_seed(self, execution: int = 0) -> int:
        """Return the seed of an execution, the same for every trial.

        With a common seed, differences between trials are not due to the seed.
        """
        return derive_seed(self.seed, "trial", execution)


@dataclass(frozen=True)
class SearchResult:
    """The outcome of a search."""

    chosen: Hyperparameters
    winner: Trial
    trials: Sequence[Trial]
    histories: Mapping[int, Sequence[Sequence[Epoch]]]  # trial → a history per execution
    seconds: Sequence[float]  # of each trial that succeeded

    def record(self, task: SearchTask) -> Record:
        """Return the task with its best scores and all trials, as JSON values."""
        objective = task.settings.objective
        scored = [trial.scores for trial in self.trials if trial.scores is not None]
        best = (min if objective == "val_loss" else max)(scored, key=lambda one: one[objective])
        return {**task.record, "best": best, "trials": [asdict(trial) for trial in self.trials]}

    def epochs_table(self) -> tuple[list[str], list[list[Any]]]:
        """Return header and rows of the histories of all trials."""
        rows = [
            [number, execution, *row.values()]
            for number, executions in sorted(self.histories.items())
            for execution, history in enumerate(executions, 1)
            for row in history
        ]
        return ["trial", "execution", *HISTORY_COLUMNS], rows


def run_search(
    task: SearchTask,
    folder: Path,
    follow: Follow,
    on_trial: Callable[[Trial, Sequence[float]], None],
) -> SearchResult:
    """Run a search; trials that `folder` holds from an interrupted run are not trained again.

    Args:
        task: the search.
        folder: keeps finished trials and checkpoints.
        follow: gives the follower of each trial that is trained.
        on_trial: called after each trial, with the seconds of all successful trials so far.

    Raises:
        UserError: no trial gave a result.
    """
    histories: dict[int, Sequence[Sequence[Epoch]]] = {}
    seconds: list[float] = []

    def run_trial(number: int, values: Values, epochs: int) -> Mapping[str, float]:
        journal = folder / f"{trial_identity(values, epochs)}.json"
        if not journal.exists():
            with follow(number, values, epochs) as follower:
                write_json(journal, _train(task, number, values, epochs, journal, follower))
        remembered = read_json(journal)
        histories[number] = remembered["histories"]
        seconds.append(remembered["seconds"])
        return dict(remembered["scores"])

    outcome = search(
        task.checked_space,
        task.settings,
        derive_seed(task.seed, "search"),
        run_trial,
        lambda trial: on_trial(trial, seconds),
    )
    chosen = parse_hyperparameters(task.model, outcome.best, f"tune.models.{task.model}")
    return SearchResult(chosen, outcome.winner, outcome.trials, histories, seconds)


def trial_checkpoint(task: SearchTask, folder: Path, trial: Trial) -> Path:
    """Return the checkpoint at the end of a trial's first execution, as `loop.train` saves it."""
    return _checkpoint(
        folder / f"{trial_identity({**task.fixed, **trial.searched}, trial.epochs)}.json", 0
    )


def _train(
    task: SearchTask, number: int, values: Values, epochs: int, journal: Path, follower: Follower
) -> Record:
    """Return mean scores, histories and seconds of a trial's executions."""
    stopwatch = Stopwatch(journal.with_suffix(".seconds"))
    executions = [
        _execute(task, number, execution, values, epochs, journal, follower, stopwatch)
        for execution in range(task.settings.executions_per_trial)
    ]
    scores = {
        name: fmean(one.best[name] for one in executions) for name in ("val_accuracy", "val_loss")
    }
    scores["epochs"] = fmean(one.epochs for one in executions)
    follower.on_end(executions[0].history, scores)
    histories = [one.history for one in executions]
    return {"scores": scores, "histories": histories, "seconds": stopwatch.seconds}


def _execute(
    task: SearchTask,
    number: int,
    execution: int,
    values: Values,
    epochs: int,
    journal: Path,
    follower: Follower,
    stopwatch: Stopwatch,
) -> Progress:
    try:
        hyperparameters = parse_hyperparameters(task.model, values, f"trial {number}")
    except UserError as error:  # each value is possible, but not together with the others
        raise TrainingError(str(error)) from None
    seed = task.trial_seed(execution)

    def on_epoch(row: Epoch, seconds: float) -> None:
        stopwatch.save()
        if execution == 0:  # the curves are those of the first; the scores are means over all
            follower.on_epoch(row)

    return loop.train(
        architectures.build(
            task.model, hyperparameters, task.dataset, derive_seed(seed, "weights")
        ),
        hyperparameters,
        task.train,
        task.val,
        seed=seed,
        epochs=epochs,
        patience=task.settings.patience,
        monitor=task.settings.objective,
        on_epoch=on_epoch,
        on_steps=follower.on_steps,
        checkpoint=_checkpoint(journal, execution),
    )


def _checkpoint(journal: Path, execution: int) -> Path:
    return journal.with_name(f"{journal.stem}-{execution}.npz")
