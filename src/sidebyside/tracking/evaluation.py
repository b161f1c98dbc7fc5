"""Log the evaluation to MLflow: test scores, the comparison, registered models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sidebyside.config.dataset import Dataset
from sidebyside.config.paths import ModelName, Paths
from sidebyside.config.result_files import TrainedModel
from sidebyside.config.validation import read_record
from sidebyside.evaluation.results import (
    ModelResult,
    calibration_table,
    confusion_table,
    per_class_table,
    short_names,
)
from sidebyside.evaluation.selection import best_model
from sidebyside.tracking.logged_models import classes_digest, dataset_digest
from sidebyside.tracking.origin import Origin, Record, origin_tags
from sidebyside.tracking.registry import CLASSES_TAG, DATASET_TAG, FILE_TAG
from sidebyside.tracking.run import Run
from sidebyside.tracking.runs import open_run, reopen_run
from sidebyside.tracking.views import (
    COMPARISON,
    markdown,
    registered_model,
    training_experiment,
)


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
                    card(result, dataset),
                )
    with open_run(
        root,
        experiment,
        COMPARISON,
        origin.key,
        tags={"seed": record["seed"], **origin_tags(origin, dataset.name, record["data_sha256"])},
        description="All models on the test split, side by side; the whole report is `report.html`",
    ) as run:
        run.log_parameters({**record["settings"], "models": sorted(map(str, training_keys))})
        run.log_dataset("test", record["data_sha256"]["test"], "test", counts)
        # Logged as a table, because metrics would appear among the charts of the models' metrics.
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
    return [*runs, run]


def _cells(table: pd.DataFrame) -> tuple[list[str], list[list[Any]]]:
    """Return the header and the rows of a table; NaN, which JSON lacks, as empty text."""
    rows: list[list[Any]] = table.astype(object).where(table.notna(), "").to_numpy().tolist()
    return list(table.columns), rows


def card(result: ModelResult, dataset: Dataset) -> str:
    """Return the model card of an architecture's best model, in Markdown.

    After Mitchell et al. 2019, Model Cards for Model Reporting, as far as it applies.
    """
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
            f"**Data**: the {result.name.data} training data of {title}, seed"
            f" {result.name.seed}; the best of its architecture by validation accuracy"
            f" ({result.val['accuracy']:.4f}).{licence}",
            f"**Scores** on {len(result.labels):,} test images: accuracy"
            f" {result.scores['accuracy']:.4f} [{low:.4f}, {high:.4f}], macro F1"
            f" {result.scores['f1_macro']:.4f}, log loss {result.scores['log_loss']:.4f}; lowest"
            f" F1 for {lowest}.",
            f"**Limitations**: every image gets one of the {dataset.classes} classes, whatever it"
            f" shows. The scores hold for images that are made like those of {title}. Not intended"
            " for decisions about people.",
        ]
    )
