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
from sidebyside.reporting.formatting import architecture, level, percent, plural, points
from sidebyside.reporting.page import TEMPLATES, Cells
from sidebyside.reporting.report_content import Content, shown_comparisons
from sidebyside.reporting.report_figures import SHOWN_PREDICTIONS

CONFUSED_PAIRS = 10  # rows in the table of errors
NAMED_ERRORS = 3  # per model in sentences
NAMED_LEVEL = 3  # models
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
    best, other = content.best, content.runner_up
    return {
        "report": content,
        "level": level(content.confidence),
        "listed": class_tables.LISTED,
        "numbered": evaluation_plots.NUMBERED,
        "most_classes": evaluation_plots.MOST_CLASSES,
        "named_level": NAMED_LEVEL,
        "architectures": [*map(architecture, content.architectures)],
        "main_models": [best, other] if other else content.shown[:2],
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
        "highest_p": max((one.p_value for one in content.val_comparisons), default=0),
        "cheaper_by": report_content.cheaper_by(content),
        "accuracy_of": {result.name: result.scores["accuracy"] for result in content.results},
        "val_accuracy_of": {result.name: result.val["accuracy"] for result in content.results},
        "accuracies": [
            f"{content.names[result.name]} {percent(result.scores['accuracy'])}"
            for result in content.results
        ],
        "changed_classes": _changed_classes(content),
        "errors": {result.name: _errors(result) for result in content.shown},
        "mean_probability": float(best.probabilities.max(1).mean()),
        "label_smoothing": content.hyperparameters[best.name.model]["label_smoothing"],
        "calibration_errors": [
            f"{content.names[result.name]} {result.scores['expected_calibration_error']:.3f}"
            for result in content.shown
        ],
        "examples": _examples(content),
        "search_results": [
            f"{architecture(search.model)} {len(search.trials)} trials, best {search.best():.4f}"
            for search in content.searches
        ],
        "trial_images": _trial_images(content.trial_images, content.counts["train"]),
    }


def _examples(content: Content) -> list[dict[str, str]]:
    """Return the figures of example images that were drawn: file, alternative text, caption."""
    best, other = content.best, content.runner_up
    legend = "Predicted class with its probability, and true class"
    found = []
    if other:
        for right, wrong, file in ((best, other, "only_best"), (other, best, "only_other")):
            only = int(
                ((right.predicted == right.labels) & (wrong.predicted != wrong.labels)).sum()
            )
            name, mistaken = content.prose_name(right.name), content.prose_name(wrong.name)
            found.append(
                (
                    f"figures/{file}.png",
                    f"Images that only the {name} classifies correctly, with the wrong predictions"
                    f" of the {mistaken}.",
                    f"Only the {name} is correct on {plural(only, 'test image')}; those on which"
                    f" the {mistaken} is most confident. {legend}.",
                )
            )
    name, shown = content.prose_name(best.name), min(SHOWN_PREDICTIONS, len(best.labels))
    correct = int((best.predicted[:shown] == best.labels[:shown]).sum())
    found += [
        (
            "figures/confident_errors.png",
            f"Errors of the {name} with the highest probabilities.",
            f"The most confident errors of the {name}. {legend}.",
        ),
        (
            "figures/predictions.png",
            f"The first {shown} test images with the predictions of the {name}; {correct} are"
            " correct.",
            f"The first {shown} test images, predicted by the {name}. {legend}. Blue ✓ is correct,"
            f" red ✗ is wrong; {correct} of {shown} are correct.",
        ),
    ]
    return [
        {"file": file, "text": text, "caption": caption}
        for file, text, caption in found
        if file in content.figures
    ]


def _changed_classes(content: Content) -> list[str]:
    """Return the classes whose F1 differs most between the two main models."""
    if not content.runner_up:
        return []
    changes = {
        after.name: after.f1 - before.f1
        for before, after in zip(content.runner_up.classes, content.best.classes, strict=True)
    }
    largest = sorted(changes, key=lambda name: -abs(changes[name]))[:NAMED_ERRORS]
    return [f"{name} {points(changes[name])}" for name in largest]


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
