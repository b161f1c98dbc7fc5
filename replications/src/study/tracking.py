"""Log the published systems to MLflow."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sidebyside.tracking import stages
from sidebyside.tracking.runs import Run, open_run
from sidebyside.tracking.views import REPLICATIONS
from study.model_runs import ModelRun
from study.plan import SystemModel


def open_model_run(
    root: Path, name: str, part: SystemModel, seed: int, record: Mapping[str, Any]
) -> AbstractContextManager[Run]:
    """Open the run of a model from one seed.

    Args:
        root: the checkout, whose MLflow store gets the run.
        name: of the model, a key of the plan.
        part: what it is.
        seed: one of its seeds.
        record: the content of results/models/<name>/record.json.
    """
    return open_run(
        root,
        REPLICATIONS,
        f"{name}-{seed}",
        f"{record['key']}-{seed}",
        tags={
            "system": part.system,
            "model": part.model,
            "data": part.data,
            "seed": seed,
            **stages.origin(record, record["stage"]),
        },
        description=f"System {part.system}: {part.title}",
    )


def log_inputs(run: Run, part: SystemModel, seed: int, record: Mapping[str, Any]) -> None:
    """Log what a model is made from; the arguments: as for `open_model_run`."""
    parameters = {"model": part.model, "data": part.data, "seed": seed, **record["settings"]}
    counts = {part.data: record["classes"]["train"], "val": record["classes"]["val"]}
    stages.log_inputs(run, parameters, record, counts)


def log_model_run(
    run: Run, part: SystemModel, seed: int, record: Mapping[str, Any], model_run: ModelRun
) -> None:
    """Log all of a training that has ended, whatever could be logged while it ran.

    Args:
        run: from `open_model_run`.
        part: what the model is.
        seed: it was trained from.
        record: the content of results/models/<name>/record.json.
        model_run: scores, best_epoch, history and classes count.
    """
    scores, classes = model_run["scores"], model_run["classes"]
    run.log_anew()
    log_inputs(run, part, seed, record)
    stages.log_epochs(run, model_run["history"])
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
