"""The tables of the report: results → formatted cells."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pandas as pd

from sidebyside.config.paths import ModelName
from sidebyside.evaluation.intervals import mean_with_interval
from sidebyside.reporting import class_tables
from sidebyside.reporting.formatting import (
    architecture,
    count,
    p_value,
    point_range,
    points,
    score,
    score_range,
)
from sidebyside.reporting.page import Cells
from sidebyside.reporting.report_content import (
    Content,
    SearchTable,
    arrow,
    reverse,
)

MISSING = "–"
AVERAGES = tuple(
    f"{metric}_{average}"
    for average in ("macro", "weighted")
    for metric in ("precision", "recall", "f1")
)


def tables(content: Content, confused_pairs: int) -> dict[str, Cells]:
    """Return the tables of the report by name, those of the searches excepted.

    Args:
        content: content of the report.
        confused_pairs: maximum number of rows in the table of errors.
    """
    return {
        "models": models(content),
        "scores": scores(content),
        "deduplicated": deduplicated(content),
        "averages": averages(content),
        "differences": differences(content),
        "f1_differences": class_tables.f1_differences(content),
        "seed_accuracies": seed_accuracies(content),
        "seed_differences": seed_differences(content),
        "class_f1": class_tables.class_f1(content),
        "class_scores": class_tables.class_scores(content),
        "errors": class_tables.errors(content, confused_pairs),
        "hyperparameters": hyperparameters(content),
        "class_counts": class_tables.class_counts(content),
    }


def models(content: Content) -> Cells:
    """Return the accuracy and the cost of every model; those level with the best are marked.

    The last row has the test accuracy of always predicting the largest class.
    """
    header = (
        *("model", "val accuracy", "test accuracy", "interval"),
        *("FLOPs", "parameters", "training images"),
    )
    rows = [
        (
            score(result.val["accuracy"]),
            score(result.scores["accuracy"]),
            score_range(result.accuracy_interval),
            *map(count, content.costs[result.name]),
        )
        for result in content.results
    ]
    marks = {one.other: " (level)" for one in content.level}
    if content.to_use != content.best.name:
        marks[content.to_use] = " (level, to use)"
    by_model = _by_model(content, header, rows, marks)
    share = score(content.best.scores["largest_class_share"])
    baseline = (f"always {content.largest_class.name}", MISSING, share, *(MISSING,) * 4)
    return replace(by_model, rows=[*by_model.rows, baseline])


def scores(content: Content) -> Cells:
    """Return balanced accuracy, log loss and calibration of every model."""
    header = (
        *("model", "balanced_accuracy", "val log_loss", "test log_loss"),
        *("brier_score", "expected_calibration_error"),
    )
    rows = [
        (
            score(result.scores["balanced_accuracy"]),
            score(result.val["log_loss"]),
            score(result.scores["log_loss"]),
            score(result.scores["brier_score"]),
            score(result.scores["expected_calibration_error"]),
        )
        for result in content.results
    ]
    return _by_model(content, header, rows)


def deduplicated(content: Content) -> Cells:
    """Return every model's accuracy on all test images and on those without near duplicates."""
    header = ("model", "all images", "without near duplicates", "interval", "difference")
    rows = [
        (
            score(result.scores["accuracy"]),
            score(result.deduplicated.accuracy),
            score_range(result.deduplicated.interval),
            points(result.deduplicated.accuracy - result.scores["accuracy"]),
        )
        for result in content.results
        if result.deduplicated
    ]
    return _by_model(content, header, rows) if rows else Cells(header, rows)


def averages(content: Content) -> Cells:
    """Return the macro and weighted averages of precision, recall and F1 of every model."""
    rows = [[score(result.scores[name]) for name in AVERAGES] for result in content.results]
    return _by_model(content, ("model", *AVERAGES), rows)


def _by_model(
    content: Content,
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    marks: Mapping[ModelName, str] = MappingProxyType({}),
) -> Cells:
    """Return a row per model, with marks after their names; the best one is highlighted."""
    best = content.results.index(content.best)
    marks = {content.best.name: " (best)", **marks}
    names = [content.names[result.name] + marks.get(result.name, "") for result in content.results]
    named = [(name, *row) for name, row in zip(names, rows, strict=True)]
    return Cells(header, named, marked=(best,))


