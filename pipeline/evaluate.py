"""Score every model on the test split, compare them, and write the report.

No other stage uses the test split, and no choice depends on its scores.

Reads:  models/, data/processed/{val,test}.npz, reports/{preprocess,augment,tune,train}/
Writes: reports/evaluate/, data/predictions/
"""

import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sidebyside.config import hyperparameters, result_files
from sidebyside.config.dataset import Dataset, read_dataset
from sidebyside.config.parameters import Evaluate, Parameters, read_parameters
from sidebyside.config.paths import ModelName, Paths
from sidebyside.config.validation import read_record
from sidebyside.core.errors import UserError
from sidebyside.core.files import (
    keep_only,
    sha256,
    write_atomically,
    write_bytes,
    write_json,
    write_text,
)
from sidebyside.core.fingerprint import machine_facts
from sidebyside.data.npz import read_split
from sidebyside.data.splits import Split, split_digest
from sidebyside.evaluation.dropped_models import remove_dropped_models
from sidebyside.evaluation.paired_tests import compare_all, comparisons_content
from sidebyside.evaluation.predictions import predicted_labels, predictions_table
from sidebyside.evaluation.results import (
    ModelResult,
    calibration_table,
    confusion_table,
    curves_table,
    evaluate_model,
    metrics_content,
    per_class_table,
)
from sidebyside.evaluation.selection import best_model
from sidebyside.models.tensorflow_setup import configure
from sidebyside.reporting import report, report_figures
from sidebyside.reporting.choice import Cost, compare_with_best
from sidebyside.reporting.report_content import Content, SearchTable
from sidebyside.workflow import command, graph, provenance, resume, stage

AUGMENTED = "train, augmented"  # the split of the augmented training data in the report


class Evaluated(NamedTuple):
    """A model's results on the test split, and what the choice of a model is based on."""

    result: ModelResult
    val_correct: NDArray[np.bool_]  # whether it classifies each validation image correctly, [N]
    parameters: int
    operations: int  # floating-point operations per image


