"""What the replications' searches and trainings wrote, read back and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidebyside.config import hyperparameters, schemas
from sidebyside.config.dataset import CLASS_NAMES, CLASSES
from sidebyside.config.paths import Paths
from sidebyside.config.schemas import HISTORY_COLUMNS
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_csv, read_json
from study.plan import PER_CLASS, SCORES, Plan, SystemSearch

SETTLED = 5  # epochs after which the fall of the first ones is over, for the size of the steps

History = dict[str, list[float]]  # column → value per epoch


@dataclass(frozen=True, eq=False)
class Measured:
    """A model of a published system, over its seeds."""

    settings: Mapping[str, Any]  # hyperparameters, epochs, patience, monitor and keep
    processor: str  # what it can, not what it is called: such as "x86_64 6a93d771884c"
    metrics: Mapping[str, Sequence[float]]  # every score and derived metric → value per seed
    best_epochs: Sequence[int]  # whose weights were kept, per seed
    histories: Mapping[int, History]  # seed → history
    confusion: NDArray[np.int64]  # of the first seed, [10, 10], row = true class
    labels: NDArray[np.uint8]  # of the first test images
    probabilities: NDArray[np.float64]  # of these images, by the first seed

    def of_classes(self, metric: str) -> NDArray[np.float64]:
        """Return a metric of PER_CLASS, [seeds, 10]."""
        return np.array([self.metrics[f"{metric}.{name}"] for name in CLASS_NAMES]).T


@dataclass(frozen=True)
class Found:
    """What a search found."""

    trials: Sequence[Mapping[str, str]]  # a row each, as in trials.csv
    best: Mapping[str, Any]  # hyperparameters
    processor: str  # as in Measured


def stage_names(plan: Plan) -> list[str]:
    """Return the stages that search and train what is in the plan, as `dvc repro` takes them."""
    kinds = {"search": [*plan.searches], "train": [*plan.models], "winner": [*plan.winners]}
    return [f"{kind}@{name}" for kind, names in kinds.items() for name in names]


def read_digests(paths: Paths) -> dict[str, str]:
    """Return the SHA-256 of what models learn from, `original` and `augmented`, and of `val`.

    Raises:
        UserError: a file is missing or damaged.
    """
    path = paths.report("preprocess") / "summary.json"
    splits = _content(path, "splits")["splits"]
    (augmented,) = _content(paths.report("augment") / "summary.json", "sha256").values()
    try:
        original, val = (splits[split]["sha256"] for split in ("train", "val"))
    except (KeyError, TypeError):
        raise UserError(f"{path}: expected the digests of train and val") from None
    return {"original": original, "augmented": augmented, "val": val}


def what_ran(plan: Plan, folder: Path, digests: Mapping[str, str]) -> Plan:
    """Return the plan without what has no results yet, and without the claims about it.

    Results of what the plan had in other words before, with other settings, seeds, threads or
    data, are none.

    Args:
        plan: the whole of it.
        folder: results/.
        digests: of the data, from `read_digests`.

    Raises:
        UserError: a file is missing or damaged.
    """
    searches = {
        name: part
        for name, part in plan.searches.items()
        if _searched(folder / "searches" / name, plan, part, digests)
    }
    models = {
        name: part for name, part in plan.models.items() if _trained(folder, plan, name, digests)
    }
    winners = {
        name: part
        for name, part in plan.winners.items()
        if part.search in searches and _trained(folder, plan, name, digests)
    }
    trained = {*models, *winners}
    claims = tuple(claim for claim in plan.claims if {claim.first, claim.second} <= trained)
    lowest = tuple(claim for claim in plan.lowest if claim.model in trained)
    parts = {
        "searches": searches,
        "models": models,
        "winners": winners,
        "claims": claims,
        "lowest": lowest,
    }
    return plan.model_copy(update=parts)


def _searched(folder: Path, plan: Plan, part: SystemSearch, digests: Mapping[str, str]) -> bool:
    if not folder.is_dir():
        return False
    described = {
        "seed": plan.seed,
        "settings": part.search.model_dump(mode="json"),
        "space": part.space,
    }
    return _is_of(folder / "search.json", plan, described, "original", digests)


def _is_of(
    path: Path, plan: Plan, described: dict[str, Any], data: str, digests: Mapping[str, str]
) -> bool:
    """Return whether a record is of what is described, of the data and of the plan's threads."""
    sources = {"train": digests[data], "val": digests["val"]}
    expected = {**described, "data_sha256": sources}
    found = _content(path, *expected, "machine")
    machine = found.pop("machine")
    same_threads: bool = machine.get("threads") == str(plan.threads)
    return found == expected and same_threads


def _trained(results_folder: Path, plan: Plan, name: str, digests: Mapping[str, str]) -> bool:
    folder = results_folder / "models" / name
    if not folder.is_dir():
        return False
    part = plan.trained[name]
    described = {
        **part.training.model_dump(mode="json"),
        **plan.record(name, results_folder / "searches").model_dump(mode="json"),
    }
    seeds = tuple(row["seed"] for row in read_csv(folder / "scores.csv", ("seed",)))
    return seeds == tuple(map(str, part.seeds)) and _is_of(
        folder / "record.json", plan, {"settings": described}, part.data, digests
    )


def _content(path: Path, *keys: str) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or not content.keys() >= {*keys}:
        raise UserError(f"{path}: expected {', '.join(keys)}")
    return {key: content[key] for key in keys}


