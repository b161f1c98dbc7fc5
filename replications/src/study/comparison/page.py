"""Render the page that compares the published numbers and claims with the measured results."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidebyside.config.parameters import Transforms
from sidebyside.reporting import template
from study.comparison import findings, grid, hypothesis_tests, tables
from study.comparison.findings import OUTCOMES, RATINGS, Models, Number
from study.comparison.results import SearchResult
from study.plan import Plan

TEMPLATE = Path(__file__).parent / "templates/page.md.jinja"


@dataclass(frozen=True, eq=False)
class Content:
    """Content of the page."""

    plan: Plan  # restricted to completed searches and trainings
    missing: Sequence[str]  # stages that have not been completed
    models: Models
    searches: Mapping[str, SearchResult]
    counts: Mapping[str, Sequence[int]]  # split → images per class
    transforms: Transforms  # of the augmented training data
    figures: Mapping[str, bytes]  # path beside the page → PNG


def render(content: Content) -> tuple[str, str]:
    """Return the page as (HTML, Markdown)."""
    values = {
        "missing": [f"`{stage}`" for stage in content.missing],
        "transforms": content.transforms,
        "confidence": content.plan.confidence,
        "images": tables.images(content.counts),
        "figures": content.figures,
        "systems": [_system(content, name) for name in content.plan.systems],
        **_totals(content),
    }
    return template.render(TEMPLATE, values, content.figures)


def summary(content: Content) -> dict[str, Any]:
    """Return the counts of the page as JSON values, for the README."""
    systems = {name: _counts(content, name) for name in content.plan.systems}
    return {"systems": systems, "missing": [*content.missing]}


def _counts(content: Content, system: str) -> dict[str, Any]:
    """Return the number of models and searches of a system, and of each rating and outcome."""
    plan, models = content.plan, content.models
    numbers = [one.rating for one in findings.counted(plan, models, system)]
    classes = [one.rating for one in findings.class_numbers(plan, models, system)]
    claims = [one.test.outcome for one in findings.claims(plan, models, system)]
    return {
        "title": plan.systems[system].title,
        "models": sum(part.system == system for part in plan.trained.values()),
        "searches": sum(part.system == system for part in plan.searches.values()),
        "published": {rating: numbers.count(rating) for rating in RATINGS},
        "classes": {rating: classes.count(rating) for rating in RATINGS},
        "claims": {outcome: claims.count(outcome) for outcome in OUTCOMES},
    }


def _totals(content: Content) -> dict[str, Any]:
    """Return the values of the summary, over all systems."""
    plan, models = content.plan, content.models
    numbers = [one for name in plan.systems for one in findings.counted(plan, models, name)]
    classes = [one for name in plan.systems for one in findings.class_numbers(plan, models, name)]
    claims = [one for name in plan.systems for one in findings.claims(plan, models, name)]
    corrected = hypothesis_tests.corrected([one.test for one in claims], plan.confidence)
    agreeing = [one.agrees for one in claims if one.agrees is not None]
    return {
        "summary": tables.summary(summary(content)["systems"]),
        "models": len(plan.trained),
        "runs": sum(len(part.seeds) for part in plan.trained.values()),
        "searches": len(plan.searches),
        "trials": sum(len(one.trials) for one in content.searches.values()),
        "numbers": _by_rating(numbers),
        "numbers_by_chance": _outside_by_chance(numbers),
        "numbers_on_other_images": sum(one.metric.startswith("val_") for one in numbers),
        "classes": _by_rating(classes),
        "classes_by_chance": _outside_by_chance(classes),
        "claims": {name: [one.test.outcome for one in claims].count(name) for name in OUTCOMES},
        "claims_by_chance": len(claims) * (1 - plan.confidence),
        "corrected": {name: corrected.count(name) for name in OUTCOMES},
        "printed_differences": len(agreeing),
        "agreeing_differences": sum(agreeing),
    }


def _by_rating(numbers: Iterable[Number]) -> dict[str, int]:
    ratings = [one.rating for one in numbers]
    return {rating: ratings.count(rating) for rating in RATINGS}


def _outside_by_chance(numbers: Iterable[Number]) -> float:
    """Return the expected count of numbers outside our range if their models equal ours.

    Each of n + 1 equivalent trainings is the lowest, or the highest, with probability 1 / (n + 1).
    """
    return sum(2 / (one.compared.seeds + 1) for one in numbers)


def _system(content: Content, system: str) -> dict[str, Any]:
    """Return the values of a system's section."""
    plan, models = content.plan, content.models
    claims = [*findings.claims(plan, models, system)]
    return {
        "name": system,
        "title": plan.systems[system].title,
        "document": plan.systems[system].document,
        "choices": plan.systems[system].choices,
        "trained": tables.trained(plan, models, system),
        "stopped_by_limit": tables.stopped_by_limit(plan, models, system),
        "numbers": tables.numbers(plan, models, system),
        "sources": tables.sources(plan, system),
        "classes": tables.classes(plan, models, system),
        "grid": grid.by_layers(plan, models, system),
        "grid_stopped_by_limit": grid.stopped_by_limit(plan, models, system),
        "loss_distances": grid.loss_distances(plan, models, system),
        "claims": tables.claims(plan, claims),
        "hypotheses": [
            {
                "text": one.claim.text,
                "source": one.claim.source,
                "hypothesis": tables.hypothesis(one.claim, plan),
            }
            for one in claims
        ],
        "searches": tables.searches(plan, content.searches, system),
        "best_hyperparameters": tables.best_hyperparameters(plan, content.searches, system),
        "figures": _figures(content, system),
    }


def _figures(content: Content, system: str) -> list[tuple[str, str]]:
    """Return the figures of a system: (path, caption)."""
    captions = {
        "figures/f1.png": ("2", "F1 of each class, published and measured"),
        "figures/sweeps.png": (
            "3",
            "Validation accuracy by dropout, learning rate, batch size and epoch, with and without"
            " L2",
        ),
        "figures/grid.png": ("4", "Published and measured test accuracy of every row of the grid"),
        "figures/predictions.png": ("4", "Thirty test images with predicted and true classes"),
    }
    for name, part in content.plan.models.items():
        captions[f"figures/confusion-{name}.png"] = (
            part.system,
            f"Confusion matrix: {part.title}",
        )
        captions[f"figures/curves-{name}.png"] = (
            part.system,
            f"Learning curves with original and augmented data: {part.title}",
        )
        captions[f"figures/val-loss-{name}.png"] = (
            part.system,
            "Validation loss of every seed after the first epochs, with original and augmented"
            f" data: {part.title}",
        )
    return [
        (file, caption)
        for file, (owner, caption) in captions.items()
        if owner == system and file in content.figures
    ]
