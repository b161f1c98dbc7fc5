"""Log the published systems to MLflow."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sidebyside.tracking.origin import Origin, Record, log_inputs, origin_tags
from sidebyside.tracking.run import Run
from sidebyside.tracking.runs import open_run
from sidebyside.tracking.search import TrackedSearch
from sidebyside.tracking.views import Experiment
from study.plan import STUDIED, SystemModel

REPLICATIONS = Experiment(
    name=f"{STUDIED.name}-replications",
    description="Replications of published systems: one run per model and seed, and one per search,"
    " with a child run per trial. A name begins with the number of its system."
    " [Scores side by side]({view}), [curves]({charts}).",
    scores=("best_val_accuracy", "test_accuracy", "test_log_loss", "best_epoch"),
    parameters=("model", "data", "seed", "optimizer", "learning_rate", "batch_size"),
    backfill="make backfill-replications",
    repeat="make replications",
)


def tracked_search(name: str, model: str, origin: Origin, record: Record) -> TrackedSearch:
    """Return the search of a published system.

    Args:
        name: name of the search, a key of the plan.
        model: the architecture.
        origin: origin of the search.
        record: the search's record.
    """
    return TrackedSearch(REPLICATIONS, STUDIED.name, f"{name}-search", model, origin, record)


def open_model_run(
    root: Path, name: str, part: SystemModel, seed: int, record: Record, origin: Origin
) -> AbstractContextManager[Run]:
    """Open the run of a model from one seed.

    Args:
        root: root of the checkout, whose MLflow store gets the run.
        name: name of the model, a key of the plan.
        part: the model in the plan.
        seed: one of the model's seeds.
        record: the content of results/models/<name>/record.json.
        origin: origin of the results of all seeds.
    """
    return open_run(
        root,
        REPLICATIONS,
        f"{name}-{seed}",
        f"{origin.key}-{seed}",
        tags={
            "system": part.system,
            "model": part.model,
            "data": part.data,
            "seed": seed,
            **origin_tags(origin, STUDIED.name, record["data_sha256"]),
            "mlflow.source.name": "train.py",  # the script of the winner stages too
        },
        description=f"System {part.system}: {part.title}",
    )


def log_model_inputs(run: Run, part: SystemModel, seed: int, record: Record) -> None:
    """Log the settings and data sets of a model; arguments as for `open_model_run`."""
    parameters = {"model": part.model, "data": part.data, "seed": seed, **record["settings"]}
    counts = {part.data: record["classes"]["train"], "val": record["classes"]["val"]}
    log_inputs(run, parameters, record["data_sha256"], counts)


def log_model_run(
    run: Run, part: SystemModel, seed: int, record: Record, model_run: Mapping[str, Any]
) -> None:
    """Log everything about a complete training, including entries missed during the training.

    Args:
        run: the run, from `open_model_run`.
        part: the model in the plan.
        seed: seed of the training.
        record: the content of results/models/<name>/record.json.
        model_run: the training's scores, best_epoch, history and classes.
    """
    scores, classes = model_run["scores"], model_run["classes"]
    run.retry()
    log_model_inputs(run, part, seed, record)
    run.log_epochs(model_run["history"])
    run.log_metrics(
        {
            "best_val_accuracy": scores["val_accuracy"],
            "best_val_loss": scores["val_loss"],
            "best_epoch": model_run["best_epoch"],
            "test_accuracy": scores["test_accuracy"],
            "test_log_loss": scores["test_loss"],
            "test_f1_macro": sum(f1 for _, _, f1 in classes) / len(classes),
        }
    )
