"""Log all results of a checkout that are missing in MLflow.

Use this if the store is new, was deleted, or could not be reached during a run. Every search,
training and evaluation in reports/ is logged with its curves, figures and models, to the
experiments of its data set, and the champions are registered. Runs that are already in MLflow are
compared with the results: parameters, values of metrics by epoch, data sets, and files by their
content (the files of a model on a server by their size). Only missing entries are logged, so a
second call changes nothing. The data and models have to be present: run `dvc repro`, or `dvc pull`.
"""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sidebyside.config import result_files
from sidebyside.config.dataset import Dataset, read_dataset
from sidebyside.config.parameters import Evaluate, Parameters, read_parameters
from sidebyside.config.paths import CHECKOUT, ModelName, Paths
from sidebyside.config.validation import read_record
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_csv, read_json
from sidebyside.data.npz import read_split
from sidebyside.evaluation.predictions import read_predictions
from sidebyside.evaluation.results import (
    ModelResult,
    evaluate_model,
    short_names,
)
from sidebyside.models.tensorflow_setup import configure
from sidebyside.tracking.evaluation import log_evaluation
from sidebyside.tracking.index import Index
from sidebyside.tracking.origin import Record, find_origin
from sidebyside.tracking.run import Run
from sidebyside.tracking.search import TrackedSearch, log_search, open_search, tuning
from sidebyside.tracking.store import open_store, store_root
from sidebyside.tracking.training import log_training, open_training, training_origin
from sidebyside.tracking.views import COMPARISON
from sidebyside.workflow import command, graph, integrity

Histories = dict[int, list[dict[str, float]]]  # trial → rows of its first execution

LOGGED, PRESENT = "logged", "already in MLflow"  # otherwise, the entries that had been lost


def main() -> None:
    """Log everything that is not in MLflow yet."""
    command.parser(__doc__).parse_args()
    paths = Paths(CHECKOUT)
    parameters = read_parameters(paths.params)
    dataset = read_dataset(paths.dataset)
    settings = parameters.train
    names = [
        ModelName(*parts)
        for parts in itertools.product(settings.models, settings.data, settings.seeds)
    ]
    configure(parameters.threads)
    integrity.require_unchanged(paths.root, ["*"])
    evaluation = read_evaluation(paths, parameters.evaluate, names)
    ensure_started(paths.root)
    for model in settings.models:
        print(f"search-{model}: {backfill_tuning(paths, dataset, model)}", flush=True)
    for name in names:
        print(f"{name}: {backfill_training(paths, dataset, name)}", flush=True)
    status = backfill_evaluation(paths, dataset, parameters, names, evaluation)
    print(f"{COMPARISON}: {status}, champions registered", flush=True)


def status_of(runs: Sequence[Run]) -> str:
    """Return LOGGED, PRESENT, or the number of entries that complete runs had lost.

    Raises:
        UserError: a run could not be opened, or MLflow has not stored an entry.
    """
    added: Counter[str] = Counter()
    for run in runs:
        ensure_opened(run)
        if run.missed:
            raise UserError("MLflow has not stored all entries: run the same command again")
        added += run.added
    if not all(run.marked for run in runs):
        return LOGGED
    lost = ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in added.items())
    return f"{LOGGED} again: {lost}" if lost else PRESENT


def backfill_tuning(paths: Paths, dataset: Dataset, model: str) -> str:
    """Log the search of the tune stage for an architecture; return its status."""
    folder, histories = paths.hyperparameters(model).parent, paths.trial_histories(model)
    origin = find_origin(paths.root, f"tune@{model}", search_outputs(folder, histories))
    result_files.require_data(folder / "search.json", dataset, "val")
    search = tuning(dataset, model, origin, read_json(folder / "search.json"))
    return backfill_search(paths.root, search, folder, histories)


