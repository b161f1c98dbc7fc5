"""The tables of the report that have a row per class, or per pair of classes."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from sidebyside.evaluation.metrics import most_confused
from sidebyside.evaluation.paired_tests import Comparison
from sidebyside.reporting.formatting import count, percent, points, score
from sidebyside.reporting.page import Cells
from sidebyside.reporting.report_content import Content, arrow, shown_comparisons

LISTED = 20  # classes in their own order; of more classes, the hardest come first


def class_order(content: Content) -> Sequence[int]:
    """Return the classes in the order of their rows: their own, or by F1 if there are many."""
    classes = range(content.dataset.classes)
    if len(classes) <= LISTED:
        return classes
    return sorted(classes, key=lambda index: _total_f1(content, index))


def _total_f1(content: Content, index: int) -> float:
    return sum(result.classes[index].f1 for result in content.shown)


def f1_changes(comparisons: Sequence[Comparison]) -> dict[str, list[float]]:
    """Return comparison → difference of each class's F1, mean over the seeds."""
    pairs = pd.Series([one.f1_change for one in comparisons], list(map(arrow, comparisons)))
    by_pair = pairs.groupby(level=0, sort=False)
    return {str(pair): np.mean(changes.tolist(), axis=0).tolist() for pair, changes in by_pair}


def f1_differences(content: Content) -> Cells:
    """Return the difference of each class's F1 in every comparison, mean over the seeds."""
    changes = f1_changes(shown_comparisons(content.comparisons, content.best.name))
    rows = [
        (
            content.dataset.class_names[index],
            *(points(change[index]) for change in changes.values()),
        )
        for index in class_order(content)
    ]
    return Cells(("class", *changes), rows)


def class_f1(content: Content) -> Cells:
    """Return the F1 of each class, a column per model; the hardest class is highlighted."""
    shown = content.shown
    order = class_order(content)
    hardest = min(order, key=lambda index: _total_f1(content, index))
    rows = [
        (
            content.dataset.class_names[index],
            count(shown[0].classes[index].support),
            *(score(result.classes[index].f1) for result in shown),
        )
        for index in order
    ]
    header = ("class", "images", *(content.names[result.name] for result in shown))
    return Cells(header, rows, marked=(order.index(hardest),))


def class_scores(content: Content) -> Cells:
    """Return precision, recall and F1, a row per model and class."""
    rows = [
        (
            content.names[result.name],
            one.name,
            *(score(one.precision), score(one.recall), score(one.f1)),
            count(one.support),
        )
        for result in content.shown
        for one in (result.classes[index] for index in class_order(content))
    ]
    header = ("model", "class", "precision", "recall", "f1", "images")
    return Cells(header, rows, text_columns=2)


def errors(content: Content, number: int) -> Cells:
    """Return the best model's most frequent errors and their number in the other models."""
    class_names = content.dataset.class_names
    others = [result for result in content.shown if result is not content.best]
    rows = []
    for pair in most_confused(content.best.confusion, class_names, number):
        cell = class_names.index(pair.true), class_names.index(pair.predicted)
        of_best = (str(pair.images), percent(pair.share, 1))
        of_others = (str(result.confusion[cell]) for result in others)
        rows.append((pair.true, pair.predicted, *of_best, *of_others))
    header = (
        *("true class", "predicted class", content.names[content.best.name], "share of the class"),
        *(content.names[result.name] for result in others),
    )
    return Cells(header, rows, text_columns=2)


def class_counts(content: Content) -> Cells:
    """Return the number of images per class and split, with the totals."""
    counts: Mapping[str, Sequence[int]] = content.counts
    rows = [
        (name, *(count(split[index]) for split in counts.values()))
        for index, name in enumerate(content.dataset.class_names)
    ]
    total = ("all", *(count(sum(split)) for split in counts.values()))
    return Cells(("class", *counts), [*rows, total])
