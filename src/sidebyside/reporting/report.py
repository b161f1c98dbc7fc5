"""Render the comparison report: content → HTML and Markdown."""

from collections.abc import Sequence
from typing import Any

from sidebyside.evaluation.metrics import most_confused
from sidebyside.evaluation.results import ModelResult
from sidebyside.reporting import (
    class_tables,
    evaluation_plots,
    report_content,
    report_tables,
    template,
)
from sidebyside.reporting.formatting import architecture, level, percent
from sidebyside.reporting.page import TEMPLATES, Cells
from sidebyside.reporting.report_content import Content, shown_comparisons
from sidebyside.reporting.report_figures import SHOWN_PREDICTIONS

CONFUSED_PAIRS = 10  # rows in the table of errors
NAMED_ERRORS = 3  # per model in sentences
MATRIX_ARCHITECTURES = 3  # from as many on, their differences are shown as a matrix too


def render(content: Content) -> tuple[str, str]:
    """Return the report as (HTML, Markdown).

    The HTML embeds its figures; the Markdown links to them by their paths in `content.figures`.

    Raises:
        ValueError: there is no result.
    """
    if not content.results:
        raise ValueError("there is no model to report")
    return template.render(TEMPLATES / "report.md.jinja", values(content), content.figures)


def values(content: Content) -> dict[str, Any]:
    """Return the variables of the template."""
    best = content.best
    examples = min(SHOWN_PREDICTIONS, len(best.labels))
    return {
        "report": content,
        "level": level(content.confidence),
        "listed": class_tables.LISTED,
        "numbered": evaluation_plots.NUMBERED,
        "most_classes": evaluation_plots.MOST_CLASSES,
        "architectures": [*map(architecture, content.architectures)],
        "tables": report_tables.tables(content, CONFUSED_PAIRS),
        "trials": report_tables.trials,
        "difference_matrices": _difference_matrices(content),
        "shown_comparisons": shown_comparisons(content.comparisons, content.best.name),
        "gains": report_content.gains(content),
        "augmentations": report_content.augmentations(content),
        "weaknesses": report_content.weaknesses(content, NAMED_ERRORS),
        "shared_errors": report_content.shared_errors(content.rivals),
        "long_names": report_content.long_names(content),
        "any_augmented": any(result.name.data == "augmented" for result in content.results),
        "image_changes": report_content.image_changes(content),
        "accuracies": [
            f"{content.names[result.name]} {percent(result.scores['accuracy'])}"
            for result in content.results
        ],
        "errors": {result.name: _errors(result) for result in content.shown},
        "mean_probability": float(best.probabilities.max(1).mean()),
        "label_smoothing": content.hyperparameters[best.name.model]["label_smoothing"],
        "calibration_errors": [
            f"{content.names[result.name]} {result.scores['expected_calibration_error']:.3f}"
            for result in content.shown
        ],
        "examples": examples,
        "examples_correct": int((best.predicted[:examples] == best.labels[:examples]).sum()),
        "search_results": [
            f"{architecture(search.model)} {len(search.trials)} trials, best {search.best():.4f}"
            for search in content.searches
        ],
        "trial_images": _trial_images(content.trial_images, content.counts["train"]),
    }


def _difference_matrices(content: Content) -> dict[str, Cells]:
    """Return training data → differences between all architectures; none if a list is as short."""
    if len(content.architectures) < MATRIX_ARCHITECTURES:
        return {}
    return {
        data: report_tables.difference_matrix(content, data)
        for data in dict.fromkeys(result.name.data for result in content.results)
    }


def _errors(result: ModelResult) -> str:
    """Return a model's most frequent errors for the alternative text of a figure."""
    pairs = most_confused(result.confusion, result.class_names, NAMED_ERRORS)
    return ", ".join(f"{one.true} as {one.predicted} {one.images}" for one in pairs) or "none"


def _trial_images(maximum: int, counts: Sequence[int]) -> str:
    available = sum(counts)
    used = min(maximum or available, available)
    if used == available:
        return "all training images"
    return f"{used:,} of the {available:,} training images"
