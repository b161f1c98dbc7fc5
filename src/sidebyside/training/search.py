"""Run a search: train each trial, keep it across interruptions, and choose the best.

Progress and tracking follow a search by callbacks, on which its outcome does not depend.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, replace
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
from sidebyside.core.files import read_json, write_bytes, write_json
from sidebyside.core.jobs import Done, Event, Executor, Failed, Job
from sidebyside.core.seeding import derive_seed
from sidebyside.core.stopwatch import read_seconds
from sidebyside.data.splits import Split, split_digest
from sidebyside.data.statistics import class_counts
from sidebyside.training.checkpoint import damaged_checkpoint, read_checkpoint
from sidebyside.training.history import Epoch, Progress, Steps
from sidebyside.training.jobs import TrainingTask, training_job
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
    """Everything that determines the outcome of a search."""

    model: str  # the architecture, a key of RECORDS
    space: dict[str, Any]  # hyperparameter → value or range, as in params.yaml
    settings: Search
    seed: int
    dataset: Dataset
    train: Split
    val: Split
    threads: int  # intra-op, per training
    parts: int = 1  # of a batch, as for `loop.train`

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
    def most_jobs(self) -> int:
        """The trainings that can run at once."""
        return self.settings.parallel * self.settings.executions_per_trial

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
        """The task as JSON values, except the number of threads."""
        splits = {"train": self.train, "val": self.val}
        names = self.dataset.class_names
        return {
            "seed": self.seed,
            "settings": self.settings.record,
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
    execute: Executor,
) -> SearchResult:
    """Run a search; trials that `folder` holds from an interrupted run are not trained again.

    Args:
        task: the search.
        folder: keeps finished trials and checkpoints.
        follow: gives the follower of each trial that is trained.
        on_trial: called after each trial, with the seconds of all successful trials so far.
        execute: runs trainings; it has the arrays of `training_arrays`.

    Raises:
        UserError: no trial gave a result.
    """
    trials = _Trials(task, folder, follow, on_trial, execute)
    outcome = search(
        task.checked_space, task.settings, derive_seed(task.seed, "search"), trials.train
    )
    chosen = parse_hyperparameters(task.model, outcome.best, f"tune.models.{task.model}")
    seconds = [trials.seconds[number] for number in sorted(trials.seconds)]
    return SearchResult(chosen, outcome.winner, outcome.trials, trials.histories, seconds)


def trial_checkpoint(task: SearchTask, folder: Path, trial: Trial) -> Path:
    """Return the checkpoint at the end of a trial's first execution, as `loop.train` saves it."""
    return _checkpoint(_journal(task, folder, trial), 0)


def _journal(task: SearchTask, folder: Path, trial: Trial) -> Path:
    return folder / f"{trial_identity({**task.fixed, **trial.searched}, trial.epochs)}.json"


def _checkpoint(journal: Path, execution: int) -> Path:
    return journal.with_name(f"{journal.stem}-{execution}.npz")


