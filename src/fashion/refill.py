"""Fill MLflow from the files of a checkout: a new store, a lost one, or one that was out of reach.

Every search, training and evaluation in reports/, with its curves, figures, models and registered
champions, and what there is of the published systems in replications/results/. The data and models
have to be there (`dvc repro`, or `dvc pull`). What MLflow holds already is left as it is, so that a
second time changes nothing.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashion import command, data, replication, replication_results, results
from fashion.errors import UserError
from fashion.files import md5, read_csv, read_json, sha256
from fashion.parameters import Evaluate, Parameters, read_parameters
from fashion.paths import ModelName, Paths
from fashion.runtime import configure
from fashion.stage import recorded_outputs

if TYPE_CHECKING:
    from fashion import evaluation, tracking, training_log

Histories = dict[int, list[dict[str, float]]]  # trial → rows of its first execution


def main() -> None:
    """Log everything that is not in MLflow."""
    command.parser(__doc__).parse_args()
    paths = Paths(Path(__file__).resolve().parents[2])
    parameters = read_parameters(paths.params)
    named = parameters.train
    names = [
        ModelName(*parts) for parts in itertools.product(named.models, named.data, named.seeds)
    ]
    configure(parameters.threads)
    evaluated = recorded_evaluation(paths, parameters.evaluate, names)
    from fashion import store, training_log  # noqa: PLC0415 (MLflow loads in seconds)

    there = store.open_store(store.store_root(paths.root))
    there.ask(lambda: there.client.search_experiments(max_results=1))
    for model in named.models:
        place, folder = training_log.search_place(model), paths.hyperparameters(model).parent
        histories = checked_histories(paths, model)
        done = refill_search(paths.root, place, model, folder, histories)
        tell(paths.root, place.run, done)
    for name in names:
        tell(paths.root, str(name), refill_training(paths, name))
    refill_evaluation(paths, parameters, names, evaluated)
    tell(paths.root, store.COMPARISON, "in MLflow, and the champions are registered")
    refill_replications(paths.root)


def tell(root: Path, what: str, done: str) -> None:
    """Print what was done, if MLflow still answers.

    Raises:
        UserError: it does not.
    """
    ensure_answering(root)
    print(f"{what}: {done}", flush=True)


def refill_search(
    root: Path, place: "training_log.Place", model: str, folder: Path, histories: Path
) -> str:
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
    from fashion import training_log  # noqa: PLC0415 (MLflow loads in seconds)

    record: dict[str, Any] = read_json(folder / "search.json")
    curves = first_executions(histories)
    with training_log.search_run(root, place, model, record) as run:
        ensure_reached(run)
        if run.complete:
            return "was there"
        ended = {trial["number"] for trial in record["trials"] if trial["scores"] is not None}
        if lacking := sorted(ended - curves.keys()):
            raise UserError(f"{histories} lacks trial {lacking[0]}: run `dvc checkout`")
        objective = record["settings"]["objective"]
        header, *rows = table(results.read_trials(folder / "trials.csv", objective))
        chosen = json.dumps(read_json(folder / "hyperparameters.json"), indent=2)
        training_log.log_search(run, place, model, record, curves, (header, rows), chosen)
    return "logged"


def refill_training(paths: Paths, name: ModelName) -> str:
    """Log a trained model; return what was to be done."""
    from fashion import training, training_log  # noqa: PLC0415 (TensorFlow loads in seconds)

    folder = paths.training(name)
    record: dict[str, Any] = read_json(folder / "model.json")
    history = results.read_history(folder / "history.csv")
    rows = [
        dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)
    ]
    with training_log.training_run(paths.root, name, record) as run:
        ensure_reached(run)
        if run.complete:
            return "was there"
        model = training.load_model(checked_model(paths.model(name), record))
        example = data.read_split(paths.split("val")).images[:1]
        scores = read_json(folder / "metrics.json")
        counts = seen(paths, name)
        training_log.log_training(run, name, record, counts, rows, scores, model, example)
    return "logged"


def refill_evaluation(
    paths: Paths, parameters: Parameters, names: list[ModelName], record: "training_log.Record"
) -> None:
    """Log the test scores, the comparison and the champions; the record: of the evaluation."""
    from fashion import evaluation_log  # noqa: PLC0415 (MLflow loads in seconds)

    folder = paths.report("evaluate")
    evaluation_log.log_evaluation(
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


def refill_replications(root: Path) -> None:
    """Log the published systems: what `make replications` has run of its plan on these data."""
    from fashion import training_log  # noqa: PLC0415 (MLflow loads in seconds)

    found = root / "replications/results"
    plan = replication_results.what_ran(
        replication.read_plan(root / "replications/params.yaml"),
        found,
        replication_results.read_digests(Paths(root)),
    )
    for name, part in plan.searches.items():
        folder, place = found / "searches" / name, training_log.replication_place(name)
        done = refill_search(root, place, part.model, folder, folder / "histories.csv")
        tell(root, place.run, done)
    for name, model in plan.trained.items():
        tell(root, name, refill_system(root, name, model))


def refill_system(root: Path, name: str, part: replication.SystemModel) -> str:
    """Log a model of a published system, every seed of it; return what was to be done."""
    from fashion import replicas  # noqa: PLC0415 (TensorFlow loads in seconds)

    folder = root / "replications/results/models" / name
    record = read_json(folder / "record.json")
    logged = 0
    for seed, replica in replication_results.read_replicas(folder).items():
        with replicas.opened(root, name, part, seed, record) as run:
            ensure_reached(run)
            if not run.complete:
                replicas.log(run, part, seed, record, replica)
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


def checked_scores(
    recorded: Path, found: Sequence["evaluation.ModelResult"]
) -> Sequence["evaluation.ModelResult"]:
    """Return the results, if they have the accuracies that were recorded.

    Args:
        recorded: reports/evaluate/metrics.json.
        found: from the predictions and trainings that are there now.

    Raises:
        UserError: a model was trained again since, or its predictions are others.
    """
    from fashion import evaluation  # noqa: PLC0415 (scikit-learn loads in seconds)

    metrics = read_json(recorded)
    for model, scores in evaluation.metrics(found).items():
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
    from fashion import evaluation  # noqa: PLC0415 (scikit-learn loads in seconds)

    folder = paths.report("evaluate")
    recorded: dict[str, Any] = read_json(folder / "evaluation.json")
    models = set(read_json(folder / "metrics.json"))
    asked = set(evaluation.keys(names).values())
    if not isinstance(recorded, dict) or "settings" not in recorded:
        raise UserError(f"{folder / 'evaluation.json'} is damaged: run `dvc repro evaluate`")
    if recorded["settings"] != settings.model_dump(mode="json") or models != asked:
        raise UserError(
            "params.yaml asks for another evaluation than the recorded: run `dvc repro`"
        )
    return recorded


def ensure_reached(run: "tracking.Run") -> None:
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
    from fashion import store  # noqa: PLC0415 (MLflow loads in seconds)

    if store.open_store(store.store_root(root)).failure:
        raise UserError("MLflow does not answer any more, so something is missing: run again")


def scored(paths: Paths, settings: Evaluate, name: ModelName) -> Any:
    """Return a model's result from its predictions."""
    from fashion import evaluation  # noqa: PLC0415 (scikit-learn loads in seconds)

    predictions = evaluation.read_predictions(paths.predictions(name))
    trained = results.read_record(paths.training(name) / "metrics.json", results.TrainingScores)
    return evaluation.evaluate(
        name,
        predictions.labels,
        predictions.probabilities,
        val={"accuracy": trained.val_accuracy, "log_loss": trained.val_loss},
        bins=settings.calibration_bins,
        confidence=settings.confidence,
    )


def seen(paths: Paths, name: ModelName) -> dict[str, dict[str, int]]:
    """Return how many images of each class a model was trained and validated on."""
    counts = results.read_class_counts(paths.report("preprocess") / "classes.csv", ("train", "val"))
    by_class = {
        split: dict(zip(data.CLASS_NAMES, found, strict=True)) for split, found in counts.items()
    }
    if name.data == "augmented":
        summary = paths.report("augment") / "summary.json"
        by_class["train"] = results.read_record(summary, results.AugmentedData).classes
    return {name.data: by_class["train"], "val": by_class["val"]}


def first_executions(path: Path) -> Histories:
    """Return the curves of each trial's first execution.

    Raises:
        UserError: the file is missing, or is no table of epochs.
    """
    found: Histories = {}
    for row in read_csv(path, ("trial", "execution", *results.HISTORY)):
        if row["execution"] == "1":
            try:
                epoch = {column: float(row[column]) for column in results.HISTORY}
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
