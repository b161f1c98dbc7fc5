"""Search for the hyperparameters of one architecture; it sees the train and val splits only.

Reads:  data/processed/{train,val}.npz
Writes: reports/tune/<model>/{hyperparameters.json,trials.csv}, data/trials/<model>.csv
"""

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from fashion import command, data, stage, state
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
    from fashion import store, tracking, tuning

    names = tuning.searched_names(space)
    tags = {
        "model": model,
        "seed": parameters.seed,
        "threads": parameters.threads,
        **{f"data.{split}": inputs[split] for split in ("train", "val")},
    }
    with (
        state.resumable(paths.root, f"tune-{model}", key, [paths.hyperparameters(model)]) as folder,
        tracking.open_run(
            paths.root,
            store.SEARCH,
            f"search-{model}",
            key,
            tags=tags,
            description=f"{settings.strategy} search over {', '.join(names) or 'nothing'}; "
            f"a child run per trial",
        ) as run,
    ):
        run.log_parameters(
            settings.model_dump(mode="json") | {"space": parameters.tune.models[model]}
        )
        run.log_dataset("train", inputs["train"], "training", data.class_counts(train))
        run.log_dataset("val", inputs["val"], "validation", data.class_counts(val))
        trials = Trials(model, parameters, train, val, folder, run, tags)
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
        with together():
            write_csv(report / "trials.csv", header, rows)
            write_csv(paths.trial_histories(model), ["trial", "execution", *HISTORY], epochs)
            write_json(paths.hyperparameters(model), chosen.model_dump(mode="json"))
        run.log_table("trials", header, rows)
        run.log_metrics({f"best_{name}": value for name, value in trials.best.items()})
        run.log_text("hyperparameters.json", json.dumps(chosen.model_dump(mode="json"), indent=2))
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
    tags: Mapping[str, str | int]
    histories: dict[int, Sequence[Sequence["Epoch"]]] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)
    trained: list[float] = field(default_factory=list)  # seconds of each trial done here and now

    def run(self, number: int, values: "Values", epochs: int) -> Mapping[str, float]:
        """Return the mean scores of a trial's executions; a trial done before is not repeated."""
        identity = hashlib.sha256(json.dumps([values, epochs], sort_keys=True).encode())
        journal = self.folder / f"{identity.hexdigest()[:16]}.json"
        if not journal.exists():
            self._train(number, values, epochs, journal)
        remembered = read_json(journal)
        self.histories[number] = remembered["histories"]
        return dict(remembered["scores"])

    def _train(self, number: int, values: "Values", epochs: int, journal: Path) -> None:
        """Train a trial and write its scores and histories to the journal."""
        from fashion.training import metrics

        settings = self.parameters.tune.search
        started = time.perf_counter()
        with self.parent.child(
            f"trial-{number}",
            f"{self.folder.name}-{journal.stem}",
            tags={**self.tags, "trial": number},
        ) as child:
            child.log_parameters(values | {"epochs": epochs})
            executions = [
                self._execute(number, execution, values, epochs, journal, child)
                for execution in range(settings.executions_per_trial)
            ]
            scores = {
                name: fmean(one.best[name] for one in executions)
                for name in ("val_accuracy", "val_loss")
            }
            scores["epochs"] = fmean(one.epochs for one in executions)
            # Epochs that an earlier, killed process trained but could not log are logged here.
            for row in executions[0].history:
                child.log_metrics(metrics(row), step=int(row["epoch"]))
            child.log_metrics({f"best_{name}": value for name, value in scores.items()})
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
        from fashion import models, training

        settings = self.parameters.tune.search
        hyperparameters = parse(self.model, values, f"trial {number}")
        # The same for every trial: a difference between trials is not one of luck.
        seed = derive_seed(self.parameters.seed, "trial", execution)

        def log(row: training.Epoch, seconds: float) -> None:
            if execution == 0:  # the curves of the first; the scores are the mean of all
                child.log_metrics(training.metrics(row), step=int(row["epoch"]))

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