class _Run:
    """The executions of one trial."""

    def __init__(self, task: SearchTask, trial: Trial, journal: Path, follow: Follow) -> None:
        self.task, self.trial, self.journal = task, trial, journal
        self.values = {**task.fixed, **trial.searched}
        self.stack = ExitStack()
        self.follower = self.stack.enter_context(follow(trial.number, self.values, trial.epochs))
        self.spent = journal.with_suffix(".seconds")
        self.seconds = read_seconds(self.spent)
        self.jobs: dict[str, int] = {}  # name of a job that was started → execution
        self.ended: dict[int, Progress] = {}  # execution → its result
        self.errors: dict[int, TrainingError] = {}

    def start(self) -> Iterator[Job]:
        """Yield the jobs; none after one has failed."""
        for execution in range(self.task.settings.executions_per_trial):
            if self.errors:
                return
            name = f"trial {self.trial.number}" + (f".{execution + 1}" if execution else "")
            self.jobs[name] = execution
            training = TrainingTask(
                name,
                self.task.model,
                self.values,
                self.task.dataset,
                seed=self.task.trial_seed(execution),
                epochs=self.trial.epochs,
                patience=self.task.settings.patience,
                monitor=self.task.settings.objective,
                keep="best",
                threads=self.task.threads,
                parts=self.task.parts,
            )
            yield training_job(training, read_checkpoint(_checkpoint(self.journal, execution)))

    def take(self, event: Event) -> None:
        """Keep what an event brings.

        Raises:
            UserError: a checkpoint is damaged, or the job was lost too often.
        """
        execution = self.jobs[event.job]
        checkpoint = _checkpoint(self.journal, execution)
        if isinstance(event, Done):
            self.ended[execution] = event.result.progress
        elif isinstance(event, Failed):
            if not isinstance(event.error, TrainingError):
                with damaged_checkpoint(checkpoint):
                    raise event.error
            self.errors[execution] = event.error
        elif isinstance(event.content, Steps):
            self.follower.on_steps(*event.content)
        else:
            row, seconds = event.content
            if event.checkpoint is not None:
                write_bytes(checkpoint, event.checkpoint)
            self.seconds += seconds
            write_json(self.spent, self.seconds)
            if execution == 0:  # the curves are those of the first; the scores are means over all
                self.follower.on_epoch(row)

    def is_complete(self) -> bool:
        """Return whether all executions have ended, or after an error all that were started."""
        ended = len(self.ended) + len(self.errors)
        expected = self.task.settings.executions_per_trial
        return ended == (len(self.jobs) if self.errors else expected)

    def finish(self) -> Trial:
        """Write the journal and return the trial with its scores, or with the reason of failure."""
        if self.errors:
            error = self.errors[min(self.errors)]
            with contextlib.suppress(TrainingError), self.stack:
                raise error
            return replace(self.trial, failure=str(error))
        executions = [self.ended[execution] for execution in sorted(self.ended)]
        scores = {
            name: fmean(one.best[name] for one in executions)
            for name in ("val_accuracy", "val_loss")
        }
        scores["epochs"] = fmean(one.epochs for one in executions)
        histories = [one.history for one in executions]
        with self.stack:
            self.follower.on_end(histories[0], scores)
            journal = {"scores": scores, "histories": histories, "seconds": self.seconds}
            write_json(self.journal, journal)
        return replace(self.trial, scores=scores)


class _Trials:
    """Trains trials; those that the folder holds from an interrupted run are not trained again."""

    def __init__(
        self,
        task: SearchTask,
        folder: Path,
        follow: Follow,
        on_trial: Callable[[Trial, Sequence[float]], None],
        execute: Executor,
    ) -> None:
        self._task, self._folder, self._follow = task, folder, follow
        self._on_trial, self._execute = on_trial, execute
        self.histories: dict[int, Sequence[Sequence[Epoch]]] = {}
        self.seconds: dict[int, float] = {}

    def train(self, proposed: Sequence[Trial]) -> Sequence[Trial]:
        """Return the trials with their scores."""
        ended: dict[int, Trial] = {}
        runs: dict[str, _Run] = {}

        def end(trial: Trial) -> None:
            ended[trial.number] = self._remember(trial)

        with ExitStack() as stack:

            def jobs() -> Iterator[Job]:
                for trial in proposed:
                    journal = _journal(self._task, self._folder, trial)
                    if journal.exists():
                        end(replace(trial, scores=read_json(journal)["scores"]))
                        continue
                    run = _Run(self._task, trial, journal, self._follow)
                    stack.push(run.stack)
                    for job in run.start():
                        runs[job.name] = run
                        yield job

            for event in self._execute(jobs()):
                run = runs[event.job]
                run.take(event)
                if run.is_complete():
                    end(run.finish())
        return [ended[trial.number] for trial in proposed]

    def _remember(self, trial: Trial) -> Trial:
        """Report a trial that has ended."""
        if trial.scores is not None:
            remembered = read_json(_journal(self._task, self._folder, trial))
            self.histories[trial.number] = remembered["histories"]
            self.seconds[trial.number] = remembered["seconds"]
        self._on_trial(trial, [*self.seconds.values()])
        return trial
