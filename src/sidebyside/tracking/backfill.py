"""Fill MLflow from the files of a checkout: a new store, a lost one, or one that was out of reach.

Every search, training and evaluation in reports/, with its curves, figures, models and registered
champions, and what there is of the published systems in replications/results/. The data and models
have to be there (`dvc repro`, or `dvc pull`). What MLflow holds already is left as it is, so that a
second time changes nothing.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidebyside.config import schemas
from sidebyside.config.dataset import CLASS_NAMES
from sidebyside.config.parameters import Evaluate, Parameters, read_parameters
from sidebyside.config.paths import CHECKOUT, ModelName, Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import md5, read_csv, read_json, sha256
from sidebyside.data.npz import read_split
from sidebyside.models.tensorflow_setup import configure
from sidebyside.workflow import command
from sidebyside.workflow.graph import recorded_outputs
from study.plan import SystemModel, read_plan
from study.comparison.results import read_digests, read_runs, completed

if TYPE_CHECKING:
    from sidebyside.evaluation.results import ModelResult
    from sidebyside.tracking.runs import Run
    from sidebyside.tracking.stages import Place, Record

Histories = dict[int, list[dict[str, float]]]  # trial → rows of its first execution


def main() -> None:
    """Log everything that is not in MLflow."""
    command.parser(__doc__).parse_args()
    paths = Paths(CHECKOUT)
    parameters = read_parameters(paths.params)
    named = parameters.train
    names = [
        ModelName(*parts) for parts in itertools.product(named.models, named.data, named.seeds)
    ]
    configure(parameters.threads)
    evaluated = recorded_evaluation(paths, parameters.evaluate, names)
    from sidebyside.tracking import stages, store  # noqa: PLC0415 (MLflow loads in seconds)
    from sidebyside.tracking.views import COMPARISON

    there = store.open_store(store.store_root(paths.root))
    there.ask(lambda: there.client.search_experiments(max_results=1))
    for model in named.models:
        place, folder = stages.search_place(model), paths.hyperparameters(model).parent
        histories = checked_histories(paths, model)
        done = backfill_search(paths.root, place, model, folder, histories)
        report(paths.root, place.run, done)
    for name in names:
        report(paths.root, str(name), backfill_training(paths, name))
    backfill_evaluation(paths, parameters, names, evaluated)
    report(paths.root, COMPARISON, "in MLflow, and the champions are registered")
    backfill_replications(paths.root)


def report(root: Path, what: str, done: str) -> None:
    """Print what was done, if MLflow still answers.

    Raises:
        UserError: it does not.
    """
    ensure_answering(root)
    print(f"{what}: {done}", flush=True)


def backfill_search(root: Path, place: "Place", model: str, folder: Path, histories: Path) -> str:
    """Log a search with its trials; return what was to be done.

    Args:
        root: the checkout.
        place: of the search.
        model: the architecture.
        folder: of its results.
        histories: the table of its trials' curves.

    Raises:
        UserError: a file is missing, or lacks a trial.
    """
    from sidebyside.tracking import stages  # noqa: PLC0415 (MLflow loads in seconds)

    record: dict[str, Any] = read_json(folder / "search.json")
    curves = first_executions(histories)
    with stages.search_run(root, place, model, record) as run:
        ensure_reached(run)
        if run.complete:
            return "was there"
        ended = {trial["number"] for trial in record["trials"] if trial["scores"] is not None}
        if lacking := sorted(ended - curves.keys()):
            raise UserError(f"{histories} lacks trial {lacking[0]}: run `dvc checkout`")
        objective = record["settings"]["objective"]
        header, *rows = table(schemas.read_trials(folder / "trials.csv", objective))
        chosen = read_json(folder / "hyperparameters.json")
        stages.log_search(run, place, model, record, curves, (header, rows), chosen)
    return "logged"


def backfill_training(paths: Paths, name: ModelName) -> str:
    """Log a trained model; return what was to be done."""
    from sidebyside.models.saving import load_model
    from sidebyside.tracking import stages  # noqa: PLC0415 (TensorFlow loads in seconds)

    folder = paths.training(name)
    record: dict[str, Any] = read_json(folder / "model.json")
    history = schemas.read_history(folder / "history.csv")
    rows = [
        dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)
    ]
    with stages.training_run(paths.root, name, record) as run:
        ensure_reached(run)
        if run.complete:
            return "was there"
        model = load_model(checked_model(paths.model(name), record))
        example = read_split(paths.split("val")).images[:1]
        scores = read_json(folder / "metrics.json")
        counts = class_counts_seen(paths, name)
        stages.log_training(run, name, record, counts, rows, scores, model, example)
    return "logged"


def backfill_evaluation(
    paths: Paths, parameters: Parameters, names: list[ModelName], record: "Record"
) -> None:
    """Log the test scores, the comparison and the champions; the record: of the evaluation."""
    from sidebyside.tracking import evaluation  # noqa: PLC0415 (MLflow loads in seconds)

    folder = paths.report("evaluate")
    evaluation.log_evaluation(
        paths.root,
        record,
        {name: read_json(paths.training(name) / "model.json") for name in names},
        checked_scores(
            folder / "metrics.json", [scored(paths, parameters.evaluate, name) for name in names]
        ),
        read_json(folder / "comparisons.json"),
        {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in sorted((folder / "figures").rglob("*.png"))
        },
        (folder / "report.html").read_text(encoding="utf-8"),
    )


def backfill_replications(root: Path) -> None:
    """Log the published systems: what `make replications` has run of its plan on these data."""
    from sidebyside.tracking import stages  # noqa: PLC0415 (MLflow loads in seconds)

    found = root / "replications/results"
    plan = completed(
        read_plan(root / "replications/params.yaml"),
        found,
        read_digests(Paths(root)),
    )
    for name, part in plan.searches.items():
        folder, place = found / "searches" / name, stages.replication_place(name)
        done = backfill_search(root, place, part.model, folder, folder / "histories.csv")
        report(root, place.run, done)
    for name, model in plan.trained.items():
        report(root, name, backfill_system(root, name, model))


def backfill_system(root: Path, name: str, part: SystemModel) -> str:
    """Log a model of a published system, every seed of it; return what was to be done."""
    from study import tracking  # noqa: PLC0415 (TensorFlow loads in seconds)

    folder = root / "replications/results/models" / name
    record = read_json(folder / "record.json")
    logged = 0
    for seed, replica in read_runs(folder).items():
        with tracking.open_model_run(root, name, part, seed, record) as run:
            ensure_reached(run)
            if not run.complete:
                tracking.log_model_run(run, part, seed, record, replica)
                logged += 1
    return f"{logged} logged" if logged else "was there"


def checked_model(path: Path, record: Mapping[str, Any]) -> Path:
    """Return the path of a model's file, if that is the one whose training is recorded.

    Raises:
        UserError: it is another one.
    """
    if path.is_file() and sha256(path) != record["file_sha256"]:
        raise UserError(f"{path} is not the model whose training is recorded: run `dvc checkout`")
    return path


def checked_histories(paths: Paths, model: str) -> Path:
    """Return the path of the curves of a search's trials, if they are those of that search.

    Raises:
        UserError: they are not, or are missing.
    """
    path = paths.trial_histories(model)
    if not path.is_file():
        raise UserError(f"{path} is missing: run `dvc checkout`, or `dvc pull` first")
    recorded = recorded_outputs(paths.root).get(path.relative_to(paths.root).as_posix())
    if recorded != md5(path):
        raise UserError(
            f"{path} is not of the search that is recorded: run `dvc checkout`, or `dvc repro`"
        )
    return path


def checked_scores(recorded: Path, found: Sequence["ModelResult"]) -> Sequence["ModelResult"]:
    """Return the results, if they have the accuracies that were recorded.

    Args:
        recorded: reports/evaluate/metrics.json.
        found: from the predictions and trainings that are there now.

    Raises:
        UserError: a model was trained again since, or its predictions are others.
    """
    from sidebyside.evaluation.results import metrics_content  # noqa: PLC0415 (scikit-learn loads in seconds)

    metrics = read_json(recorded)
    for model, scores in metrics_content(found).items():
        for split in ("val", "test"):
            if metrics[model][split]["accuracy"] != scores[split]["accuracy"]:
                raise UserError(
                    f"{model} is not the model that was evaluated, or its predictions are not:"
                    " run `dvc repro`, or `dvc checkout` for those that are recorded"
                )
    return found


def recorded_evaluation(
    paths: Paths, settings: Evaluate, names: Sequence[ModelName]
) -> dict[str, Any]:
    """Return the content of evaluation.json, if that is the evaluation params.yaml asks for.

    Raises:
        UserError: it is another one, or a file is missing or damaged.
    """
    from sidebyside.evaluation.results import short_names  # noqa: PLC0415 (scikit-learn loads in seconds)

    folder = paths.report("evaluate")
    recorded: dict[str, Any] = read_json(folder / "evaluation.json")
    models = set(read_json(folder / "metrics.json"))
    asked = set(short_names(names).values())
    if not isinstance(recorded, dict) or "settings" not in recorded:
        raise UserError(f"{folder / 'evaluation.json'} is damaged: run `dvc repro evaluate`")
    if recorded["settings"] != settings.model_dump(mode="json") or models != asked:
        raise UserError(
            "params.yaml asks for another evaluation than the recorded: run `dvc repro`"
        )
    return recorded


def ensure_reached(run: "Run") -> None:
    """Stop where MLflow is out of reach: a training goes on without it, but this is all there is.

    Raises:
        UserError: the run could not be opened.
    """
    if run.run_id is None:
        raise UserError("MLflow cannot be reached, so nothing more is logged: start it, run again")


def ensure_answering(root: Path) -> None:
    """Stop if MLflow has not answered in the end, so that nothing is said to be logged.

    Raises:
        UserError: so it is.
    """
    from sidebyside.tracking import store  # noqa: PLC0415 (MLflow loads in seconds)

    if store.open_store(store.store_root(root)).failure:
        raise UserError("MLflow does not answer any more, so something is missing: run again")


def scored(paths: Paths, settings: Evaluate, name: ModelName) -> Any:
    """Return a model's result from its predictions."""
    from sidebyside.evaluation.predictions import read_predictions
    from sidebyside.evaluation.results import evaluate_model  # noqa: PLC0415 (scikit-learn loads in seconds)

    predictions = read_predictions(paths.predictions(name))
    trained = schemas.read_record(paths.training(name) / "metrics.json", schemas.TrainingScores)
    return evaluate_model(
        name,
        predictions.labels,
        predictions.probabilities,
        val={"accuracy": trained.val_accuracy, "log_loss": trained.val_loss},
        bins=settings.calibration_bins,
        confidence=settings.confidence,
    )


