"""What tune and train found → MLflow, from values alone.

A stage logs by these functions, and `refill` by the same from a checkout's files, so that both
leave the same runs, but for trials that failed, of which files have no curves. What was logged
before is left as it is.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidebyside.config.hyperparameters import RECORDS
from sidebyside.config.paths import ModelName
from sidebyside.tracking import runs
from sidebyside.tracking.runs import Run
from sidebyside.tracking.views import REPLICATIONS, SEARCH, TRAINING
from sidebyside.training.trial import trial_identity

Epoch = Mapping[str, float]  # a row of a history
Record = Mapping[str, Any]  # a stage's own file on what it did: key, settings, data_sha256, machine
Counts = Mapping[str, Mapping[str, int]]  # what a run has seen: split → class name → images

# MLflow draws a run in the colour of this tag, and else in one made from its id. A hue for each
# architecture, darker for the original data; told apart by the colour-blind too (Okabe & Ito 2008).
COLOUR_TAG = "mlflow.runColor"
COLOURS = (("#0072b2", "#56b4e9"), ("#d55e00", "#e69f00"), ("#009e73", "#7fceb9"))

SCRIPTS = {"winner": "train"}  # stage → its script, where that has another name


class Place(NamedTuple):
    """Where a piece of work stands: in MLflow, and among the stages of DVC."""

    experiment: str
    run: str  # its name
    stage: str  # such as tune@mlp

    @property
    def item(self) -> str:
        """What the stage works on, such as mlp."""
        return self.stage.partition("@")[2]


def search_place(model: str) -> Place:
    """Return where a search of the pipeline stands."""
    return Place(SEARCH, f"search-{model}", f"tune@{model}")


def replication_place(name: str) -> Place:
    """Return where a search of a published system stands."""
    return Place(REPLICATIONS, f"{name}-search", f"search@{name}")


def origin(record: Record, stage: str) -> dict[str, str | int]:
    """Return the tags that say where a result comes from, the machine that made it among them."""
    return {
        "stage": stage,
        "mlflow.source.name": f"{SCRIPTS.get(kind := stage.partition('@')[0], kind)}.py",
        **{f"data.{split}": digest for split, digest in record["data_sha256"].items()},
        **{f"machine.{fact}": value for fact, value in record["machine"].items()},
    }


def colour(name: ModelName) -> str:
    """Return the colour of a trained model's run: the same for every seed."""
    hue = COLOURS[list(RECORDS).index(name.model) % len(COLOURS)]
    return hue[name.data != "original"]


def training_run(root: Path, name: ModelName, record: Record) -> AbstractContextManager[Run]:
    """Open the run of a trained model."""
    return runs.open_run(
        root,
        TRAINING,
        str(name),
        record["key"],
        tags={**name._asdict(), COLOUR_TAG: colour(name), **origin(record, f"train@{name}")},
        description=f"`{name.model}` trained on the {name.data} training data",
    )


def log_inputs(run: Run, parameters: Mapping[str, Any], record: Record, counts: Counts) -> None:
    """Log what a run is made from.

    Args:
        run: of a training or of a search.
        parameters: name → value.
        record: with the digest of each split.
        counts: of each split that the run has seen, the first for training, then val.
    """
    run.log_parameters(parameters)
    for (shown, classes), (split, digest) in zip(
        counts.items(), record["data_sha256"].items(), strict=True
    ):
        context = {"train": "training", "val": "validation"}[split]
        run.log_dataset(shown, digest, context, classes)


def log_epochs(run: Run, history: Sequence[Epoch]) -> None:
    """Log the curves of a history."""
    for row in history:
        values = {column: value for column, value in row.items() if column != "epoch"}
        run.log_metrics(values, step=int(row["epoch"]))


def log_training(
    run: Run,
    name: ModelName,
    record: Record,
    counts: Counts,
    history: Sequence[Epoch],
    scores: Mapping[str, float],
    model: Any,
    example: NDArray[np.uint8],
) -> None:
    """Log all of a training that has ended, whatever could be logged while it ran.

    Args:
        run: from `training_run`.
        name: which model.
        record: the content of reports/train/<name>/model.json.
        counts: as for `log_inputs`.
        history: a row per epoch.
        scores: the content of reports/train/<name>/metrics.json.
        model: the Keras model.
        example: an image as it takes them, uint8 [1, 28, 28].
    """
    run.log_anew()
    log_inputs(run, {**name._asdict(), **record["settings"]}, record, counts)
    log_epochs(run, history)
    run.log_model(model, example, int(scores["best_epoch"]))
    run.log_parameters({name: record[name] for name in ("parameters", "flops_per_image")})
    run.log_metrics(
        {
            "best_val_accuracy": scores["val_accuracy"],
            "best_val_loss": scores["val_loss"],
            "best_epoch": scores["best_epoch"],
        }
    )


def search_run(root: Path, place: Place, model: str, record: Record) -> AbstractContextManager[Run]:
    """Open the run of a search."""
    names = ", ".join(record["searched"]) or "nothing"
    return runs.open_run(
        root,
        place.experiment,
        place.run,
        record["key"],
        tags={"model": model, "seed": record["seed"], **origin(record, place.stage)},
        description=f"{record['settings']['strategy']} search over {names}; a child run per trial",
    )


@contextmanager
def trial_run(
    run: Run,
    place: Place,
    model: str,
    record: Record,
    number: int,
    values: Mapping[str, Any],
    epochs: int,
) -> Iterator[Run]:
    """Open the run of a trial, below that of its search, with all of its hyperparameters."""
    key = f"{record['key']}-{trial_identity(values, epochs)}"
    tags = {"model": model, "seed": record["seed"], **origin(record, place.stage)}
    with run.child(f"{place.item}-trial-{number}", key, tags={**tags, "trial": number}) as child:
        child.log_parameters({**values, "epochs": epochs})
        yield child


def log_trial(run: Run, history: Sequence[Epoch], scores: Mapping[str, float]) -> None:
    """Log what a trial ended with.

    Args:
        run: from `trial_run`.
        history: of its first execution.
        scores: means over its executions.
    """
    log_epochs(run, history)
    run.log_metrics({f"best_{name}": value for name, value in scores.items()})


def log_search_inputs(run: Run, record: Record) -> None:
    """Log the settings, space and data of a search."""
    parameters = {**record["settings"], "space": record["space"]}
    log_inputs(run, parameters, record, record["classes"])


def log_search(
    run: Run,
    place: Place,
    model: str,
    record: Record,
    histories: Mapping[int, Sequence[Epoch]],
    trials: tuple[Sequence[str], Sequence[Sequence[Any]]],
    chosen: Mapping[str, Any],
) -> None:
    """Log all of a search that has ended, whatever could be logged while it ran.

    A failed trial has nothing but its row in the table.

    Args:
        run: from `search_run`.
        place: of the search.
        model: the architecture.
        record: the content of reports/tune/<model>/search.json.
        histories: trial → rows of its first execution.
        trials: header and rows of reports/tune/<model>/trials.csv.
        chosen: the content of reports/tune/<model>/hyperparameters.json.
    """
    run.log_anew()
    log_search_inputs(run, record)
    for trial in record["trials"]:
        if trial["scores"] is None:
            continue
        number, values = trial["number"], {**record["fixed"], **trial["searched"]}
        with trial_run(run, place, model, record, number, values, trial["epochs"]) as child:
            log_trial(child, histories[number], trial["scores"])
    run.log_table("trials", *trials)
    run.log_metrics({f"best_{name}": value for name, value in record["best"].items()})
    run.log_text("hyperparameters.json", json.dumps(chosen, indent=2))
