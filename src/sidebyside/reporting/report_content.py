"""The results that the report shows, and values derived from them for its prose."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from sidebyside.config.dataset import Dataset
from sidebyside.config.hyperparameters import RECORDS
from sidebyside.config.paths import ModelName
from sidebyside.evaluation.intervals import Interval, Spread, mean_with_interval
from sidebyside.evaluation.metrics import ClassScores, Confused, most_confused
from sidebyside.evaluation.paired_tests import Comparison
from sidebyside.evaluation.results import ModelResult, short_names
from sidebyside.evaluation.selection import best_model
from sidebyside.reporting.choice import Cost, ValComparison, cheapest, level_with_best
from sidebyside.reporting.formatting import architecture, count

# Limits of figures and tables that have a line or a column for each.
SHOWN_MODELS = 8  # as many as there are colours
SHOWN_COMPARISONS = 6


@dataclass(frozen=True)
class SearchTable:
    """All trials of one architecture's hyperparameter search."""

    model: str
    objective: str  # the optimized column; lower is better if its name ends in "loss"
    trials: Sequence[Mapping[str, str]]  # column → text, as in the trials.csv that tune writes

    def scores(self) -> list[float]:
        """Return the objective of each trial, NaN for a failed one."""
        return [float(trial[self.objective] or math.nan) for trial in self.trials]

    def best(self) -> float:
        """Return the best objective, NaN if every trial failed."""
        scores = [score for score in self.scores() if not math.isnan(score)]
        if not scores:
            return math.nan
        return min(scores) if self.objective.endswith("loss") else max(scores)


@dataclass(frozen=True, eq=False)
class Content:
    """Everything that the report shows."""

    dataset: Dataset
    results: Sequence[ModelResult]
    comparisons: Sequence[Comparison]
    hyperparameters: Mapping[str, Mapping[str, Any]]  # architecture → its record
    searches: Sequence[SearchTable]
    trial_images: int  # maximum of training images per trial; 0: the whole training split
    trial_epochs: int  # maximum of epochs per trial
    counts: Mapping[str, Sequence[int]]  # split → images per class, in the order of the classes
    confidence: float  # level of all intervals
    samples: int  # number of bootstrap samples
    bins: int  # number of calibration bins
    figures: Mapping[str, bytes]  # path beside the report → PNG
    costs: Mapping[ModelName, Cost]
    val_images: int  # number of validation images
    val_comparisons: Sequence[ValComparison]  # of the best model with each other one

    @functools.cached_property
    def names(self) -> dict[ModelName, str]:
        """The identifier of each model, as tables and files show it."""
        return short_names(result.name for result in self.results)

    @functools.cached_property
    def best(self) -> ModelResult:
        """The model with the best validation accuracy."""
        return best_model(self.results)

    @functools.cached_property
    def shown(self) -> list[ModelResult]:
        """The models in figures and tables that have a line or a column per model."""
        return shown_models(self.results)

    @functools.cached_property
    def rivals(self) -> list[ModelResult]:
        """The models with the best model's data and seed, by descending validation accuracy."""
        same = [one for one in self.results if one.name[1:] == self.best.name[1:]]
        return sorted(same, key=_val_accuracy, reverse=True)

    @functools.cached_property
    def runner_up(self) -> ModelResult | None:
        """The model that the best one is compared with: see `runner_up`."""
        return runner_up(self.results)

    @functools.cached_property
    def level(self) -> list[ValComparison]:
        """The models that are level with the best one on the validation split, best first."""
        found = level_with_best(self.val_comparisons, self.confidence)
        return sorted(found, key=lambda one: one.difference)

    @functools.cached_property
    def to_use(self) -> ModelName:
        """The cheapest of the best model and those that are level with it."""
        return cheapest([self.best.name, *(one.other for one in self.level)], self.costs)

    @functools.cached_property
    def architectures(self) -> list[str]:
        """The architectures, in the order of the models."""
        return list(dict.fromkeys(result.name.model for result in self.results))

    @functools.cached_property
    def seeds(self) -> int:
        """Number of seeds."""
        return len({result.name.seed for result in self.results})

    @functools.cached_property
    def largest_class(self) -> ClassScores:
        """The class with the most test images, the first of equal ones."""
        return max(self.best.classes, key=lambda one: one.support)

    @functools.cached_property
    def near_duplicates(self) -> int:
        """Number of test images with a near duplicate in the training or validation split."""
        without = self.best.deduplicated
        return len(self.best.labels) - (without.images if without else 0)

    def prose_name(self, name: ModelName) -> str:
        """Return a model's name as it stands in a sentence, such as "augmented CNN"."""
        seed = f" (seed {name.seed})" if self.seeds > 1 else ""
        return f"{name.data} {architecture(name.model)}{seed}"

    def significant(self, comparison: Comparison) -> bool:
        """Tell whether a difference is significant at the level of the intervals."""
        return comparison.adjusted_p_value < 1 - self.confidence

    def over_seeds(self, comparison: Comparison) -> Spread:
        """Return the difference in accuracy over all seeds of a comparison, either way round."""
        pair = configurations(comparison)
        return mean_with_interval(
            [
                one.difference if configurations(one) == pair else -one.difference
                for one in self.comparisons
                if configurations(one) in (pair, pair[::-1])
            ],
            self.confidence,
        )