def class_counts_seen(paths: Paths, name: ModelName) -> dict[str, dict[str, int]]:
    """Return how many images of each class a model was trained and validated on."""
    counts = schemas.read_class_counts(paths.report("preprocess") / "classes.csv", ("train", "val"))
    by_class = {
        split: dict(zip(CLASS_NAMES, found, strict=True)) for split, found in counts.items()
    }
    if name.data == "augmented":
        summary = paths.report("augment") / "summary.json"
        by_class["train"] = schemas.read_record(summary, schemas.AugmentationSummary).classes
    return {name.data: by_class["train"], "val": by_class["val"]}


def first_executions(path: Path) -> Histories:
    """Return the curves of each trial's first execution.

    Raises:
        UserError: the file is missing, or is no table of epochs.
    """
    found: Histories = {}
    for row in read_csv(path, ("trial", "execution", *schemas.HISTORY_COLUMNS)):
        if row["execution"] == "1":
            try:
                epoch = {column: float(row[column]) for column in schemas.HISTORY_COLUMNS}
                found.setdefault(int(row["trial"]), []).append(epoch)
            except ValueError:
                raise UserError(f"{path}: a row is not numbers") from None
    return found


def table(rows: Sequence[Mapping[str, str]]) -> list[list[Any]]:
    """Return header and rows of a table, cells as the values they stand for."""
    return [list(rows[0]), *([value(cell) for cell in row.values()] for row in rows)]


def value(text: str) -> bool | int | float | str:
    """Return a cell as the number or truth value it is, or as it stands."""
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