def read_model(folder: Path) -> Measured:
    """Return what was measured of a model.

    Args:
        folder: results/models/<name>.

    Raises:
        UserError: a file is missing or damaged.
    """
    record = _content(folder / "record.json", "settings", "machine")
    scores = _by_seed(folder / "scores.csv", (*SCORES, "best_epoch"))
    classes = _by_seed(folder / "classes.csv", PER_CLASS)
    histories = {
        seed: {c: [row[c] for row in rows] for c in HISTORY_COLUMNS}
        for seed, rows in _by_seed(folder / "histories.csv", HISTORY_COLUMNS).items()
    }
    metrics: dict[str, list[float]] = {
        name: [rows[0][name] for rows in scores.values()] for name in SCORES
    }
    if any(len(rows) != CLASSES for rows in classes.values()):
        raise UserError(f"{folder / 'classes.csv'}: expected a row per class and seed")
    for metric in PER_CLASS:
        values = [[row[metric] for row in rows] for rows in classes.values()]
        metrics[f"macro_{metric}"] = [fmean(row) for row in values]
        for place, name in enumerate(CLASS_NAMES):
            metrics[f"{metric}.{name}"] = [row[place] for row in values]
    pairs = zip(metrics["train_accuracy"], metrics["val_accuracy"], strict=True)
    metrics["gap"] = [train - val for train, val in pairs]
    metrics["val_loss_changes"] = [changes(one["val_loss"]) for one in histories.values()]
    confusion = read_csv(folder / "confusion.csv", ("seed", "true", *CLASS_NAMES))[:CLASSES]
    predictions = read_csv(folder / "predictions.csv", ("true", *CLASS_NAMES))
    try:
        return Measured(
            record["settings"],
            record["machine"]["processor"],
            metrics,
            [int(rows[0]["best_epoch"]) for rows in scores.values()],
            histories,
            np.array([[int(row[name]) for name in CLASS_NAMES] for row in confusion]),
            np.array([CLASS_NAMES.index(row["true"]) for row in predictions], np.uint8),
            np.array([[float(row[name]) for name in CLASS_NAMES] for row in predictions]),
        )
    except ValueError as error:
        raise UserError(f"{folder}: confusion.csv or predictions.csv: {error}") from None


def read_replicas(folder: Path) -> dict[int, dict[str, Any]]:
    """Return seed → scores, best_epoch, history and classes, as `replicas.log` takes them.

    Args:
        folder: results/models/<name>.

    Raises:
        UserError: a file is missing or damaged.
    """
    classes = _by_seed(folder / "classes.csv", PER_CLASS)
    histories = _by_seed(folder / "histories.csv", HISTORY_COLUMNS)
    scores = _by_seed(folder / "scores.csv", (*SCORES, "best_epoch"))
    if not scores.keys() == classes.keys() == histories.keys():
        raise UserError(f"{folder}: its tables are not of the same seeds")
    return {
        seed: {
            "scores": {name: rows[0][name] for name in SCORES},
            "best_epoch": int(rows[0]["best_epoch"]),
            "history": histories[seed],
            "classes": [list(one.values()) for one in classes[seed]],
        }
        for seed, rows in scores.items()
    }


def changes(values: Sequence[float]) -> float:
    """Return the mean size of the step from epoch to epoch, without the first epochs."""
    steps = np.abs(np.diff(values[SETTLED:] if len(values) > SETTLED + 1 else values))
    return float(steps.mean()) if len(steps) else 0.0


def read_search(folder: Path, model: str, objective: str) -> Found:
    """Return what a search found; the arguments: results/searches/<name>, architecture, metric.

    Raises:
        UserError: a file is missing or damaged.
    """
    best = hyperparameters.read_hyperparameters(model, folder / "hyperparameters.json").model_dump(
        mode="json"
    )
    (machine,) = _content(folder / "search.json", "machine").values()
    trials = schemas.read_trials(folder / "trials.csv", objective)
    return Found(trials, best, machine["processor"])


def read_durations(folder: Path, plan: Plan) -> dict[str, float]:
    """Return system → seconds of its searches and trainings.

    Raises:
        UserError: a file is missing or damaged.
    """
    found = dict.fromkeys(plan.systems, 0.0)
    for kind, parts in (("search", plan.searches), ("train", plan.trained)):
        for name, part in parts.items():
            found[part.system] += read_seconds(folder / f"{kind}-{name}.json")
    return found


def read_seconds(path: Path) -> float:
    """Return how long a piece of work took, from its file in durations/.

    Raises:
        UserError: the file is missing or damaged.
    """
    seconds = _content(path, "seconds")["seconds"]
    if not isinstance(seconds, float):
        raise UserError(f"{path}: expected seconds")
    return seconds


def read_processors(durations: Path, found: Path, plan: Plan) -> list[str]:
    """Return the processors that did the work, each once: its name and what it can.

    Args:
        durations: the folder of that name, whose files have the names.
        found: results/, whose records have a digest of the instruction sets; processors that
            differ in them may have one name.
        plan: what has run.
    """
    records = {
        **{f"search-{name}": found / "searches" / name / "search.json" for name in plan.searches},
        **{f"train-{name}": found / "models" / name / "record.json" for name in plan.trained},
    }
    processors = set()
    for work, record in records.items():
        (name,) = _content(durations / f"{work}.json", "processor").values()
        (machine,) = _content(record, "machine").values()
        processors.add(f"{name} ({machine['processor']})")
    return sorted(processors)


def _by_seed(path: Path, columns: Sequence[str]) -> dict[int, list[dict[str, float]]]:
    found: dict[int, list[dict[str, float]]] = {}
    for row in read_csv(path, ("seed", *columns)):
        try:
            values = {column: float(row[column]) for column in columns}
            found.setdefault(int(row["seed"]), []).append(values)
        except ValueError:
            raise UserError(f"{path}: a row is not numbers") from None
    if not found:
        raise UserError(f"{path} has no rows")
    return found
