"""Read the results of searches and trainings, and compute the metrics of the comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sidebyside.config import result_files
from sidebyside.config.hyperparameters import read_hyperparameters
from sidebyside.config.paths import Paths
from sidebyside.config.result_files import HISTORY_COLUMNS
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_csv, read_json
from study.plan import CLASS_NAMES, PER_CLASS, SCORES, Plan, SystemSearch

WARM_UP = 5  # first epochs, left out of the mean step size because losses fall steeply there

History = dict[str, list[float]]  # column → value per epoch


@dataclass(frozen=True, eq=False)
class ModelResult:
    """Results of a model over its seeds."""

    settings: Mapping[str, Any]  # hyperparameters, epochs, patience, monitor and keep
    metrics: Mapping[str, Sequence[float]]  # every score and derived metric → value per seed
    best_epochs: Sequence[int]  # epochs whose weights were kept, per seed
    histories: Mapping[int, History]  # seed → history
    confusion: NDArray[np.int64]  # of the first seed, [10, 10], row = true class
    labels: NDArray[np.uint8]  # of the first test images, [images]
    probabilities: NDArray[np.float64]  # of these images, by the first seed, [images, 10]

    def of_classes(self, metric: str) -> NDArray[np.float64]:
        """Return a metric of PER_CLASS, [seeds, 10]."""
        return np.array([self.metrics[f"{metric}.{name}"] for name in CLASS_NAMES]).T


@dataclass(frozen=True)
class SearchResult:
    """Trials of a search, and the hyperparameters of the best one."""

    trials: Sequence[Mapping[str, str]]  # rows of trials.csv
    best: Mapping[str, Any]


def read_digests(paths: Paths) -> dict[str, str]:
    """Return the SHA-256 digests of the training data, `original` and `augmented`, and of `val`.

    Raises:
        UserError: a file is missing or damaged.
    """
    path = paths.report("preprocess") / "summary.json"
    splits = _content(path, "splits")["splits"]
    augmented = _content(paths.report("augment") / "summary.json", "sha256")["sha256"]
    try:
        original, val = (splits[split]["sha256"] for split in ("train", "val"))
    except (KeyError, TypeError):
        raise UserError(f"{path}: expected the digests of train and val") from None
    return {"original": original, "augmented": augmented, "val": val}


def completed(plan: Plan, folder: Path, digests: Mapping[str, str]) -> Plan:
    """Return the part of a plan that has results, with the claims about that part.

    Results from other hyperparameters, seeds or data than those of the plan do not count.

    Args:
        plan: the content of params.yaml.
        folder: results/.
        digests: of the data, from `read_digests`.

    Raises:
        UserError: a file is missing or damaged.
    """
    searches = {
        name: part
        for name, part in plan.searches.items()
        if _has_search(folder / "searches" / name, plan, part, digests)
    }
    models = {
        name: part for name, part in plan.models.items() if _has_model(folder, plan, name, digests)
    }
    winners = {
        name: part
        for name, part in plan.winners.items()
        if part.search in searches and _has_model(folder, plan, name, digests)
    }
    trained = {*models, *winners}
    parts = {
        "searches": searches,
        "models": models,
        "winners": winners,
        "claims": tuple(one for one in plan.claims if {one.first, one.second} <= trained),
        "lowest": tuple(one for one in plan.lowest if one.model in trained),
    }
    return plan.model_copy(update=parts)


def _has_search(folder: Path, plan: Plan, part: SystemSearch, digests: Mapping[str, str]) -> bool:
    expected = {
        "seed": plan.seed,
        "settings": part.search.record,
        "space": part.space,
        "data_sha256": {"train": digests["original"], "val": digests["val"]},
    }
    return folder.is_dir() and _content(folder / "search.json", *expected) == expected


def _has_model(results: Path, plan: Plan, name: str, digests: Mapping[str, str]) -> bool:
    folder, part = results / "models" / name, plan.trained[name]
    if not folder.is_dir():
        return False
    settings = {
        **part.training.model_dump(mode="json"),
        **plan.record(name, results / "searches").model_dump(mode="json"),
    }
    data = {"train": digests[part.data], "val": digests["val"]}
    expected = {"settings": settings, "data_sha256": data}
    seeds = tuple(row["seed"] for row in read_csv(folder / "scores.csv", ("seed",)))
    return (
        seeds == tuple(map(str, part.seeds))
        and _content(folder / "record.json", *expected) == expected
    )


def _content(path: Path, *keys: str) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or not content.keys() >= {*keys}:
        raise UserError(f"{path}: expected {', '.join(keys)}")
    return {key: content[key] for key in keys}


def read_model(folder: Path) -> ModelResult:
    """Read the results of a model and derive its metrics.

    Args:
        folder: results/models/<name>.

    Raises:
        UserError: a file is missing or damaged.
    """
    settings = _content(folder / "record.json", "settings")["settings"]
    scores = _table(folder / "scores.csv", (*SCORES, "best_epoch"))
    classes = _by_seed(folder / "classes.csv", PER_CLASS)
    histories = {
        seed: {column: table[column].to_list() for column in HISTORY_COLUMNS}
        for seed, table in _by_seed(folder / "histories.csv", HISTORY_COLUMNS).items()
    }
    metrics: dict[str, list[float]] = {name: scores[name].to_list() for name in SCORES}
    if any(len(table) != len(CLASS_NAMES) for table in classes.values()):
        raise UserError(f"{folder / 'classes.csv'}: expected a row per class and seed")
    for metric in PER_CLASS:
        values = [table[metric].to_list() for table in classes.values()]
        metrics[f"macro_{metric}"] = [fmean(row) for row in values]
        columns = zip(*values, strict=True)
        metrics |= {
            f"{metric}.{name}": [*column] for name, column in zip(CLASS_NAMES, columns, strict=True)
        }
    metrics["gap"] = (scores["train_accuracy"] - scores["val_accuracy"]).to_list()
    metrics["val_loss_changes"] = [mean_step(one["val_loss"]) for one in histories.values()]
    confusion = read_csv(folder / "confusion.csv", ("seed", "true", *CLASS_NAMES))
    predictions = read_csv(folder / "predictions.csv", ("true", *CLASS_NAMES))
    try:
        return ModelResult(
            settings,
            metrics,
            [int(epoch) for epoch in scores["best_epoch"]],
            histories,
            np.array(
                [[int(row[name]) for name in CLASS_NAMES] for row in confusion[: len(CLASS_NAMES)]]
            ),
            np.array([CLASS_NAMES.index(row["true"]) for row in predictions], np.uint8),
            np.array([[float(row[name]) for name in CLASS_NAMES] for row in predictions]),
        )
    except ValueError as error:
        raise UserError(f"{folder}: confusion.csv or predictions.csv: {error}") from None


def read_runs(folder: Path) -> dict[int, dict[str, Any]]:
    """Return seed → scores, best_epoch, history and classes, as `log_model_run` takes them.

    Args:
        folder: results/models/<name>.

    Raises:
        UserError: a file is missing or damaged.
    """
    scores = _by_seed(folder / "scores.csv", (*SCORES, "best_epoch"))
    classes = _by_seed(folder / "classes.csv", PER_CLASS)
    histories = _by_seed(folder / "histories.csv", HISTORY_COLUMNS)
    if not scores.keys() == classes.keys() == histories.keys():
        raise UserError(f"{folder}: scores, classes and histories have different seeds")
    return {
        seed: {
            "scores": {name: float(table[name].iloc[0]) for name in SCORES},
            "best_epoch": int(table["best_epoch"].iloc[0]),
            "history": histories[seed].to_dict("records"),
            "classes": classes[seed].to_numpy().tolist(),
        }
        for seed, table in scores.items()
    }


def mean_step(values: Sequence[float]) -> float:
    """Return the mean absolute difference between consecutive epochs, after WARM_UP epochs.

    For a shorter history, all epochs count.
    """
    steps = np.abs(np.diff(values[WARM_UP:] if len(values) > WARM_UP + 1 else values))
    return float(steps.mean()) if len(steps) else 0.0


def read_search(folder: Path, model: str, objective: str) -> SearchResult:
    """Read the result of a search.

    Args:
        folder: results/searches/<name>.
        model: its architecture.
        objective: the metric that it optimises.

    Raises:
        UserError: a file is missing or damaged.
    """
    best = read_hyperparameters(model, folder / "hyperparameters.json")
    trials = result_files.read_trials(folder / "trials.csv", objective)
    return SearchResult(trials, best.model_dump(mode="json"))


def _table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of numbers, indexed by seed."""
    table = pd.DataFrame(read_csv(path, ("seed", *columns)))
    if table.empty:
        raise UserError(f"{path} has no rows")
    try:
        numbers = table.set_index("seed")[[*columns]].astype(float)
        return numbers.set_axis(numbers.index.astype(int))
    except ValueError:
        raise UserError(f"{path}: expected numbers in {', '.join(columns)}") from None


def _by_seed(path: Path, columns: Sequence[str]) -> dict[int, pd.DataFrame]:
    table = _table(path, columns)
    return {int(seed): table.loc[[seed]] for seed in table.index.unique()}
