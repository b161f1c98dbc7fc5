"""Train one model of a published system from one seed, and score it on every split."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sidebyside.config.dataset import Dataset
from sidebyside.config.hyperparameters import Hyperparameters
from sidebyside.config.result_files import HISTORY_COLUMNS
from sidebyside.core.files import write_atomically, write_csv, write_json
from sidebyside.core.jobs import Executor
from sidebyside.data.splits import Split
from sidebyside.evaluation.metrics import class_scores, confusion_counts, log_loss
from sidebyside.evaluation.predictions import predicted_labels
from sidebyside.models.inference import predict_probabilities
from sidebyside.models.saving import weights_digest
from sidebyside.training.fit import train_model
from sidebyside.training.history import Epoch
from sidebyside.training.jobs import TrainingTask
from study.plan import CLASS_NAMES, SCORES, SystemModel

FILES = (
    *("scores.csv", "histories.csv", "classes.csv", "confusion.csv", "predictions.csv"),
    "record.json",
)
SHOWN = 30  # test images whose predictions are kept, for the picture that system 4 prints

ModelRun = dict[str, Any]  # the results of one training, as JSON values


def train(
    part: SystemModel,
    hyperparameters: Hyperparameters,
    dataset: Dataset,
    splits: Mapping[str, Split],
    *,
    seed: int,
    threads: int,
    execute: Executor,
    checkpoint: Path,
    on_epoch: Callable[[Epoch, float], None] = lambda epoch, seconds: None,
    on_steps: Callable[[int, int], None] = lambda step, steps: None,
) -> ModelRun:
    """Return scores, history and predictions of a model trained from one seed.

    Args:
        part: the model in the plan.
        hyperparameters: the model's record.
        dataset: the data set of the splits.
        splits: train, val and test; the kept epoch follows from val alone.
        seed: seed of the training.
        threads: per TensorFlow operation.
        execute: as for `train_model`; so are `checkpoint`, `on_epoch` and `on_steps`.

    Raises:
        UserError: as `train_model` raises it.
    """
    task = TrainingTask(
        f"seed {seed}",
        part.model,
        hyperparameters.model_dump(mode="json"),
        dataset,
        seed=seed,
        threads=threads,
        parts=1,
        **part.training.model_dump(),
    )
    model, progress = train_model(
        task, execute, checkpoint=checkpoint, on_epoch=on_epoch, on_steps=on_steps
    )
    scores = {"parameters": model.count_params(), "epochs": progress.epochs}
    scores |= {f"fit_{metric}": progress.best[metric] for metric in ("loss", "accuracy")}
    for split, images in splits.items():
        probabilities = predict_probabilities(model, images.images)
        predicted = predicted_labels(probabilities)
        scores[f"{split}_loss"] = log_loss(images.labels, probabilities)
        scores[f"{split}_accuracy"] = float((predicted == images.labels).mean())
    classes = class_scores(images.labels, predicted, CLASS_NAMES)  # of the last split, test
    return {
        "scores": scores,
        "best_epoch": progress.best_epoch,
        "weights_sha256": weights_digest(model),
        "history": progress.history,
        "classes": [[one.precision, one.recall, one.f1] for one in classes],
        "confusion": confusion_counts(images.labels, predicted, len(CLASS_NAMES)).tolist(),
        "predictions": [
            [int(label), *row]
            for label, row in zip(
                images.labels[:SHOWN], probabilities[:SHOWN].tolist(), strict=True
            )
        ],
    }


def write(
    folder: Path, seeds: Sequence[int], model_runs: Sequence[ModelRun], record: Mapping[str, Any]
) -> None:
    """Write the results of all seeds, and the record of their training, as FILES."""
    pairs = list(zip(seeds, model_runs, strict=True))
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
            ["seed", *HISTORY_COLUMNS],
            [
                [seed, *(row[c] for c in HISTORY_COLUMNS)]
                for seed, one in pairs
                for row in one["history"]
            ],
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
                for label, *probabilities in model_runs[0]["predictions"]
            ],
        )
        write_json(folder / "record.json", record)
