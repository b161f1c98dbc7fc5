"""One model of a published system, from one seed: trained, scored on every split, logged."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sidebyside.config.dataset import CLASS_NAMES
from sidebyside.config.hyperparameters import Hyperparameters
from sidebyside.config.schemas import HISTORY
from sidebyside.core.files import write_atomically, write_csv, write_json
from sidebyside.data.splits import Split
from sidebyside.evaluation.metrics import class_scores, confusion_counts, log_loss
from sidebyside.evaluation.predictions import predicted_labels
from sidebyside.models.inference import predict_probabilities
from sidebyside.models.saving import weights_digest
from sidebyside.tracking import runs, stages
from sidebyside.tracking.runs import Run
from sidebyside.tracking.stages import Record
from sidebyside.tracking.views import REPLICATIONS
from sidebyside.training.training import train_model
from study.plan import SCORES, SystemModel

FILES = (
    *("scores.csv", "histories.csv", "classes.csv", "confusion.csv", "predictions.csv"),
    "record.json",
)
SHOWN = 30  # test images whose predictions are kept, for the picture that system 4 prints

Replica = dict[str, Any]  # what a training gave, as JSON


def opened(
    root: Path, name: str, part: SystemModel, seed: int, record: Record
) -> AbstractContextManager[Run]:
    """Open the run of a model from one seed.

    Args:
        root: the checkout, whose MLflow store gets the run.
        name: of the model, a key of the plan.
        part: what it is.
        seed: one of its seeds.
        record: the content of results/models/<name>/record.json.
    """
    return runs.open_run(
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
        description=f"System {part.system}: {part.what}",
    )


def log_inputs(run: Run, part: SystemModel, seed: int, record: Record) -> None:
    """Log what a model is made from; the arguments: as for `opened`, whose run it is."""
    parameters = {"model": part.model, "data": part.data, "seed": seed, **record["settings"]}
    counts = {part.data: record["classes"]["train"], "val": record["classes"]["val"]}
    stages.log_inputs(run, parameters, record, counts)


def log(run: Run, part: SystemModel, seed: int, record: Record, replica: Replica) -> None:
    """Log all of a training that has ended, whatever could be logged while it ran.

    Args:
        run: from `opened`.
        part: what the model is.
        seed: it was trained from.
        record: the content of results/models/<name>/record.json.
        replica: scores, best_epoch, history and classes count.
    """
    scores, classes = replica["scores"], replica["classes"]
    run.log_anew()
    log_inputs(run, part, seed, record)
    stages.log_epochs(run, replica["history"])
    run.log_metrics(
        {
            "best_val_accuracy": scores["val_accuracy"],
            "best_val_loss": scores["val_loss"],
            "best_epoch": replica["best_epoch"],
            "test_accuracy": scores["test_accuracy"],
            "test_log_loss": scores["test_loss"],
            "test_f1_macro": sum(f1 for _, _, f1 in classes) / len(classes),
        }
    )


def train(
    root: Path,
    name: str,
    part: SystemModel,
    hyperparameters: Hyperparameters,
    splits: Mapping[str, Split],
    *,
    seed: int,
    record: Record,
    checkpoint: Path,
    on_epoch: Callable[[], None] = lambda: None,
) -> Replica:
    """Return scores, history and predictions of a model trained from one seed.

    Args:
        root: the checkout, whose MLflow store gets the run.
        name: of the model, a key of the plan.
        part: what it is.
        hyperparameters: of the model.
        splits: train, val and test; which epoch is kept follows from val alone.
        seed: as for `training_work.train`.
        record: as for `opened`.
        checkpoint: a file to resume from and to save to.
        on_epoch: as for `training_work.train`.

    Raises:
        UserError: as `training.train` raises it.
    """
    with opened(root, name, part, seed, record) as run:
        log_inputs(run, part, seed, record)
        model, progress = train_model(
            part.model,
            hyperparameters,
            splits["train"],
            splits["val"],
            label=f"{name} seed {seed}",
            seed=seed,
            run=run,
            checkpoint=checkpoint,
            on_epoch=on_epoch,
            **part.training.model_dump(),
        )
        scores = {"parameters": model.count_params(), "epochs": progress.epochs}
        scores |= {f"fit_{metric}": progress.best[metric] for metric in ("loss", "accuracy")}
        for split, images in splits.items():
            probabilities = predict_probabilities(model, images.images)
            predicted = predicted_labels(probabilities)
            scores[f"{split}_loss"] = log_loss(images.labels, probabilities)
            scores[f"{split}_accuracy"] = float((predicted == images.labels).mean())
        classes = class_scores(images.labels, predicted)  # of the last split, test
        replica = {
            "scores": scores,
            "best_epoch": progress.best_epoch,
            "weights_sha256": weights_digest(model),
            "history": progress.history,
            "classes": [[one.precision, one.recall, one.f1] for one in classes],
            "confusion": confusion_counts(images.labels, predicted).tolist(),
            "predictions": [
                [int(label), *row]
                for label, row in zip(
                    images.labels[:SHOWN], probabilities[:SHOWN].tolist(), strict=True
                )
            ],
        }
        log(run, part, seed, record, replica)
        return replica


def write(folder: Path, seeds: Sequence[int], found: Sequence[Replica], record: Record) -> None:
    """Write what all seeds gave, and how it came about, as FILES."""
    pairs = list(zip(seeds, found, strict=True))
    with write_atomically():
        write_csv(
            folder / "scores.csv",
            ["seed", *SCORES, "best_epoch", "weights_sha256"],
            [
                [
                    seed,
                    *(one["scores"][name] for name in SCORES),
                    one["best_epoch"],
                    one["weights_sha256"],
                ]
                for seed, one in pairs
            ],
        )
        write_csv(
            folder / "histories.csv",
            ["seed", *HISTORY],
            [[seed, *(row[c] for c in HISTORY)] for seed, one in pairs for row in one["history"]],
        )
        write_csv(
            folder / "classes.csv",
            ["seed", "class", "precision", "recall", "f1"],
            [
                [seed, label, *row]
                for seed, one in pairs
                for label, row in zip(CLASS_NAMES, one["classes"], strict=True)
            ],
        )
        write_csv(
            folder / "confusion.csv",
            ["seed", "true", *CLASS_NAMES],
            [
                [seed, label, *row]
                for seed, one in pairs
                for label, row in zip(CLASS_NAMES, one["confusion"], strict=True)
            ],
        )
        write_csv(
            folder / "predictions.csv",
            ["true", *CLASS_NAMES],
            [
                [CLASS_NAMES[label], *probabilities]
                for label, *probabilities in found[0]["predictions"]
            ],
        )
        write_json(folder / "record.json", record)
