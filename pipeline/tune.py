"""Search for the hyperparameters of one architecture; it sees the train and val splits only.

Reads:  data/processed/{train,val}.npz
Writes: reports/tune/<model>/{hyperparameters.json,trials.csv}, data/trials/<model>.csv
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from fashion import command, data, provenance, stage, state
from fashion.files import read_json, together, write_csv, write_json
from fashion.hyperparameters import RECORDS, parse
from fashion.parameters import Parameters, read_parameters
from fashion.paths import Paths
from fashion.progress import duration, step_bar
from fashion.randomness import derive_seed, generator
from fashion.results import HISTORY
from fashion.runtime import configure

if TYPE_CHECKING:
    from fashion.tracking import Run
    from fashion.training import Epoch, Progress
    from fashion.tuning import Trial, Values


def main() -> None:
    """Run the stage."""
    parser = command.parser(__doc__)
    parser.add_argument("model", choices=RECORDS, help="the architecture")
    model = parser.parse_args().model
    paths = Paths(Path(__file__).resolve().parents[1])
    parameters = read_parameters(paths.params)
    settings, space = parameters.tune.search, parameters.tune.space(model)

    train = data.read_split(paths.split("train"))
    val = data.read_split(paths.split("val"))
    if settings.images:
        train = data.sample(train, settings.images, generator(parameters.seed, "search images"))
    inputs = {
        "model": model,
        "space": parameters.tune.models[model],
        "search": settings.model_dump(mode="json"),
        "seed": parameters.seed,
        "threads": parameters.threads,
        "train": data.digest(train),
        "val": data.digest(val),
    }
    key = state.work_key(paths.root, "tune", inputs)

    configure(parameters.threads)
    from fashion import training_log, tuning

    names = tuning.searched_names(space)
    made: training_log.Record = {
        "key": key,
        "seed": parameters.seed,
        "settings": settings.model_dump(mode="json"),
        "space": parameters.tune.models[model],
        "fixed": {
            name: value
            for name, value in parameters.tune.models[model].items()
            if name not in names
        },
        "searched": names,
        "data_sha256": {"train": inputs["train"], "val": inputs["val"]},
        "classes": {"train": data.class_counts(train), "val": data.class_counts(val)},
        "machine": provenance.machine(parameters.threads),
    }
    with (
        state.resumable(paths.root, f"tune-{model}", key, [paths.hyperparameters(model)]) as folder,
        training_log.search_run(paths.root, model, made) as run,
    ):
        training_log.log_inputs(run, training_log.search_parameters(made), made, made["classes"])
        trials = Trials(model, parameters, train, val, folder, run, made)
        outcome = tuning.search(
            space, settings, derive_seed(parameters.seed, "search"), trials.run, trials.report
        )

        chosen = parse(model, outcome.best, f"tune.models.{model}")
        report = paths.hyperparameters(model).parent
        header, rows = tuning.trials_table(outcome.trials, names)
        epochs = [
            [number, execution, *row.values()]
            for number, executions in sorted(trials.histories.items())
            for execution, history in enumerate(executions, 1)
            for row in history
        ]
        made |= {"best": trials.best, "trials": [asdict(trial) for trial in outcome.trials]}
        with together():
            write_csv(report / "trials.csv", header, rows)
            write_csv(paths.trial_histories(model), ["trial", "execution", *HISTORY], epochs)
            write_json(report / "search.json", made)
            write_json(paths.hyperparameters(model), chosen.model_dump(mode="json"))
        text = json.dumps(chosen.model_dump(mode="json"), indent=2)
        first = {number: executions[0] for number, executions in trials.histories.items()}
        training_log.log_search(run, model, made, first, (header, rows), text)
    print(f"chosen for {model}: {json.dumps({name: outcome.best[name] for name in names})}")


@dataclass
class Trials:
    """Trains the trials of a search, remembers what is done, and says how it goes."""

    model: str
    parameters: Parameters
    train: data.Split
    val: data.Split
    folder: Path  # of what survives a kill
    parent: "Run"
    made: dict[str, Any]  # what the search's record says before it has ended
    histories: dict[int, Sequence[Sequence["Epoch"]]] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)
    trained: list[float] = field(default_factory=list)  # seconds of each trial done here and now

    def run(self, number: int, values: "Values", epochs: int) -> Mapping[str, float]:
        """Return the mean scores of a trial's executions; a trial done before is not repeated."""
        from fashion.training_log import trial_identity

        journal = self.folder / f"{trial_identity(values, epochs)}.json"
        if not journal.exists():
            self._train(number, values, epochs, journal)
        remembered = read_json(journal)
        self.histories[number] = remembered["histories"]
        return dict(remembered["scores"])

    def _train(self, number: int, values: "Values", epochs: int, journal: Path) -> None:
        """Train a trial and write its scores and histories to the journal."""
        from fashion import training_log

        settings = self.parameters.tune.search
        started = time.perf_counter()
        with training_log.trial_run(
            self.parent, self.model, self.made, number, values, epochs
        ) as child:
            executions = [
                self._execute(number, execution, values, epochs, journal, child)
                for execution in range(settings.executions_per_trial)
            ]
            scores = {
                name: fmean(one.best[name] for one in executions)
                for name in ("val_accuracy", "val_loss")
            }
            scores["epochs"] = fmean(one.epochs for one in executions)
            # With the epochs that an earlier, killed process trained but could not log.
            training_log.log_trial(child, executions[0].history, scores)
        histories = [one.history for one in executions]
        write_json(journal, {"scores": scores, "histories": histories})
        self.trained.append(time.perf_counter() - started)

    def _execute(
        self,
        number: int,
        execution: int,
        values: "Values",
        epochs: int,
        journal: Path,
        child: "Run",
    ) -> "Progress":
        from fashion import models, training, training_log

        settings = self.parameters.tune.search
        hyperparameters = parse(self.model, values, f"trial {number}")
        # The same for every trial: a difference between trials is not one of luck.
        seed = derive_seed(self.parameters.seed, "trial", execution)

        def log(row: training.Epoch, seconds: float) -> None:
            if execution == 0:  # the curves of the first; the scores are the mean of all
                training_log.log_epochs(child, [row])

        with step_bar(f"{self.model} trial {number}") as on_steps:
            return training.train(
                models.build(self.model, hyperparameters, derive_seed(seed, "weights")),
                hyperparameters,
                self.train,
                self.val,
                seed=seed,
                epochs=epochs,
                patience=settings.patience,
                monitor=settings.objective,
                on_epoch=log,
                on_steps=on_steps,
                checkpoint=journal.with_name(f"{journal.stem}-{execution}.npz"),
            )

    def report(self, trial: "Trial") -> None:
        """Print a line: this trial, the best so far, the time left."""
        settings = self.parameters.tune.search
        total = settings.trials if trial.searched else 1
        known = settings.strategy != "hyperband"  # whose brackets decide how many there are
        place = f"{self.model} trial {trial.number}" + (f"/{total}" if known else "")
        if trial.scores is None:
            print(f"{place}: failed: {trial.failure}", flush=True)
            return
        objective = settings.objective
        score = trial.scores[objective]
        sign = -1 if objective == "val_loss" else 1
        if not self.best or sign * score > sign * self.best[objective]:
            self.best = trial.scores
        line = f"{place}: {objective} {score:.4f}, best so far {self.best[objective]:.4f}"
        left = total - trial.number
        if known and left > 0 and self.trained:
            line += f", about {duration(left * sum(self.trained) / len(self.trained))} left"
        print(f"{line}; {json.dumps(trial.searched)}", flush=True)


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
