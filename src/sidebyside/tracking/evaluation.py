"""Log the evaluation to MLflow: test scores, the comparison, registered models."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from sidebyside.config.dataset import Dataset
from sidebyside.config.paths import ModelName, Paths
from sidebyside.config.result_files import TrainedModel
from sidebyside.config.validation import read_record
from sidebyside.core.fingerprint import short_digest
from sidebyside.evaluation.results import (
    ModelResult,
    calibration_table,
    confusion_table,
    per_class_table,
    short_names,
)
from sidebyside.evaluation.selection import best_model
from sidebyside.tracking.differences import show_trained
from sidebyside.tracking.logged_models import classes_digest, dataset_digest
from sidebyside.tracking.origin import Origin, Record, origin_tags
from sidebyside.tracking.registry import CHAMPION, CLASSES_TAG, DATASET_TAG, FILE_TAG
from sidebyside.tracking.run import Run
from sidebyside.tracking.runs import open_run, reopen_run
from sidebyside.tracking.side_by_side import side_by_side
from sidebyside.tracking.store import open_store, store_root
from sidebyside.tracking.views import (
    COMPARISON,
    DIFFERENCE,
    markdown,
    registered_model,
    training_experiment,
)
from sidebyside.workflow.provenance import loaded_source

COMPARED = "All models on the test split"  # begins the note of a comparison
SIDE_BY_SIDE = "side_by_side.html"


def log_evaluation(
    root: Path,
    dataset: Dataset,
    record: Record,
    origin: Origin,
    training_keys: Mapping[ModelName, str],
    scored: Sequence[ModelResult],
    comparisons: Sequence[Mapping[str, Any]],
    figures: Mapping[str, bytes],
    html: str,
) -> list[Run]:
    """Log the test scores to each model's run, log the comparison's run, register the champions.

    Args:
        root: root of the checkout.
        dataset: the data set.
        record: the content of reports/evaluate/evaluation.json.
        origin: origin of the evaluation.
        training_keys: key of each model's training.
        scored: results of every model on the test split.
        comparisons: the content of reports/evaluate/comparisons.json.
        figures: path below reports/evaluate → PNG.
        html: the report.

    Returns:
        The runs.
    """
    runs = []
    within = (origin.source or loaded_source(root)).experiment
    experiment = training_experiment(dataset)
    short = short_names(result.name for result in scored)
    counts = {one.name: one.support for one in scored[0].classes}
    families = dict.fromkeys(result.name.model for result in scored)
    champions = {
        model: best_model([one for one in scored if one.name.model == model]) for model in families
    }
    for result in scored:
        name = result.name
        with reopen_run(
            root, experiment, str(name), training_keys[name], evaluated=origin.key
        ) as run:
            runs.append(run)
            run.log_dataset("test", record["data_sha256"]["test"], "test", counts)
            run.log_metrics({f"test_{metric}": value for metric, value in result.scores.items()})
            if result.deduplicated:
                run.log_metrics({"test_accuracy_deduplicated": result.deduplicated.accuracy})
            run.log_figure("confusion", figures[f"figures/confusion/{short[name]}.png"])
            run.log_table("confusion", *_cells(confusion_table([result])))
            run.log_table("per_class", *_cells(per_class_table([result])))
            run.log_table("calibration", *_cells(calibration_table([result])))
            if champions[name.model] is result:
                run.update_dataset(dataset)
                run.register(
                    registered_model(dataset.name, name.model),
                    result.val["accuracy"],
                    {
                        FILE_TAG: read_record(
                            Paths(root).training(name) / "model.json", TrainedModel
                        ).file_sha256,
                        DATASET_TAG: dataset_digest(dataset),
                        CLASSES_TAG: classes_digest(dataset),
                    },
                    card(result, dataset, run.page),
                    only_better=within is not None,
                )
    # A DVC experiment that reuses all models of another has a comparison of its own.
    key = f"{origin.key}-{short_digest(within)}" if within else origin.key
    with open_run(
        root,
        experiment,
        COMPARISON,
        key,
        tags={"seed": record["seed"], **origin_tags(origin, dataset.name, record["data_sha256"])},
        description=COMPARED,
    ) as run:
        if run.page:
            links = {"side by side": SIDE_BY_SIDE, "report": "report.html"}
            pages = (f"[{text}]({run.page}/artifacts/{file})" for text, file in links.items())
            run.describe(f"{COMPARED}: {', '.join(pages)}")
        run.log_parameters({**record["settings"], "models": sorted(map(str, training_keys))})
        run.log_dataset("test", record["data_sha256"]["test"], "test", counts)
        if pair := main_comparison(comparisons, short[best_model(scored).name]):
            run.log_parameters({"difference_of": f"{pair['second']} − {pair['first']}"})
            run.log_metrics(difference_metrics(pair))
        columns = (
            *("accuracy_difference", "only_first_right", "only_second_right"),
            "mcnemar_p_value",
        )
        run.log_table(
            "comparisons",
            ["first", "second", *columns, "low", "high"],
            [
                [one["first"], one["second"], *(one[name] for name in columns), *one["interval"]]
                for one in comparisons
            ],
        )
        for file, png in figures.items():
            run.log_figure(file.removeprefix("figures/").removesuffix(".png"), png)
        run.log_table("per_class", *_cells(per_class_table(scored)))
        run.log_text("report.html", html)
        run.log_text(SIDE_BY_SIDE, side_by_side(dataset, scored, comparisons, figures))
    store = open_store(store_root(root))
    store.attempt(partial(show_trained, store, dataset))
    return [*runs, run]


def main_comparison(
    comparisons: Sequence[Mapping[str, Any]], best: str
) -> Mapping[str, Any] | None:
    """Return the comparison of the best model with another architecture, or else the first one.

    Args:
        comparisons: the content of comparisons.json, which begins with those of architectures.
        best: name of the best model.
    """
    of_best = (one for one in comparisons if best in (one["first"], one["second"]))
    return next(of_best, next(iter(comparisons), None))


def difference_metrics(comparison: Mapping[str, Any]) -> dict[str, float]:
    """Return a difference in accuracy with its interval and p-value, as metrics of a run."""
    low, high = comparison["interval"]
    return {
        DIFFERENCE: comparison["accuracy_difference"],
        f"{DIFFERENCE}_low": low,
        f"{DIFFERENCE}_high": high,
        f"{DIFFERENCE}_p": comparison["mcnemar_p_value"],
    }


def _cells(table: pd.DataFrame) -> tuple[list[str], list[list[Any]]]:
    """Return the header and the rows of a table; NaN, which JSON lacks, as empty text."""
    rows: list[list[Any]] = table.astype(object).where(table.notna(), "").to_numpy().tolist()
    return list(table.columns), rows


def card(result: ModelResult, dataset: Dataset, page: str | None = None) -> str:
    """Return the model card of an architecture's best model, in Markdown.

    After Mitchell et al. 2019, Model Cards for Model Reporting, as far as it applies.

    Args:
        result: the model's result.
        dataset: the data set.
        page: address of its run in the UI.
    """
    address = f"models:/{registered_model(dataset.name, result.name.model)}@{CHAMPION}"
    names = ", ".join(map(markdown, dataset.class_names))
    picture = f" [Confusion matrix]({page}/artifacts/confusion.png)." if page else ""
    low, high = result.accuracy_interval
    hardest = sorted(result.classes, key=lambda one: one.f1)[:2]
    title = markdown(dataset.title)
    channels = {1: "greyscale", 3: "in colour (red, green, blue)"}[dataset.channels]
    licence = f" Licence of the data: {markdown(dataset.licence)}." if dataset.licence else ""
    lowest = " and ".join(f"{markdown(one.name)} ({one.f1:.2f})" for one in hardest)
    return "\n\n".join(
        [
            f"**Intended use**: classify images like those of {title}: {dataset.height}×"
            f"{dataset.width} pixels (height × width), {channels}, raw values from 0 to 255."
            " For teaching and for comparing methods.",
            f'**Load**: `mlflow.pyfunc.load_model("{address}").predict(images)`, or the Keras model'
            f' with `mlflow.keras.load_model("{address}")`. The images are a uint8 array of shape'
            f" N×{'×'.join(map(str, dataset.shape))}.",
            f"**Classes**, in the order of the probabilities: {names}.",
            f"**Data**: the {result.name.data} training data of {title}, seed"
            f" {result.name.seed}; the best of its architecture by validation accuracy"
            f" ({result.val['accuracy']:.4f}).{licence}",
            f"**Scores** on {len(result.labels):,} test images: accuracy"
            f" {result.scores['accuracy']:.4f} [{low:.4f}, {high:.4f}], macro F1"
            f" {result.scores['f1_macro']:.4f}, log loss {result.scores['log_loss']:.4f}; lowest"
            f" F1 for {lowest}.{picture}",
            f"**Limitations**: every image gets one of the {dataset.classes} classes, whatever it"
            f" shows. The scores hold for images that are made like those of {title}. Not intended"
            " for decisions about people.",
        ]
    )
