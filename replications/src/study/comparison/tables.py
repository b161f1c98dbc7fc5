"""Compute the tables and values of a system's section of the page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidebyside.config.search_space import searched_hyperparameters
from sidebyside.evaluation.intervals import mean_with_interval
from sidebyside.reporting.formatting import level
from sidebyside.reporting.page import Cells
from study.comparison import findings, formats
from study.comparison.findings import Models, Number, Tested, is_row
from study.comparison.formats import CLASS_METRICS, METRICS, NOTHING
from study.comparison.results import ModelResult, SearchResult
from study.plan import (
    CLASS_NAMES,
    PER_CLASS,
    Claim,
    Plan,
    PrintedModel,
    Published,
    SystemModel,
)


@dataclass(frozen=True)
class Captioned:
    """A table with the values of its caption."""

    cells: Cells
    values: Mapping[str, Any]


def models_of(plan: Plan, system: str) -> dict[str, SystemModel]:
    """Return the trained models of a system, except the rows of the grid."""
    trained = plan.trained.items()
    return {name: part for name, part in trained if part.system == system and not is_row(name)}


def trained(plan: Plan, models: Models, system: str) -> Cells:
    """Return the models of a system with their settings and numbers of epochs."""
    header = (
        *("Model", "Name", "Layers", "Dropout", "Optimizer", "Batch", "Epoch limit"),
        *("Epochs", "Kept epoch"),
    )
    rows = []
    for name, part in models_of(plan, system).items():
        one = models[name]
        epochs = one.metrics["epochs"]
        rows.append(
            (
                *(part.title, name, formats.layers(one.settings), formats.dropout(one.settings)),
                formats.optimizer(one.settings),
                f"{one.settings['batch_size']}",
                formats.epoch_limit(one.settings),
                formats.interval("epochs", min(epochs), max(epochs)),
                formats.interval("epochs", min(one.best_epochs), max(one.best_epochs)),
            )
        )
    return Cells(header, rows, text_columns=5)


def stopped_by_limit(plan: Plan, models: Models, system: str) -> list[str]:
    """Return the models with early stopping that some trainings ended at the epoch limit."""
    return [
        f"{part.title} ({count} of {len(models[name].metrics['epochs'])} trainings)"
        for name, part in models_of(plan, system).items()
        if (count := _at_limit(models[name]))
    ]


def _at_limit(one: ModelResult) -> int:
    limit = one.settings["epochs"]
    if one.settings["patience"] >= limit:
        return 0
    return sum(epochs == limit for epochs in one.metrics["epochs"])


def numbers(plan: Plan, models: Models, system: str) -> Cells:
    """Return the published and measured metrics of a system's models, one per row."""
    header = (
        *("Model", "Metric", "Published value is", "Published"),
        *("Mean ± SD", "Difference", "Range", "n"),
    )
    rows = [
        (
            plan.trained[one.model].title,
            METRICS[one.metric],
            formats.position(one),
            one.compared.published,
            formats.mean(one.metric, one.compared.mean, one.compared.deviation),
            formats.signed(one.metric, one.compared.difference),
            formats.interval(one.metric, one.compared.low, one.compared.high),
            f"{one.compared.seeds}",
        )
        for one in findings.numbers(plan, models, system)
    ]
    for name, part in models_of(plan, system).items():
        if part.published:
            continue
        for metric in ("test_accuracy", "val_accuracy"):
            seeds = models[name].metrics[metric]
            spread = mean_with_interval(seeds, plan.confidence)
            rows.append(
                (
                    *(part.title, METRICS[metric], NOTHING, NOTHING),
                    formats.mean(metric, spread.mean, spread.deviation),
                    NOTHING,
                    formats.interval(metric, min(seeds), max(seeds)),
                    f"{len(seeds)}",
                )
            )
    return Cells(header, rows, text_columns=3)


def sources(plan: Plan, system: str) -> list[dict[str, Any]]:
    """Return the sources of hyperparameters and results, except those in the tables of classes."""
    found = []
    for part in models_of(plan, system).values():
        hyperparameters = part.source if isinstance(part, PrintedModel) else ""
        results = [one.source for one in part.published if not _of_classes(one)]
        if hyperparameters or results:
            found.append(
                {"title": part.title, "hyperparameters": hyperparameters, "results": results}
            )
    return found


def _of_classes(published: Published) -> bool:
    return any(metric in published.values for metric in PER_CLASS)


