"""Score every model on the test split, compare them, and write the report.

The only stage that scores anything on the test split; nothing is chosen by it.

Reads:  models/, data/processed/test.npz, reports/{preprocess,augment,tune,train}/
Writes: reports/evaluate/, data/predictions/
"""

import itertools
import sys
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from fashion import command, data, evaluation, hyperparameters, report, results, stage, state
from fashion.errors import UserError
from fashion.evaluation import Comparison, ModelResult
from fashion.files import (
    sha256,
    together,
    write_bytes,
    write_csv,
    write_json,
    write_text,
)
from fashion.parameters import Evaluate, Parameters, read_parameters
from fashion.paths import ModelName, Paths
from fashion.runtime import configure


def main() -> None:
    """Run the stage."""
    command.parser(__doc__).parse_args()
    paths = Paths(Path(__file__).resolve().parents[1])
    parameters = read_parameters(paths.params)
    state.forget_recorded(paths.root)
    named = parameters.train
    names = [
        ModelName(*parts) for parts in itertools.product(named.models, named.data, named.seeds)
    ]
    test = data.read_split(paths.split("test"))
    histories = {name: results.read_history(paths.training(name) / "history.csv") for name in names}
    trained = {
        name: results.read_record(paths.training(name) / "metrics.json", results.TrainingScores)
        for name in names
    }
    keys = {name: trained_key(paths, name) for name in names}
    objective = parameters.tune.search.objective
    searches = [
        report.SearchTable(
            model,
            objective,
            results.read_trials(paths.hyperparameters(model).parent / "trials.csv", objective),
        )
        for model in named.models
    ]
    chosen = {
        model: hyperparameters.read(model, paths.hyperparameters(model)).model_dump(mode="json")
        for model in named.models
    }
    counts = read_counts(paths)

    configure(parameters.threads)
    scored = [score(paths, parameters.evaluate, name, trained[name], test) for name in names]
    comparisons = [
        evaluation.compare(
            first,
            second,
            samples=parameters.evaluate.bootstrap_samples,
            confidence=parameters.evaluate.confidence,
            seed=parameters.seed,
        )
        for first, second in evaluation.pairs(scored)
    ]
    figures = report.figures(scored, comparisons, histories, searches, test)
    content = report.Content(
        results=scored,
        comparisons=comparisons,
        hyperparameters=chosen,
        searches=searches,
        counts=counts,
        confidence=parameters.evaluate.confidence,
        samples=parameters.evaluate.bootstrap_samples,
        bins=parameters.evaluate.calibration_bins,
        figures=figures,
    )
    html, markdown = report.render(content)

    folder = paths.report("evaluate")
    with together():
        write_tables(folder, scored, comparisons, histories)
        for one in scored:
            table = evaluation.predictions_table(one.labels, one.probabilities)
            write_csv(paths.predictions(one.name), *table)
        for file, png in figures.items():
            write_bytes(folder / file, png)
        write_text(folder / "report.html", html)
        write_text(folder / "report.md", markdown)
    keep_only(folder / "figures", {folder / file for file in figures})
    keep_only(paths.predictions(names[0]).parent, {paths.predictions(name) for name in names})
    log(paths, parameters, content, html, keys, data.digest(test))
    print(f"report: {folder.relative_to(paths.root)}/report.html")


def keep_only(folder: Path, kept: Set[Path]) -> None:
    """Delete what an earlier run, of other models, left in a folder that is one output."""
    for path in folder.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()


def trained_key(paths: Paths, name: ModelName) -> str:
    """Return the key of the training that made a model's file.

    Raises:
        UserError: the file is missing, or another than the one that was trained.
    """
    record = results.read_record(paths.training(name) / "model.json", results.TrainedModel)
    if sha256(paths.model(name)) != record.file_sha256:
        raise UserError(
            f"{paths.model(name)} is not the model that reports/train/{name} describes:"
            f" run `dvc repro --force --single-item train@{name}`"
        )
    return record.key


def read_counts(paths: Paths) -> dict[str, list[int]]:
    """Return split → images per class, the augmented training data among them."""
    counts = results.read_class_counts(
        paths.report("preprocess") / "classes.csv", ("train", "val", "test")
    )
    path = paths.report("augment") / "summary.json"
    augmented = results.read_record(path, results.AugmentedData).classes
    if list(augmented) != list(data.CLASS_NAMES):
        raise UserError(f"{path}: classes: expected {', '.join(data.CLASS_NAMES)}")
    return {**counts, "train, augmented": list(augmented.values())}