def main() -> None:
    """Run the stage."""
    command.parser(__doc__).parse_args()
    paths = Paths(Path(__file__).resolve().parents[1])
    parameters = read_parameters(paths.params)
    resume.forget_recorded(paths.root)
    named = parameters.train
    names = [
        ModelName(*parts) for parts in itertools.product(named.models, named.data, named.seeds)
    ]
    dataset = read_dataset(paths.dataset)
    val = read_split(paths.split("val"), dataset)
    test = read_split(paths.split("test"), dataset)
    histories = {
        name: result_files.read_history(paths.training(name) / "history.csv") for name in names
    }
    trained = {
        name: read_record(paths.training(name) / "metrics.json", result_files.TrainingScores)
        for name in names
    }
    for name in names:
        check_model(paths, name)
        result_files.require_data(paths.training(name) / "model.json", dataset, "val")
    searches = read_searches(paths, parameters)
    chosen = {
        model: hyperparameters.read_hyperparameters(model, paths.hyperparameters(model)).model_dump(
            mode="json"
        )
        for model in named.models
    }
    counts = read_counts(paths, dataset)
    near_duplicates = result_files.read_near_duplicates(
        paths.report("preprocess") / "near_duplicates.csv", len(test)
    )

    configure(parameters.threads)
    evaluated = {
        name: evaluate(
            paths, parameters.evaluate, name, trained[name], val, test, dataset, near_duplicates
        )
        for name in names
    }
    scored = [one.result for one in evaluated.values()]
    training_images = {"original": sum(counts["train"]), "augmented": sum(counts[AUGMENTED])}
    bootstrap: dict[str, Any] = {
        "samples": parameters.evaluate.bootstrap_samples,
        "confidence": parameters.evaluate.confidence,
        "seed": parameters.seed,
    }
    comparisons = compare_all(scored, **bootstrap)
    figures = report_figures.draw(
        dataset.class_names,
        scored,
        histories,
        {name: one.best_epoch for name, one in trained.items()},
        searches,
        test,
        **bootstrap,
    )
    content = Content(
        dataset=dataset,
        results=scored,
        comparisons=comparisons,
        hyperparameters=chosen,
        searches=searches,
        trial_images=parameters.tune.search.images,
        trial_epochs=parameters.tune.search.epochs,
        counts=counts,
        confidence=parameters.evaluate.confidence,
        samples=parameters.evaluate.bootstrap_samples,
        bins=parameters.evaluate.calibration_bins,
        figures=figures,
        costs={
            name: Cost(one.operations, one.parameters, training_images[name.data])
            for name, one in evaluated.items()
        },
        val_images=len(val),
        val_comparisons=compare_with_best(
            best_model(scored).name,
            {name: one.val_correct for name, one in evaluated.items()},
            **bootstrap,
        ),
    )
    html, markdown = report.render(content)

    folder = paths.report("evaluate")
    compared = comparisons_content(comparisons, dataset.class_names)
    inputs = evaluation_inputs(paths, parameters, dataset, names, split_digest(test))
    key = resume.work_key(paths.root, "evaluate", inputs)
    machine = machine_facts(parameters.threads)
    made = {
        "seed": parameters.seed,
        "settings": inputs["settings"],
        "data_sha256": {"test": inputs["test"]},
    }
    with write_atomically():
        write_tables(folder, scored, compared, histories)
        write_json(folder / "evaluation.json", made)
        for one in scored:
            table = predictions_table(one.labels, one.probabilities)
            write_table(paths.predictions(one.name), table)
        write_report(folder, figures, html, markdown)
    keep_only(folder / "figures", {folder / file for file in figures})
    keep_only(paths.predictions(names[0]).parent, {paths.predictions(name) for name in names})
    if removed := remove_dropped_models(paths, names):
        print(f"removed files of models that params.yaml does not name: {', '.join(removed)}")
    outputs = [paths.root / name for name in graph.stage_outputs(paths.root, "evaluate")]
    provenance.write(paths.root, "evaluate", key, machine, outputs)
    from sidebyside.tracking.evaluation import log_evaluation
    from sidebyside.tracking.origin import Origin
    from sidebyside.tracking.training import training_key

    log_evaluation(
        paths.root,
        dataset,
        made,
        Origin("evaluate", key, machine),
        {name: training_key(paths, name) for name in names},
        scored,
        compared,
        figures,
        html,
    )
    print(f"report: {folder.relative_to(paths.root)}/report.html")


def check_model(paths: Paths, name: ModelName) -> None:
    """Check that a model's file is the one that its model.json describes.

    Raises:
        UserError: a file is missing, or model.json describes a different model.
    """
    file = paths.training(name) / "model.json"
    record = read_record(file, result_files.TrainedModel)
    if sha256(paths.model(name)) != record.file_sha256:
        raise UserError(
            f"{paths.model(name)} is not the model that reports/train/{name} describes:"
            f" run `dvc repro --force --single-item train@{name}`"
        )


def read_searches(paths: Paths, parameters: Parameters) -> list[SearchTable]:
    """Return the trials of every architecture's search.

    Raises:
        UserError: a file is missing or malformed.
    """
    objective = parameters.tune.search.objective
    folders = {model: paths.hyperparameters(model).parent for model in parameters.train.models}
    return [
        SearchTable(model, objective, result_files.read_trials(folder / "trials.csv", objective))
        for model, folder in folders.items()
    ]


def read_counts(paths: Paths, dataset: Dataset) -> dict[str, list[int]]:
    """Return split → images per class, including the augmented training data.

    Raises:
        UserError: a file is missing or malformed.
    """
    counts = result_files.read_class_counts(
        paths.report("preprocess") / "classes.csv", ("train", "val", "test"), dataset.class_names
    )
    path = paths.report("augment") / "summary.json"
    augmented = read_record(path, result_files.AugmentationSummary).classes
    if list(augmented) != list(dataset.class_names):
        raise UserError(f"{path}: classes: expected {', '.join(dataset.class_names)}")
    return {**counts, AUGMENTED: list(augmented.values())}