def search_outputs(folder: Path, histories: Path) -> list[Path]:
    """Return the files that a search writes.

    Args:
        folder: folder of its results.
        histories: table of the curves of its trials.
    """
    names = ("trials.csv", "search.json", "hyperparameters.json")
    return [*(folder / name for name in names), histories]


def backfill_search(root: Path, search: TrackedSearch, folder: Path, histories: Path) -> str:
    """Log a search with its trials; return its status.

    Args:
        root: root of the checkout.
        search: the search.
        folder: folder of its results.
        histories: table of the curves of its trials.

    Raises:
        UserError: a file is missing, or lacks a trial.
    """
    record, curves = search.record, first_executions(histories)
    with open_search(root, search) as run:
        ensure_opened(run)
        complete = {trial["number"] for trial in record["trials"] if trial["scores"] is not None}
        if missing := sorted(complete - curves.keys()):
            raise UserError(f"{histories} lacks trial {missing[0]}: {integrity.rerun(histories)}")
        objective = record["settings"]["objective"]
        header, *rows = parse_table(result_files.read_trials(folder / "trials.csv", objective))
        chosen = read_json(folder / "hyperparameters.json")
        log_search(run, search, record, curves, (header, rows), chosen)
    return status_of([run])


def backfill_training(paths: Paths, dataset: Dataset, name: ModelName) -> str:
    """Log a trained model; return its status."""
    folder = paths.training(name)
    result_files.require_data(folder / "model.json", dataset, "val")
    record: Record = read_json(folder / "model.json")
    history = result_files.read_history(folder / "history.csv")
    rows = [
        dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)
    ]
    origin = training_origin(paths, name)
    with open_training(paths.root, dataset, name, record, origin) as run:
        ensure_opened(run)
        example = read_split(paths.split("val"), dataset).images[:1]
        scores = read_json(folder / "metrics.json")
        counts = class_counts(paths, dataset, name)
        log_training(
            run,
            dataset,
            name,
            record,
            counts,
            rows,
            scores,
            paths.model(name),
            example,
            origin.machine,
        )
    return status_of([run])


def backfill_evaluation(
    paths: Paths,
    dataset: Dataset,
    parameters: Parameters,
    names: Sequence[ModelName],
    record: Record,
) -> str:
    """Log the test scores, the comparison and the champions; return the status.

    Args:
        paths: paths of the checkout.
        dataset: the data set.
        parameters: the content of params.yaml.
        names: the trained models.
        record: the content of reports/evaluate/evaluation.json.

    Raises:
        UserError: a file is missing, or the results are of other models.
    """
    folder = paths.report("evaluate")
    result_files.require_data(folder / "evaluation.json", dataset, "test")
    outputs = [paths.root / name for name in graph.stage_outputs(paths.root, "evaluate")]
    runs = log_evaluation(
        paths.root,
        dataset,
        record,
        find_origin(paths.root, "evaluate", outputs),
        {name: training_origin(paths, name).key for name in names},
        checked_results(
            folder / "metrics.json",
            [read_result(paths, dataset, parameters.evaluate, name) for name in names],
        ),
        read_json(folder / "comparisons.json"),
        {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in sorted((folder / "figures").rglob("*.png"))
        },
        (folder / "report.html").read_text(encoding="utf-8"),
    )
    return status_of(runs)


def checked_results(recorded: Path, results: Sequence[ModelResult]) -> Sequence[ModelResult]:
    """Return the results, if they have the recorded accuracies.

    Args:
        recorded: reports/evaluate/metrics.json.
        results: results computed from the present predictions and trainings.

    Raises:
        UserError: a model was trained again since, or its predictions differ.
    """
    metrics, named = read_json(recorded), short_names(result.name for result in results)
    for result in results:
        model = named[result.name]
        for split, scores in (("val", result.val), ("test", result.scores)):
            if metrics[model][split]["accuracy"] != scores["accuracy"]:
                raise UserError(
                    f"{model}: {split} accuracy differs from {recorded}: run `dvc repro`"
                )
    return results


