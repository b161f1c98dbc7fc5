"""What evaluate found → MLflow, from values alone: as `training_log` for the other stages."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fashion import evaluation, report, store, tracking
from fashion.evaluation import ModelResult
from fashion.paths import ModelName
from fashion.training_log import Record, origin


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
    short = evaluation.keys(result.name for result in scored)
    families = dict.fromkeys(result.name.model for result in scored)
    champions = {
        model: report.best([one for one in scored if one.name.model == model]) for model in families
    }
    for result in scored:
        name = result.name
        with tracking.reopen_run(
            root,
            store.TRAINING,
            str(name),
            trainings[name]["key"],
            evaluated=key,
            tags={**name._asdict(), **origin(trainings[name], f"train@{name}")},
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
        root,
        store.TRAINING,
        "comparison",
        key,
        tags={"seed": record["seed"], **origin(record, "evaluate")},
        description="All models on the test split, side by side; `report.html` tells it whole",
    ) as run:
        run.log_parameters({**record["settings"], "models": sorted(map(str, trainings))})
        # A table, because as metrics they would stand among the charts of the models' own.
        counts = ("accuracy_difference", "only_first_right", "only_second_right", "mcnemar_p_value")
        run.log_table(
            "comparisons",
            ["first", "second", *counts, "low", "high"],
            [
                [one["first"], one["second"], *(one[name] for name in counts), *one["interval"]]
                for one in comparisons
            ],
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
