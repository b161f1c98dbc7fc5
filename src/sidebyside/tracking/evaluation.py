"""What evaluate found → MLflow, from values alone: as `training_log` for the other stages."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sidebyside.config.paths import ModelName
from sidebyside.evaluation.results import (
    ModelResult,
    calibration_table,
    confusion_table,
    per_class_table,
    short_names,
)
from sidebyside.evaluation.selection import best_model
from sidebyside.tracking import runs
from sidebyside.tracking.stages import Record, origin
from sidebyside.tracking.views import COMPARISON, TRAINING, registered_model


def log_evaluation(
    root: Path,
    record: Record,
    trainings: Mapping[ModelName, Record],
    scored: Sequence[ModelResult],
    comparisons: Sequence[Mapping[str, Any]],
    figures: Mapping[str, bytes],
    html: str,
) -> None:
    """Add the test scores to each model's run, make the comparison's run, name the champions.

    Args:
        root: the checkout.
        record: the content of reports/evaluate/evaluation.json.
        trainings: the content of each model's model.json.
        scored: every model on the test split.
        comparisons: the content of reports/evaluate/comparisons.json.
        figures: file below reports/evaluate → PNG.
        html: the report.
    """
    key = record["key"]
    short = short_names(result.name for result in scored)
    counts = {one.name: one.support for one in scored[0].classes}
    families = dict.fromkeys(result.name.model for result in scored)
    champions = {
        model: best_model([one for one in scored if one.name.model == model]) for model in families
    }
    for result in scored:
        name = result.name
        with runs.reopen_run(
            root,
            TRAINING,
            str(name),
            trainings[name]["key"],
            evaluated=key,
        ) as run:
            run.log_dataset("test", record["data_sha256"]["test"], "test", counts)
            run.log_metrics({f"test_{metric}": value for metric, value in result.scores.items()})
            run.log_figure("confusion", figures[f"figures/confusion/{short[name]}.png"])
            run.log_table("confusion", *confusion_table([result]))
            run.log_table("per_class", *per_class_table([result]))
            run.log_table("calibration", *calibration_table([result]))
            if champions[name.model] is result:
                run.register(registered_model(name.model), result.val["accuracy"], card(result))
    with runs.open_run(
        root,
        TRAINING,
        COMPARISON,
        key,
        tags={"seed": record["seed"], **origin(record, "evaluate")},
        description="All models on the test split, side by side; `report.html` tells it whole",
    ) as run:
        run.log_parameters({**record["settings"], "models": sorted(map(str, trainings))})
        run.log_dataset("test", record["data_sha256"]["test"], "test", counts)
        # A table, because as metrics they would stand among the charts of the models' own.
        found = ("accuracy_difference", "only_first_right", "only_second_right", "mcnemar_p_value")
        run.log_table(
            "comparisons",
            ["first", "second", *found, "low", "high"],
            [
                [one["first"], one["second"], *(one[name] for name in found), *one["interval"]]
                for one in comparisons
            ],
        )
        for file, png in figures.items():
            run.log_figure(file.removeprefix("figures/").removesuffix(".png"), png)
        run.log_table("per_class", *per_class_table(scored))
        run.log_text("report.html", html)


def card(result: ModelResult) -> str:
    """Return what the registry says of an architecture's best model, in Markdown.

    After Mitchell et al. 2019, Model Cards for Model Reporting, as far as it applies.
    """
    low, high = result.accuracy_interval
    hardest = sorted(result.classes, key=lambda one: one.f1)[:2]
    return "\n\n".join(
        [
            "**Intended use**: to tell ten kinds of clothes apart in pictures like Fashion-MNIST's:"
            " 28×28 pixels, grey, raw values from 0 (background) to 255. For teaching and for"
            " comparing methods.",
            f"**Data**: the {result.name.data} training data of Fashion-MNIST, seed"
            f" {result.name.seed}; the best of its architecture by validation accuracy"
            f" ({result.val['accuracy']:.4f}).",
            f"**Scores** on {len(result.labels):,} test images: accuracy"
            f" {result.scores['accuracy']:.4f} [{low:.4f}, {high:.4f}], macro F1"
            f" {result.scores['f1_macro']:.4f}, log loss {result.scores['log_loss']:.4f}; weakest"
            f" in {hardest[0].name} (F1 {hardest[0].f1:.2f}) and {hardest[1].name}"
            f" ({hardest[1].f1:.2f}).",
            "**Limits**: it has seen nothing but centred products on an empty background, and has"
            " an answer for every picture, clothes or not. Not meant for photographs, nor for any"
            " decision about people.",
        ]
    )