def read_evaluation(paths: Paths, settings: Evaluate, names: Sequence[ModelName]) -> dict[str, Any]:
    """Return the content of evaluation.json, if it has the settings and models of params.yaml.

    Raises:
        UserError: params.yaml has other settings or models, or a file is missing or damaged.
    """
    folder = paths.report("evaluate")
    recorded: dict[str, Any] = read_json(folder / "evaluation.json")
    if not isinstance(recorded, dict) or "settings" not in recorded:
        file = folder / "evaluation.json"
        raise UserError(f"{file} is damaged: {integrity.rerun(file)}")
    models, expected = set(read_json(folder / "metrics.json")), set(short_names(names).values())
    if recorded["settings"] != settings.model_dump(mode="json") or models != expected:
        raise UserError(
            "reports/evaluate has other settings or models than params.yaml: run `dvc repro`"
        )
    return recorded


def ensure_started(root: Path) -> None:
    """Read the runs that are in MLflow; from now on, a call that fails is an error.

    Raises:
        UserError: MLflow cannot be reached.
    """
    store = open_store(store_root(root))
    store.guard.required = True
    store.index = Index(store)


def ensure_opened(run: Run) -> None:
    """Stop if a run could not be opened: a stage continues without MLflow, a backfill cannot.

    Raises:
        UserError: the run could not be opened.
    """
    if run.holder is not None:
        raise UserError(f"{run.holder} is logging a run: wait for it to end")
    if run.run_id is None:
        raise UserError("MLflow has no run for these results: run the same command again")


def read_result(paths: Paths, dataset: Dataset, settings: Evaluate, name: ModelName) -> ModelResult:
    """Return a model's result, computed from its predictions."""
    predictions = read_predictions(paths.predictions(name), dataset.classes)
    trained = read_record(paths.training(name) / "metrics.json", result_files.TrainingScores)
    return evaluate_model(
        name,
        predictions.labels,
        predictions.probabilities,
        dataset.class_names,
        val={"accuracy": trained.val_accuracy, "log_loss": trained.val_loss},
        near_duplicates=result_files.read_near_duplicates(
            paths.report("preprocess") / "near_duplicates.csv", len(predictions.labels)
        ),
        bins=settings.calibration_bins,
        confidence=settings.confidence,
    )


def class_counts(paths: Paths, dataset: Dataset, name: ModelName) -> dict[str, dict[str, int]]:
    """Return the number of images per class in a model's training data and in val."""
    counts = result_files.read_class_counts(
        paths.report("preprocess") / "classes.csv", ("train", "val"), dataset.class_names
    )
    by_class = {
        split: dict(zip(dataset.class_names, images, strict=True))
        for split, images in counts.items()
    }
    if name.data == "augmented":
        summary = paths.report("augment") / "summary.json"
        by_class["train"] = read_record(summary, result_files.AugmentationSummary).classes
    return {name.data: by_class["train"], "val": by_class["val"]}


def first_executions(path: Path) -> Histories:
    """Return the curves of each trial's first execution.

    Raises:
        UserError: the file is missing, or is not a table of epochs.
    """
    curves: Histories = {}
    for row in read_csv(path, ("trial", "execution", *result_files.HISTORY_COLUMNS)):
        if row["execution"] == "1":
            try:
                epoch = {column: float(row[column]) for column in result_files.HISTORY_COLUMNS}
                curves.setdefault(int(row["trial"]), []).append(epoch)
            except ValueError:
                advice = integrity.rerun(path)
                raise UserError(f"{path}: a cell is not a number: {advice}") from None
    return curves


def parse_table(rows: Sequence[Mapping[str, str]]) -> list[list[Any]]:
    """Return header and rows of a table, with cells as numbers and truth values."""
    return [list(rows[0]), *([parse_cell(cell) for cell in row.values()] for row in rows)]


def parse_cell(text: str) -> bool | int | float | str:
    """Return a cell as a truth value or a number if it is one, else as text."""
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


if __name__ == "__main__":
    command.run(main)
