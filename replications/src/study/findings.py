"""The published numbers and claims of each system, held against what was measured."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from sidebyside.config.dataset import CLASS_NAMES
from sidebyside.core.errors import UserError
from study import hypothesis_tests
from study.plan import MACRO, PER_CLASS, Claim, Lowest, Plan, SystemModel
from study.results import Measured

INSIDE = "inside"
STANDINGS = (INSIDE, "better", "worse")  # of a published number
OUTCOMES = ("held", "undecided", "opposite")  # of a claim
AVERAGE = "macro average"  # stands where a class does
ROW_ACCURACIES = ("test_accuracy", "val_accuracy", "fit_accuracy")  # printed of a row of the grid
ROW_LOSSES = ("test_loss", "val_loss", "fit_loss")

Models = Mapping[str, Measured]


class Number(NamedTuple):
    """A published number beside ours."""

    model: str
    metric: str
    compared: hypothesis_tests.Comparison
    label: str = ""  # of a class, or AVERAGE

    @property
    def standing(self) -> str:
        """One of STANDINGS, or why it is none."""
        return standing(self.metric, self.compared.verdict)


@dataclass(frozen=True)
class Tested:
    """A claim of a document, tested."""

    claim: Claim | Lowest
    outcome: hypothesis_tests.Difference

    @property
    def by(self) -> str | None:
        """The difference that is printed with it: its sign and all of its digits."""
        by = self.claim.by if isinstance(self.claim, Claim) else None
        return None if by is None else f"{Decimal(str(by)):+f}"  # never as 5e-05

    @property
    def size(self) -> str | None:
        """Whether the printed difference lies in our interval; None if one of them is missing."""
        low, high = self.outcome.interval
        if self.by is None or math.isnan(low):
            return None
        rounding = hypothesis_tests.rounding_of(self.by)
        return INSIDE if low - rounding <= float(self.by) <= high + rounding else "outside"


def is_row(name: str) -> bool:
    """Return whether a model is a row of system 4's grid."""
    return name.startswith("4-grid-")


def check_rows(plan: Plan) -> None:
    """Refuse rows of the grid that do not fit into one table per number of hidden layers.

    Raises:
        UserError: a row has several seeds, lacks a printed number, or has another place.
    """
    places: dict[int, str] = {}
    for name, row in plan.models.items():
        if not is_row(name):
            continue
        if len(row.seeds) > 1:
            raise UserError(f"models.{name}.seeds: a row of the grid has one, not {len(row.seeds)}")
        missing = [one for one in (*ROW_ACCURACIES, *ROW_LOSSES) if one not in printed(row)]
        if missing:
            raise UserError(f"models.{name}.published: expected {', '.join(missing)}")
        layers = len(row.hyperparameters["hidden_units"])
        if places.setdefault(layers, row.place) != row.place:
            raise UserError(
                f"models.{name}.place: expected {places[layers]!r}, where the grid's other rows"
                f" with {layers} hidden layers stand"
            )


def printed(part: SystemModel) -> dict[str, str]:
    """Return what is printed of a model, wherever it stands: metric → text."""
    return {metric: text for one in part.published for metric, text in one.values.items()}


def standing(metric: str, verdict: str) -> str:
    """Return whether a published number is better or worse than ours, if it is not inside."""
    if verdict not in ("above", "below"):
        return verdict
    return "better" if (verdict == "above") != metric.endswith("loss") else "worse"


def numbers(plan: Plan, models: Models, system: str) -> Iterator[Number]:
    """Give every published number that is of no class and of no row of the grid."""
    for name, part in plan.trained.items():
        if part.system != system or is_row(name):
            continue
        for metric, text in printed(part).items():
            if metric not in (*PER_CLASS, *MACRO):
                yield Number(
                    name, metric, hypothesis_tests.compare(text, models[name].metrics[metric])
                )


def counted(plan: Plan, models: Models, system: str) -> Iterator[Number]:
    """Give the losses and accuracies that have a standing, of models that are printed.

    What our searches found are other models.
    """
    for one in numbers(plan, models, system):
        loss_or_accuracy = one.metric.endswith(("loss", "accuracy"))
        if one.model in plan.models and loss_or_accuracy and one.standing in STANDINGS:
            yield one


def class_numbers(plan: Plan, models: Models, system: str) -> Iterator[Number]:
    """Give every published number of a class, and of their mean."""
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
    """Test what a document says of two models, and of classes of one."""
    for claim in plan.claims:
        if claim.system == system:
            first, second = (models[n].metrics[claim.metric] for n in (claim.first, claim.second))
            found = hypothesis_tests.difference(first, second, claim.direction, plan.confidence)
            yield Tested(claim, found)
    for low in plan.lowest:
        if low.system == system:
            metrics = models[low.model].metrics
            named, others = (
                [metrics[f"{low.metric}.{n}"] for n in CLASS_NAMES if (n in low.classes) == within]
                for within in (True, False)
            )
            yield Tested(low, hypothesis_tests.lowest(named, others, plan.confidence))
