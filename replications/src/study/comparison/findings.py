"""Compare every published number and claim of a system with the measured results."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from sidebyside.core.errors import UserError
from study.comparison import hypothesis_tests
from study.comparison.hypothesis_tests import CONTRADICTED, INCONCLUSIVE, SUPPORTED, WITHIN
from study.comparison.results import ModelResult
from study.plan import CLASS_NAMES, MACRO, PER_CLASS, Claim, Lowest, Plan, SystemModel

RATINGS = (WITHIN, "better", "worse")  # of a published number, relative to ours
OUTCOMES = (SUPPORTED, INCONCLUSIVE, CONTRADICTED)  # of a claim
AVERAGE = "macro average"  # label of a mean over the classes
ROW_ACCURACIES = ("test_accuracy", "val_accuracy", "fit_accuracy")  # printed in the grid's rows
ROW_LOSSES = ("test_loss", "val_loss", "fit_loss")

Models = Mapping[str, ModelResult]


class Number(NamedTuple):
    """A published number and its comparison with our results."""

    model: str
    metric: str
    compared: hypothesis_tests.Comparison
    label: str = ""  # a class, or AVERAGE; empty for a metric of the whole model

    @property
    def rating(self) -> str:
        """One of RATINGS, or the position of a number that cannot be rated."""
        return rating(self.metric, self.compared.position)


@dataclass(frozen=True)
class Tested:
    """A claim of a document and its test."""

    claim: Claim | Lowest
    test: hypothesis_tests.Difference

    @property
    def printed_difference(self) -> str | None:
        """The difference printed with the claim, with its sign and all of its digits."""
        by = self.claim.by if isinstance(self.claim, Claim) else None
        return None if by is None else f"{Decimal(str(by)):+f}"  # never as 5e-05

    @property
    def agrees(self) -> bool | None:
        """Whether the printed difference is in our interval; None if one of them is missing."""
        low, high = self.test.interval
        if self.printed_difference is None or math.isnan(low):
            return None
        rounding = hypothesis_tests.rounding_of(self.printed_difference)
        return low - rounding <= float(self.printed_difference) <= high + rounding


def is_row(name: str) -> bool:
    """Return whether a model is a row of system 4's grid."""
    return name.startswith("4-grid-")


def check_rows(plan: Plan) -> None:
    """Check that the rows of the grid form one table per number of hidden layers.

    Raises:
        UserError: a row has several seeds, lacks a printed number or has a different source.
    """
    sources: dict[int, str] = {}
    for name, row in plan.models.items():
        if not is_row(name):
            continue
        if len(row.seeds) > 1:
            raise UserError(
                f"models.{name}.seeds: expected 1 for a row of the grid, not {len(row.seeds)}"
            )
        missing = [
            metric for metric in (*ROW_ACCURACIES, *ROW_LOSSES) if metric not in printed(row)
        ]
        if missing:
            raise UserError(f"models.{name}.published: expected {', '.join(missing)}")
        layers = len(row.hyperparameters["hidden_units"])
        if sources.setdefault(layers, row.source) != row.source:
            raise UserError(
                f"models.{name}.source: expected {sources[layers]!r}, as for the grid's other rows"
                f" with {layers} hidden layers"
            )


def printed(part: SystemModel) -> dict[str, str]:
    """Return the published numbers of a model: metric → text."""
    return {metric: text for one in part.published for metric, text in one.values.items()}


def rating(metric: str, position: str) -> str:
    """Return "better" or "worse" for a published number outside our range, or else its position."""
    if position not in ("higher", "lower"):
        return position
    return "better" if (position == "higher") != metric.endswith("loss") else "worse"


def numbers(plan: Plan, models: Models, system: str) -> Iterator[Number]:
    """Yield the published numbers of whole models, except the rows of the grid."""
    for name, part in plan.trained.items():
        if part.system != system or is_row(name):
            continue
        for metric, text in printed(part).items():
            if metric not in (*PER_CLASS, *MACRO):
                yield Number(
                    name, metric, hypothesis_tests.compare(text, models[name].metrics[metric])
                )


def counted(plan: Plan, models: Models, system: str) -> Iterator[Number]:
    """Yield the rated losses and accuracies of printed models.

    The winners of our searches are not counted: they are not the models the numbers belong to.
    """
    for one in numbers(plan, models, system):
        loss_or_accuracy = one.metric.endswith(("loss", "accuracy"))
        if one.model in plan.models and loss_or_accuracy and one.rating in RATINGS:
            yield one


def class_numbers(plan: Plan, models: Models, system: str) -> Iterator[Number]:
    """Yield the published numbers of single classes and of their means."""
    for name, part in plan.models.items():
        theirs, ours = printed(part), models[name].metrics
        if part.system != system:
            continue
        for metric in PER_CLASS:
            texts = theirs.get(metric, "").split()
            for label, text in zip(CLASS_NAMES, texts, strict=False):
                compared = hypothesis_tests.compare(text, ours[f"{metric}.{label}"])
                yield Number(name, metric, compared, label)
            if macro := theirs.get(f"macro_{metric}"):
                compared = hypothesis_tests.compare(macro, ours[f"macro_{metric}"])
                yield Number(name, metric, compared, AVERAGE)


def claims(plan: Plan, models: Models, system: str) -> Iterator[Tested]:
    """Yield the claims of a system with their tests."""
    for claim in plan.claims:
        if claim.system == system:
            first, second = (models[n].metrics[claim.metric] for n in (claim.first, claim.second))
            test = hypothesis_tests.difference(first, second, claim.direction, plan.confidence)
            yield Tested(claim, test)
    for low in plan.lowest:
        if low.system == system:
            metrics = models[low.model].metrics
            named, others = (
                [metrics[f"{low.metric}.{n}"] for n in CLASS_NAMES if (n in low.classes) == within]
                for within in (True, False)
            )
            yield Tested(low, hypothesis_tests.lowest(named, others, plan.confidence))
