"""Log trained models to MLflow.

A stage and `make backfill` log through the same functions, so that both create the same runs.
Entries that are already in the store do not change.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidebyside.config.dataset import Dataset
from sidebyside.config.hyperparameters import RECORDS
from sidebyside.config.paths import ModelName, Paths
from sidebyside.core.errors import UserError
from sidebyside.reporting.formatting import architecture
from sidebyside.tracking.guard import warn
from sidebyside.tracking.origin import (
    Counts,
    Origin,
    Record,
    find_origin,
    log_inputs,
    machine_tags,
    origin_tags,
)
from sidebyside.tracking.run import Epoch, Run
from sidebyside.tracking.runs import open_run
from sidebyside.tracking.views import COLOUR_TAG, markdown, training_experiment

# A hue for each architecture, darker for the original data, from a palette for colour-blind readers
# (Okabe & Ito 2008).
COLOURS = (("#0072b2", "#56b4e9"), ("#d55e00", "#e69f00"), ("#009e73", "#7fceb9"))


def colour(name: ModelName) -> str:
    """Return the colour of a trained model's run, the same for every seed."""
    hue = COLOURS[list(RECORDS).index(name.model) % len(COLOURS)]
    return hue[name.data != "original"]


def training_origin(paths: Paths, name: ModelName) -> Origin:
    """Return the origin of a trained model.

    Raises:
        UserError: the model's file is missing, or the provenance is damaged.
    """
    return find_origin(paths.root, f"train@{name}", [paths.model(name)])


def training_key(paths: Paths, name: ModelName) -> str:
    """Return the key of a training, by which the evaluation finds its run.

    Without it the evaluation is not logged, but it succeeds.
    """
    try:
        return training_origin(paths, name).key
    except (UserError, OSError) as error:
        warn(f"warning: the run of {name} in MLflow is unknown: {error}")
        return "unknown"


def open_training(
    root: Path, dataset: Dataset, name: ModelName, record: Record, origin: Origin
) -> AbstractContextManager[Run]:
    """Open the run of a trained model.

    Args:
        root: root of the checkout.
        dataset: the data set.
        name: the model.
        record: settings and data_sha256, such as the content of model.json.
        origin: origin of the model.
    """
    return open_run(
        root,
        training_experiment(dataset),
        str(name),
        origin.key,
        tags={
            **name._asdict(),
            COLOUR_TAG: colour(name),
            **origin_tags(origin, dataset.name, record["data_sha256"]),
        },
        description=f"{architecture(name.model)} trained on the {name.data} training data of"
        f" {markdown(dataset.title)} from seed {name.seed}",
    )


def log_training_inputs(run: Run, name: ModelName, record: Record, counts: Counts) -> None:
    """Log the settings and data sets of a training; arguments as for `log_training`."""
    log_inputs(run, {**name._asdict(), **record["settings"]}, record["data_sha256"], counts)


def log_training(
    run: Run,
    dataset: Dataset,
    name: ModelName,
    record: Record,
    counts: Counts,
    history: Sequence[Epoch],
    scores: Mapping[str, float],
    model: Any,
    example: NDArray[np.uint8],
    machine: Mapping[str, str],
) -> None:
    """Log everything about a complete training, including entries missed during the training.

    Args:
        run: the run, from `open_training`.
        dataset: the data set.
        name: the model.
        record: the content of reports/train/<name>/model.json.
        counts: images per class of the training data and of val.
        history: a row per epoch.
        scores: the content of reports/train/<name>/metrics.json.
        model: the Keras model, or the path of its file.
        example: an input image, uint8 [1, *shape].
        machine: of the provenance; on a cluster it is known only at the end.
    """
    run.retry()
    run.log_tags(machine_tags(machine))
    log_training_inputs(run, name, record, counts)
    run.log_epochs(history)
    run.log_model(model, dataset, example, int(scores["best_epoch"]))
    run.log_parameters({name: record[name] for name in ("parameters", "flops_per_image")})
    run.log_metrics(
        {
            "best_val_accuracy": scores["val_accuracy"],
            "best_val_loss": scores["val_loss"],
            "best_epoch": scores["best_epoch"],
        }
    )