def _val_accuracy(result: ModelResult) -> float:
    return result.val["accuracy"]


def runner_up(results: Sequence[ModelResult]) -> ModelResult | None:
    """Return the model to compare the best one with, by the validation accuracy; None if alone.

    It is of another architecture with the same data and seed, or failing that, of the same
    architecture with other data.
    """
    best = best_model(results)
    same_seed = [one for one in results if one is not best and one.name.seed == best.name.seed]
    others = [one for one in same_seed if one.name.data == best.name.data] or [
        one for one in same_seed if one.name.model == best.name.model
    ]
    return best_model(others) if others else None


def shown_models(results: Sequence[ModelResult]) -> list[ModelResult]:
    """Return the models with the best model's seed, at most SHOWN_MODELS, in their order.

    Of more models, those with the highest validation accuracy.
    """
    seed = best_model(results).name.seed
    same = [result for result in results if result.name.seed == seed]
    chosen = sorted(same, key=_val_accuracy, reverse=True)[:SHOWN_MODELS]
    return [result for result in same if result in chosen]


def shown_comparisons(comparisons: Sequence[Comparison], best: ModelName) -> list[Comparison]:
    """Return the comparisons in figures and tables that have a line or a column per comparison.

    All of them, or if more than SHOWN_COMPARISONS differ in more than their seed, those of the best
    model, whatever the seed.
    """
    if len({configurations(one) for one in comparisons}) <= SHOWN_COMPARISONS:
        return list(comparisons)
    return [one for one in comparisons if f"{best.model}-{best.data}" in configurations(one)]


def configurations(comparison: Comparison) -> tuple[str, str]:
    """Return the names of the two models of a comparison without their seed."""
    first, second = (f"{one.model}-{one.data}" for one in (comparison.first, comparison.second))
    return first, second


def arrow(comparison: Comparison) -> str:
    """Return a comparison's name without seeds, such as "mlp-original → cnn-original"."""
    return " → ".join(configurations(comparison))


def reverse(comparison: Comparison) -> Comparison:
    """Return a comparison with first and second model exchanged."""
    low, high = comparison.interval
    return replace(
        comparison,
        first=comparison.second,
        second=comparison.first,
        difference=-comparison.difference,
        interval=Interval(-high, -low),
        only_first=comparison.only_second,
        only_second=comparison.only_first,
        f1_change=tuple(-change for change in comparison.f1_change),
    )


def gains(content: Content) -> list[Comparison]:
    """Return the best model's comparisons with other architectures; it is the second model."""
    best = content.best.name
    return [
        one if one.second == best else reverse(one)
        for one in content.comparisons
        if best in (one.first, one.second) and one.first.model != one.second.model
    ]


def augmentations(content: Content) -> list[Comparison]:
    """Return the comparisons of original with augmented data, for the best model's seed."""
    return [
        one
        for one in content.comparisons
        if one.first.model == one.second.model and one.first.seed == content.best.name.seed
    ]


class Weakness(NamedTuple):
    """Where a model fails."""

    name: ModelName
    hardest: ClassScores  # the class with its lowest F1
    errors: Sequence[Confused]  # the most frequent, most frequent first


def weaknesses(content: Content, errors: int) -> list[Weakness]:
    """Return where the best model and the next best of its rivals fail, if they make errors.

    Args:
        content: content of the report.
        errors: maximum number of confused pairs of classes per model.
    """
    found = [
        Weakness(
            result.name,
            min(result.classes, key=lambda one: one.f1),
            most_confused(result.confusion, result.class_names, errors),
        )
        for result in content.rivals[:2]
    ]
    return [weakness for weakness in found if weakness.errors]


def shared_errors(results: Sequence[ModelResult]) -> int:
    """Return the number of images that all of some models misclassify."""
    return int(np.all([result.predicted != result.labels for result in results], axis=0).sum())


def cheaper_by(content: Content) -> str:
    """Return why the model to use is cheaper than the best one; empty if it is the best one."""
    low, high = content.costs[content.to_use], content.costs[content.best.name]
    if low.operations < high.operations:
        return f"{count(low.operations)} instead of {count(high.operations)} FLOPs per image"
    if low.parameters < high.parameters:
        return f"{count(low.parameters)} instead of {count(high.parameters)} parameters"
    if low.training_images < high.training_images:
        images = f"{count(low.training_images)} instead of {count(high.training_images)} images"
        return f"it was trained on {images}"
    return ""


class ImageChanges(NamedTuple):
    """Random transforms of training images, drawn again in each epoch."""

    flip: bool
    shift: int  # pixels
    cutout: int  # pixels


def image_changes(content: Content) -> dict[ImageChanges, list[str]]:
    """Return random image changes → the architectures whose training images have them."""
    changes: dict[ImageChanges, list[str]] = {}
    for model, record in content.hyperparameters.items():
        one = ImageChanges(record["flip"], record["shift"], record["cutout"])
        if any(one):
            changes.setdefault(one, []).append(architecture(model))
    return changes


def long_names(content: Content) -> dict[str, str]:
    """Return architecture → its name written out, for architectures that are an acronym."""
    names = {model: RECORDS[model].long_name for model in content.architectures}
    return {model: name for model, name in names.items() if name}