def classes(plan: Plan, models: Models, system: str) -> list[Captioned]:
    """Return a table of the published metrics of each class per model."""
    by_model: dict[str, dict[str, list[Number]]] = {}  # model → class → one per metric
    for one in findings.class_numbers(plan, models, system):
        by_model.setdefault(one.model, {}).setdefault(one.label, []).append(one)
    tables = []
    for name, by_class in by_model.items():
        part = plan.models[name]
        metrics = [one.metric for one in by_class[CLASS_NAMES[0]]]
        columns = ("measured", "difference", "published is")
        header = ("Class", *(cell for m in metrics for cell in (CLASS_METRICS[m], *columns)))
        rows = [
            (label, *(text for one in of_class for text in _class_cells(one)))
            for label, of_class in by_class.items()
        ]
        source = next(one.source for one in part.published if _of_classes(one))
        values = {"title": part.title, "source": source, "seeds": len(part.seeds)}
        tables.append(Captioned(Cells(header, rows), values))
    return tables


def _class_cells(one: Number) -> tuple[str, ...]:
    return (
        one.compared.published,
        formats.mean(one.metric, one.compared.mean, one.compared.deviation),
        formats.signed(one.metric, one.compared.difference),
        formats.position(one),
    )


def claims(plan: Plan, tests: Sequence[Tested]) -> Cells:
    """Return the claims of a system with the outcomes of their tests."""
    header = (
        *("Claim", "Outcome", "Difference", f"{level(plan.confidence)} interval", "p"),
        "Printed difference",
    )
    rows = []
    for tested in tests:
        claim, test = tested.claim, tested.test
        ends = [formats.signed(claim.metric, end) for end in test.interval if not math.isnan(end)]
        printed_difference = tested.printed_difference or NOTHING
        if tested.agrees is not None:
            printed_difference += " (inside)" if tested.agrees else " (outside)"
        rows.append(
            (
                *(claim.text, test.outcome, formats.signed(claim.metric, test.difference)),
                " … ".join(ends) or NOTHING,
                NOTHING if math.isnan(test.p_value) else f"{test.p_value:.3g}",
                printed_difference,
            )
        )
    return Cells(header, rows, text_columns=2)


def hypothesis(claim: Any, plan: Plan) -> str:
    """Return the hypothesis of a claim, as tested."""
    if isinstance(claim, Claim):
        first, second = (plan.trained[name].title for name in (claim.first, claim.second))
        return f"{METRICS[claim.metric]} is {claim.direction} for “{first}” than for “{second}”"
    return (
        f"{CLASS_METRICS[claim.metric]} of {' and '.join(claim.classes)} is lower than that of"
        f" every other class, for “{plan.trained[claim.model].title}”"
    )


def searches(plan: Plan, results: Mapping[str, SearchResult], system: str) -> Cells:
    """Return the searches of a system with their two best scores."""
    header = ("Search", "Name", "Strategy", "Score", "Best", "Second best", "Trials")
    rows = []
    for name, part in plan.searches.items():
        if part.system != system:
            continue
        objective, trials = part.search.objective, results[name].trials
        scores = sorted(float(trial[objective]) for trial in trials if trial[objective])
        ranked = scores if objective == "val_loss" else scores[::-1]
        best = [f"{score:.4f}" for score in ranked[:2]]
        rows.append(
            (
                *(part.title, name, part.search.strategy, METRICS[objective]),
                *(*best, *[NOTHING] * (2 - len(best))),
                f"{len(trials)}",
            )
        )
    return Cells(header, rows, text_columns=4)


def best_hyperparameters(
    plan: Plan, results: Mapping[str, SearchResult], system: str
) -> list[dict[str, str]]:
    """Return the best hyperparameters of each search, ours and the document's."""
    found = []
    for name, part in plan.searches.items():
        if part.system != system:
            continue
        names = searched_hyperparameters(part.ranges())
        theirs = [plan.models[one].hyperparameters for one in part.printed if one in plan.models]
        found.append(
            {
                "title": part.title,
                "source": part.source,
                "ours": formats.values([results[name].best], names),
                "theirs": formats.values(theirs, names) if theirs else "",
            }
        )
    return found


def images(counts: Mapping[str, Sequence[int]]) -> Cells:
    """Return the number of images per class and split; `counts`: split → images per class."""
    rows = [
        (name, *(f"{split[index]:,}" for split in counts.values()))
        for index, name in enumerate(CLASS_NAMES)
    ]
    total = ("All classes", *(f"{sum(split):,}" for split in counts.values()))
    return Cells(("Class", *counts), [*rows, total])


def summary(systems: Mapping[str, Mapping[str, Any]]) -> Cells:
    """Return the counts of each system, from `page.summary`."""
    header = ("System", "Models", "Searches", *findings.RATINGS, *findings.OUTCOMES)
    rows = [
        (
            f"{name}. {one['title']}",
            *map(str, (one["models"], one["searches"])),
            *(f"{one['published'][rating]}" for rating in findings.RATINGS),
            *(f"{one['claims'][outcome]}" for outcome in findings.OUTCOMES),
        )
        for name, one in systems.items()
    ]
    return Cells(header, rows)