def differences(content: Content) -> Cells:
    """Return the difference in test accuracy of every comparison."""
    header = (
        *("first", "second", "difference", "interval"),
        *("only first correct", "only second correct", "p", "adjusted p", "significant"),
    )
    rows = [
        (
            content.names[one.first],
            content.names[one.second],
            points(one.difference),
            point_range(one.interval),
            count(one.only_first),
            count(one.only_second),
            p_value(one.p_value),
            p_value(one.adjusted_p_value),
            "yes" if content.significant(one) else "no",
        )
        for one in content.comparisons
    ]
    return Cells(header, rows, text_columns=2)


def difference_matrix(content: Content, data: str) -> Cells:
    """Return the differences between the architectures trained on one data set.

    Each cell is the row's test accuracy minus the column's, with the best model's seed.

    Args:
        content: content of the report.
        data: "original" or "augmented".
    """
    found = {
        (one.first.model, one.second.model): one
        for pair in content.comparisons
        for one in (pair, reverse(pair))
        if one.first[1:] == one.second[1:] == (data, content.best.name.seed)
    }

    def cell(row: str, column: str) -> str:
        if row == column:
            return MISSING
        one = found[column, row]
        return points(one.difference) + " n. s." * (not content.significant(one))

    models = content.architectures
    rows = [(architecture(row), *(cell(row, column) for column in models)) for row in models]
    return Cells(("architecture", *map(architecture, models)), rows)


def seed_accuracies(content: Content) -> Cells:
    """Return mean and spread over the seeds of every configuration's test accuracy."""
    values = _grouped(
        (f"{one.name.model}-{one.name.data}", one.scores["accuracy"]) for one in content.results
    )
    rows = []
    for configuration, sample in values.items():
        over = mean_with_interval(sample, content.confidence)
        spread = score(over.mean), score(over.deviation), score_range(over.interval)
        rows.append((configuration, str(over.seeds), *spread))
    return Cells(("model", "seeds", "mean", "standard deviation", "interval of the mean"), rows)


def seed_differences(content: Content) -> Cells:
    """Return mean and spread over the seeds of every difference in test accuracy."""
    values = _grouped((arrow(one), one.difference) for one in content.comparisons)
    rows = []
    for pair, sample in values.items():
        over = mean_with_interval(sample, content.confidence)
        spread = points(over.mean), f"{100 * over.deviation:.2f}", point_range(over.interval)
        rows.append((pair, str(over.seeds), *spread))
    header = ("comparison", "seeds", "mean", "standard deviation", "interval of the mean")
    return Cells(header, rows)


def _grouped(values: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    """Return group → its values, in the order in which groups and values come."""
    frame = pd.DataFrame(values, columns=["group", "value"])
    grouped = frame.groupby("group", sort=False)["value"]
    return {str(group): sample.tolist() for group, sample in grouped}


def hyperparameters(content: Content) -> Cells:
    """Return the hyperparameters of each architecture; searched ones are marked by a word."""
    records = content.hyperparameters
    searched = {search.model: {*search.trials[0]} for search in content.searches}
    names = dict.fromkeys(name for record in records.values() for name in record)
    rows = [
        (
            name,
            *(
                _value(record[name]) + " (searched)" * (name in searched[model])
                if name in record
                else MISSING
                for model, record in records.items()
            ),
        )
        for name in names
    ]
    return Cells(("hyperparameter", *map(architecture, records)), rows)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def trials(search: SearchTable) -> Cells:
    """Return all trials of a search, the best one highlighted."""
    header = list(search.trials[0])
    rows = [[_trial_cell(trial[column]) for column in header] for trial in search.trials]
    best = search.best()
    marked = () if math.isnan(best) else (search.scores().index(best),)
    return Cells(header, rows, text_columns=0, marked=marked)


def _trial_cell(text: str) -> str:
    try:
        return text if text.lstrip("-").isdigit() else f"{float(text):.4g}"
    except ValueError:
        return text or MISSING
