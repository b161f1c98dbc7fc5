"""A search as a stage runs it: remembers its finished trials, says how it goes, logs them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from sidebyside.config.hyperparameters import Hyperparameters, parse
from sidebyside.config.parameters import Search, SearchSpace, search_space, searched_names
from sidebyside.config.schemas import HISTORY
from sidebyside.core.errors import TrainingError, UserError
from sidebyside.core.files import read_json, write_json
from sidebyside.core.seeding import derive_seed
from sidebyside.data.splits import Split, split_digest
from sidebyside.data.statistics import class_counts
from sidebyside.models import architectures
from sidebyside.tracking import stages
from sidebyside.tracking.runs import Run
from sidebyside.training import loop, search
from sidebyside.training.history import Epoch, Progress
from sidebyside.training.search import Trial, Values
from sidebyside.workflow import provenance, state
from sidebyside.workflow.progress import duration, step_bar


@dataclass
class SearchWork:
    """A search: trains its trials, remembers what is done, and says how it goes."""

    model: str  # the architecture, a key of RECORDS
    space: dict[str, Any]  # hyperparameter → value or range, as it stands in params.yaml
    settings: Search
    seed: int
    threads: int
    train: Split
    val: Split
    place: stages.Place
    label: str  # begins every line that is printed

    # Set by `opened`: the folder that survives a kill, the run, and the search's record so far.
    folder: Path = field(init=False)
    run: Run = field(init=False)
    record: stages.Record = field(init=False)

    best: Mapping[str, float] = field(default_factory=dict)  # scores of the best trial so far
    trials: Sequence[Trial] = ()
    winner: Trial = field(init=False)  # set by `do`
    histories: dict[int, Sequence[Sequence[Epoch]]] = field(default_factory=dict)  # by trial
    seconds: list[float] = field(default_factory=list)  # of each trial, as long as it took

    @contextmanager
    def opened(self, root: Path, graph: Path, outputs: Sequence[Path]) -> Iterator[None]:
        """Open the search's run and its folder.

        Args:
            root: the checkout, whose MLflow store gets the run.
            graph: folder of the dvc.yaml that has the stage.
            outputs: the stage's, as for `state.resumable`.

        Raises:
            UserError: another process is at the same search.
        """
        inputs = {
            "model": self.model,
            "space": self.space,
            "search": self.settings.model_dump(mode="json"),
            "seed": self.seed,
            "threads": self.threads,
            "train": split_digest(self.train),
            "val": split_digest(self.val),
        }
        stage = self.place.stage.partition("@")[0]
        key = state.work_key(graph, stage, inputs)
        names = self.names
        self.record = {
            "key": key,
            "seed": self.seed,
            "settings": inputs["search"],
            "space": self.space,
            "fixed": self.fixed,
            "searched": names,
            "data_sha256": {"train": inputs["train"], "val": inputs["val"]},
            "classes": {"train": class_counts(self.train), "val": class_counts(self.val)},
            "machine": provenance.machine(self.threads),
        }
        with (
            state.resumable(graph, f"{stage}-{self.place.item}", key, outputs) as self.folder,
            stages.search_run(root, self.place, self.model, self.record) as self.run,
        ):
            parameters = stages.search_parameters(self.record)
            stages.log_inputs(self.run, parameters, self.record, self.record["classes"])
            yield

    @cached_property
    def checked_space(self) -> SearchSpace:
        """The space with its ranges as objects."""
        return search_space(self.model, self.space)

    @property
    def names(self) -> list[str]:
        """The hyperparameters that are searched."""
        return searched_names(self.checked_space)

    @property
    def fixed(self) -> Values:
        """Those that are not, with their values."""
        return {name: value for name, value in self.space.items() if name not in self.names}

    def do(self) -> Hyperparameters:
        """Run the search; `trials`, `winner` and `histories` hold what was found on the way.

        Raises:
            UserError: no trial gave a result.
        """
        outcome = search.search(
            self.checked_space,
            self.settings,
            derive_seed(self.seed, "search"),
            self._trial,
            self._report,
        )
        self.trials, self.winner = outcome.trials, outcome.winner
        return parse(self.model, outcome.best, f"tune.models.{self.model}")

    def trial_seed(self, execution: int = 0) -> int:
        """Return the seed of an execution of every trial.

        It is the same for all: a difference between trials is not one of luck.
        """
        return derive_seed(self.seed, "trial", execution)

    def checkpoint(self, trial: Trial, execution: int = 0) -> Path:
        """Return the file that has the end of a trial's training, as `training.train` saves it."""
        return _checkpoint(self._journal({**self.fixed, **trial.searched}, trial.epochs), execution)

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Return header and rows of all trials."""
        return search.trials_table(self.trials, self.names)

    def epochs(self) -> tuple[list[str], list[list[Any]]]:
        """Return header and rows of the histories of all trials."""
        rows = [
            [number, execution, *row.values()]
            for number, executions in sorted(self.histories.items())
            for execution, history in enumerate(executions, 1)
            for row in history
        ]
        return ["trial", "execution", *HISTORY], rows

    def ended(self) -> stages.Record:
        """Return the record of the search that has ended."""
        trials = [asdict(trial) for trial in self.trials]
        return self.record | {"best": self.best, "trials": trials}

    def log(self, chosen: Hyperparameters) -> None:
        """Log the search that has ended."""
        text = json.dumps(chosen.model_dump(mode="json"), indent=2)
        first = {number: executions[0] for number, executions in self.histories.items()}
        stages.log_search(self.run, self.place, self.model, self.ended(), first, self.table(), text)

    def _trial(self, number: int, values: Values, epochs: int) -> Mapping[str, float]:
        """Return the mean scores of a trial's executions; a trial done before is not repeated."""
        journal = self._journal(values, epochs)
        if not journal.exists():
            self._train(number, values, epochs, journal)
        remembered = read_json(journal)
        self.histories[number] = remembered["histories"]
        self.seconds.append(remembered["seconds"])
        return dict(remembered["scores"])

    def _journal(self, values: Values, epochs: int) -> Path:
        """Return the file that has what a trial gave."""
        return self.folder / f"{stages.trial_identity(values, epochs)}.json"

    def _train(self, number: int, values: Values, epochs: int, journal: Path) -> None:
        """Train a trial and write its scores and histories to the journal."""
        stopwatch = state.Stopwatch(journal.with_suffix(".seconds"))
        with stages.trial_run(
            self.run, self.place, self.model, self.record, number, values, epochs
        ) as child:
            executions = [
                self._execute(number, execution, values, epochs, journal, child, stopwatch)
                for execution in range(self.settings.executions_per_trial)
            ]
            scores = {
                name: fmean(one.best[name] for one in executions)
                for name in ("val_accuracy", "val_loss")
            }
            scores["epochs"] = fmean(one.epochs for one in executions)
            # With the epochs that an earlier, killed process trained but could not log.
            stages.log_trial(child, executions[0].history, scores)
        histories = [one.history for one in executions]
        write_json(
            journal,
            {"scores": scores, "histories": histories, "seconds": stopwatch.seconds},
        )

    def _execute(
        self,
        number: int,
        execution: int,
        values: Values,
        epochs: int,
        journal: Path,
        child: Run,
        stopwatch: state.Stopwatch,
    ) -> Progress:
        try:
            hyperparameters = parse(self.model, values, f"trial {number}")
        except UserError as error:  # each value is possible, but not with the others
            raise TrainingError(str(error)) from None
        seed = self.trial_seed(execution)

        def log(row: Epoch, seconds: float) -> None:
            stopwatch.save()
            if execution == 0:  # the curves of the first; the scores are the mean of all
                stages.log_epochs(child, [row])

        with step_bar(f"{self.label} trial {number}") as on_steps:
            return loop.train(
                architectures.build(self.model, hyperparameters, derive_seed(seed, "weights")),
                hyperparameters,
                self.train,
                self.val,
                seed=seed,
                epochs=epochs,
                patience=self.settings.patience,
                monitor=self.settings.objective,
                on_epoch=log,
                on_steps=on_steps,
                checkpoint=_checkpoint(journal, execution),
            )

    def _report(self, trial: Trial) -> None:
        """Print a line: this trial, the best so far, the time left."""
        total = search.most_trials(self.checked_space, self.settings)
        place = f"{self.label} trial {trial.number}" + (f"/{total}" if total else "")
        if trial.scores is None:
            print(f"{place}: failed: {trial.failure}", flush=True)
            return
        objective = self.settings.objective
        score = trial.scores[objective]
        sign = -1 if objective == "val_loss" else 1
        if not self.best or sign * score > sign * self.best[objective]:
            self.best = trial.scores
        line = f"{place}: {objective} {score:.4f}, best so far {self.best[objective]:.4f}"
        left = total - trial.number if total else 0
        if left:
            line += f", about {duration(left * fmean(self.seconds))} left"
        print(f"{line}; {json.dumps(trial.searched)}", flush=True)


def _checkpoint(journal: Path, execution: int) -> Path:
    """Return the file that an execution of a journal's trial resumes from and saves to."""
    return journal.with_name(f"{journal.stem}-{execution}.npz")