def score(
    paths: Paths,
    settings: Evaluate,
    name: ModelName,
    trained: results.TrainingScores,
    test: data.Split,
) -> ModelResult:
    """Return what a model says of the test split, and how good that is."""
    from fashion import training

    probabilities = training.predict(training.load_model(paths.model(name)), test.images)
    try:
        result = evaluation.evaluate(
            name,
            test.labels,
            probabilities,
            val={"accuracy": trained.val_accuracy, "log_loss": trained.val_loss},
            bins=settings.calibration_bins,
            confidence=settings.confidence,
        )
    except ValueError as error:  # a model that gives no probabilities
        raise UserError(f"{paths.model(name)}: {error}") from None
    print(
        f"{name}: val accuracy {result.val['accuracy']:.4f},"
        f" test accuracy {result.scores['accuracy']:.4f}",
        flush=True,
    )
    return result


def write_tables(
    folder: Path,
    results: Sequence[ModelResult],
    comparisons: Sequence[Comparison],
    histories: Mapping[ModelName, Mapping[str, Sequence[float]]],
) -> None:
    """Write what others may want to compute with."""
    metrics = evaluation.metrics(results)
    write_json(folder / "metrics.json", metrics)
    write_json(
        folder / "summary.json",
        {
            name: {
                "val_accuracy": scores["val"]["accuracy"],
                "test_accuracy": scores["test"]["accuracy"],
            }
            for name, scores in metrics.items()
        },
    )
    write_json(folder / "comparisons.json", evaluation.comparisons_content(comparisons))
    write_csv(folder / "per_class.csv", *evaluation.per_class_table(results))
    write_csv(folder / "confusion.csv", *evaluation.confusion_table(results))
    write_csv(folder / "calibration.csv", *evaluation.calibration_table(results))
    short = evaluation.keys(histories)
    columns = list(next(iter(histories.values())))
    write_csv(
        folder / "curves.csv",
        ["model", *columns],
        [
            [short[name], *values]
            for name, history in histories.items()
            for values in zip(*history.values(), strict=True)
        ],
    )


def log(
    paths: Paths,
    parameters: Parameters,
    content: report.Content,
    html: str,
    keys: Mapping[ModelName, str],
    test: str,
) -> None:
    """Add the test scores to each model's run, make the comparison's run, name the champions."""
    from fashion import store, tracking

    scored, figures = content.results, content.figures
    digests = {str(result.name): sha256(paths.model(result.name)) for result in scored}
    inputs: dict[str, Any] = {
        "models": digests,
        "test": test,
        "settings": parameters.evaluate.model_dump(mode="json"),
        "seed": parameters.seed,
        "threads": parameters.threads,
    }
    key = state.work_key(paths.root, "evaluate", inputs)
    short = evaluation.keys(result.name for result in scored)
    champions = {
        model: report.best([one for one in scored if one.name.model == model])
        for model in parameters.train.models
    }
    for result in scored:
        name = result.name
        with tracking.reopen_run(
            paths.root,
            store.TRAINING,
            str(name),
            keys[name],
            evaluated=key,
            tags={**name._asdict(), "threads": parameters.threads},
        ) as run:
            run.log_metrics({f"test_{metric}": value for metric, value in result.scores.items()})
            run.log_figure("confusion", figures[f"figures/confusion/{short[name]}.png"])
            run.log_table("confusion", *evaluation.confusion_table([result]))
            run.log_table("per_class", *evaluation.per_class_table([result]))
            run.log_table("calibration", *evaluation.calibration_table([result]))
            if champions[name.model] is result:
                tracking.register_champion(
                    run, f"fashion-mnist-{name.model}", result.val["accuracy"], card(result)
                )
    with tracking.open_run(
        paths.root,
        store.TRAINING,
        "comparison",
        key,
        tags={"seed": parameters.seed, "threads": parameters.threads, "data.test": test},
        description="All models on the test split, side by side; `report.html` tells it whole",
    ) as run:
        run.log_parameters(inputs["settings"] | {"models": sorted(digests)})
        for one in content.comparisons:
            pair = f"{one.second} minus {one.first}"
            run.log_metrics(
                {
                    f"{pair}/test_accuracy": one.difference,
                    f"{pair}/mcnemar_p_value": one.p_value,
                }
            )
        for file, png in figures.items():
            run.log_figure(file.removeprefix("figures/").removesuffix(".png"), png)
        run.log_table("per_class", *evaluation.per_class_table(scored))
        run.log_text("report.html", html)


def card(result: ModelResult) -> str:
    """Return what the registry says of a family's best model."""
    low, high = result.accuracy_interval
    return (
        f"Classifies 28×28 grey pictures of clothes (raw pixels, 0 is background) into ten classes."
        f" Trained on the {result.name.data} Fashion-MNIST training split, seed"
        f" {result.name.seed}; the best of its family by validation accuracy"
        f" ({result.val['accuracy']:.4f}). Test accuracy {result.scores['accuracy']:.4f}"
        f" [{low:.4f}, {high:.4f}]. Not meant for photographs: it has seen nothing but centred"
        f" products on an empty background."
    )


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
