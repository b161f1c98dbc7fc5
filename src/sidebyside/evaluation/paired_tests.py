"""Compare models in pairs on the same test images."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from sidebyside.config.paths import ModelName
from sidebyside.evaluation.intervals import Interval, paired_bootstrap
from sidebyside.evaluation.results import ModelResult, short_names


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two models on the same images; differences are second minus first."""

    first: ModelName
    second: ModelName
    difference: float  # of the accuracies
    interval: Interval  # of the difference, paired bootstrap
    only_first: int  # number of images that only the first classifies correctly
    only_second: int  # number of images that only the second classifies correctly
    p_value: float  # McNemar's exact test
    adjusted_p_value: float  # p_value, corrected for the number of comparisons
    f1_change: tuple[float, ...]  # difference in F1 per class


def compare_all(
    results: Sequence[ModelResult], *, samples: int, confidence: float, seed: int
) -> list[Comparison]:
    """Compare all pairs of `comparable_pairs`, with p-values corrected for their number.

    Args:
        results: the results of every model.
        samples: number of bootstrap samples.
        confidence: level of the differences' intervals, such as 0.95.
        seed: `seed` of params.yaml.

    Raises:
        ValueError: the models were not scored on the same labels.
    """
    single = [
        compare_models(first, second, samples=samples, confidence=confidence, seed=seed)
        for first, second in comparable_pairs(results)
    ]
    adjusted = holm([one.p_value for one in single])
    return [
        replace(one, adjusted_p_value=p_value)
        for one, p_value in zip(single, adjusted, strict=True)
    ]


def compare_models(
    first: ModelResult, second: ModelResult, *, samples: int, confidence: float, seed: int
) -> Comparison:
    """Compare the second model with the first.

    Args:
        first: results of the reference model.
        second: results of the model that is compared with it.
        samples: number of bootstrap samples.
        confidence: level of the difference's interval, such as 0.95.
        seed: `seed` of params.yaml.

    Raises:
        ValueError: the models were not scored on the same labels.
    """
    if not np.array_equal(first.labels, second.labels):
        raise ValueError(f"{first.name} and {second.name} were not scored on the same images")
    first_correct = first.predicted == first.labels
    second_correct = second.predicted == second.labels
    only_first = int((first_correct & ~second_correct).sum())
    only_second = int((second_correct & ~first_correct).sum())
    p_value = mcnemar_p_value(only_first, only_second)
    total = len(first.labels)
    return Comparison(
        first=first.name,
        second=second.name,
        difference=(only_second - only_first) / total,
        interval=paired_bootstrap(
            only_first, only_second, total, samples=samples, confidence=confidence, seed=seed
        ),
        only_first=only_first,
        only_second=only_second,
        p_value=p_value,
        adjusted_p_value=p_value,
        f1_change=tuple(
            after.f1 - before.f1
            for before, after in zip(first.classes, second.classes, strict=True)
        ),
    )


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (McNemar, 1947).

    Args:
        only_first: number of images that only the first model classifies correctly.
        only_second: number of images that only the second model classifies correctly.
    """
    discordant = only_first + only_second
    return float(stats.binomtest(only_second, discordant).pvalue) if discordant else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm, 1979).

    The probability that at least one of them is below a level although no models differ is at most
    this level. The smallest p-value is multiplied by the number of tests, the next by one less, and
    so on; none becomes smaller than the one before it, or greater than 1.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(np.asarray(p_values)[order] * factors)
    return [min(float(value), 1.0) for value in adjusted]


def comparable_pairs(results: Sequence[ModelResult]) -> list[tuple[ModelResult, ModelResult]]:
    """Return the pairs of models that differ only in their architecture or their data.

    First the pairs of architectures with the same data and seed, then original and augmented data
    with the same architecture and seed, each in the order of the results.
    """
    by_model, by_data = [], []
    for first, second in itertools.combinations(results, 2):
        one, other = first.name, second.name
        if one.seed != other.seed:
            continue
        if one.data == other.data and one.model != other.model:
            by_model.append((first, second))
        if one.model == other.model and one.data != other.data:
            by_data.append((second, first) if other.data == "original" else (first, second))
    return by_model + by_data


def comparisons_content(
    comparisons: Sequence[Comparison], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the content of comparisons.json."""
    named = short_names(name for one in comparisons for name in (one.first, one.second))
    return [
        {
            "first": named[one.first],
            "second": named[one.second],
            "accuracy_difference": one.difference,
            "interval": list(one.interval),
            "only_first_right": one.only_first,
            "only_second_right": one.only_second,
            "mcnemar_p_value": one.p_value,
            "adjusted_p_value": one.adjusted_p_value,
            "f1_change": dict(zip(class_names, one.f1_change, strict=True)),
        }
        for one in comparisons
    ]