def evaluate(
    paths: Paths,
    settings: Evaluate,
    name: ModelName,
    trained: result_files.TrainingScores,
    val: Split,
    test: Split,
    dataset: Dataset,
    near_duplicates: Sequence[int],
) -> Evaluated:
    """Predict the validation and test splits with a model, evaluate it and measure its cost.

    Raises:
        UserError: the model's file is missing or damaged, or its outputs are not probabilities.
    """
    from sidebyside.models.inference import predict_probabilities
    from sidebyside.models.loading import load_model

    model = load_model(paths.model(name), dataset)
    try:
        result = evaluate_model(
            name,
            test.labels,
            predict_probabilities(model, test.images),
            dataset.class_names,
            val={"accuracy": trained.val_accuracy, "log_loss": trained.val_loss},
            near_duplicates=near_duplicates,
            bins=settings.calibration_bins,
            confidence=settings.confidence,
        )
    except ValueError as error:  # outputs that are not probabilities
        raise UserError(f"{paths.model(name)}: {error}") from None
    val_predicted = predicted_labels(predict_probabilities(model, val.images))
    print(
        f"{name}: val accuracy {result.val['accuracy']:.4f},"
        f" test accuracy {result.scores['accuracy']:.4f}",
        flush=True,
    )
    operations = count_operations(model)
    return Evaluated(result, val_predicted == val.labels, model.count_params(), operations)


def count_operations(model: Any) -> int:
    """Return the floating-point operations of a prediction for one image.

    TensorFlow's profiler counts them from the operations in the graph. A multiplication and an
    addition are two; operations that only move or reshape values are none.

    Args:
        model: a Keras model.
    """
    import tensorflow as tf

    graph = (
        tf.function(lambda image: model(image, training=False), autograph=False)
        .get_concrete_function(tf.TensorSpec((1, *model.inputs[0].shape[1:]), tf.uint8))
        .graph
    )
    profiler = tf.compat.v1.profiler
    options = {**profiler.ProfileOptionBuilder.float_operation(), "output": "none"}
    return int(profiler.profile(graph, cmd="op", options=options).total_float_ops)


def evaluation_inputs(
    paths: Paths, parameters: Parameters, dataset: Dataset, names: Sequence[ModelName], test: str
) -> dict[str, Any]:
    """Return everything except code that determines the evaluation, as JSON values.

    Args:
        paths: paths of the checkout.
        parameters: the content of params.yaml.
        dataset: the data set, which the report describes.
        names: the models.
        test: digest of the test split.
    """
    return {
        "models": {str(name): sha256(paths.model(name)) for name in names},
        "test": test,
        "dataset": dataset.model_dump(mode="json"),
        "settings": parameters.evaluate.model_dump(mode="json"),
        "seed": parameters.seed,
        "threads": parameters.threads,
    }


def write_tables(
    folder: Path,
    results: Sequence[ModelResult],
    comparisons: Sequence[Mapping[str, Any]],
    histories: Mapping[ModelName, Mapping[str, Sequence[float]]],
) -> None:
    """Write the scores, comparisons and curves as JSON and CSV files.

    Args:
        folder: reports/evaluate.
        results: the results of every model.
        comparisons: content of comparisons.json.
        histories: model → column → value per epoch.
    """
    metrics = metrics_content(results)
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
    write_json(folder / "comparisons.json", comparisons)
    write_table(folder / "per_class.csv", per_class_table(results))
    write_table(folder / "confusion.csv", confusion_table(results))
    write_table(folder / "calibration.csv", calibration_table(results))
    write_table(folder / "curves.csv", curves_table(histories))


def write_report(folder: Path, figures: Mapping[str, bytes], html: str, markdown: str) -> None:
    """Write the report in both formats, and its figures.

    Args:
        folder: reports/evaluate.
        figures: path below the folder → PNG.
        html: the report, which holds its figures.
        markdown: the report, which links to its figures.
    """
    for file, png in figures.items():
        write_bytes(folder / file, png)
    write_text(folder / "report.html", html)
    write_text(folder / "report.md", markdown)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Replace `path` by a table; floats have their shortest exact form, NaN is empty."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    stage.run(main, __file__, sys.argv[1:])
