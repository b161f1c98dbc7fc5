"""Draw the figures of the report."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sidebyside.config.paths import ModelName
from sidebyside.data.splits import Split
from sidebyside.evaluation.results import ModelResult, short_names
from sidebyside.evaluation.selection import best_model
from sidebyside.reporting import evaluation_plots, training_plots
from sidebyside.reporting.f1_intervals import f1_difference_intervals
from sidebyside.reporting.formatting import architecture
from sidebyside.reporting.report_content import SearchTable, runner_up, shown_models

SHOWN_PREDICTIONS = 12  # images in a figure
COLUMNS = 4  # images side by side, so that their labels are legible on a phone


def draw(
    class_names: Sequence[str],
    results: Sequence[ModelResult],
    histories: Mapping[ModelName, training_plots.History],
    kept_epochs: Mapping[ModelName, int],
    searches: Sequence[SearchTable],
    test: Split,
    *,
    samples: int,
    confidence: float,
    seed: int,
) -> dict[str, bytes]:
    """Return every figure of the report: path beside the report → PNG.

    With several seeds, the curves and accuracies show every seed, each model has its confusion
    matrix, and the other figures show the best model's seed. Figures with a line per model show
    those that the report shows.

    Args:
        class_names: names of the classes.
        results: the results of every model.
        histories: model → column → value per epoch.
        kept_epochs: model → epoch, from 1, whose weights were kept.
        searches: the trials of every architecture's search.
        test: the test split.
        samples: number of bootstrap samples.
        confidence: level of the intervals, such as 0.95.
        seed: `seed` of params.yaml.
    """
    names = short_names(result.name for result in results)
    best, other = best_model(results), runner_up(results)
    shown = shown_models(results)
    drawn = {one.name[:2] for one in shown}  # architecture and data
    curves = {name: history for name, history in histories.items() if name[:2] in drawn}

    def examples(result: ModelResult, indices: Sequence[int], title: str) -> bytes:
        return evaluation_plots.predictions(
            test.images[indices],
            result.labels[indices],
            result.predicted[indices],
            result.probabilities[indices],
            class_names,
            title,
            COLUMNS,
        )

    figures = {
        "figures/accuracy.png": evaluation_plots.accuracy_intervals(
            [names[result.name] for result in results],
            [result.scores["accuracy"] for result in results],
            [result.accuracy_interval.low for result in results],
            [result.accuracy_interval.high for result in results],
            [result.val["accuracy"] for result in results],
        ),
        "figures/reliability.png": evaluation_plots.reliability(
            {names[result.name]: result.calibration for result in shown}
        ),
        "figures/curves.png": training_plots.curves(
            {names[name]: history for name, history in curves.items()},
            {names[name]: f"{name.model}-{name.data}" for name in curves},
            {names[name]: kept_epochs[name] for name in curves},
        ),
        "figures/predictions.png": examples(
            best,
            range(min(SHOWN_PREDICTIONS, len(test))),
            f"{names[best.name]}: the first test images",
        ),
        "figures/trials.png": training_plots.trials(
            {architecture(search.model): search.scores() for search in searches},
            searches[0].objective,
        ),
    }
    if errors := most_confident(best, best.predicted != best.labels):
        title = f"{names[best.name]}: most confident errors"
        figures["figures/confident_errors.png"] = examples(best, errors, title)
    if other:
        figures["figures/f1_change.png"] = f1_change(
            other, best, class_names, samples=samples, confidence=confidence, seed=seed
        )
        for right, wrong, file in ((best, other, "only_best"), (other, best, "only_other")):
            only = (right.predicted == right.labels) & (wrong.predicted != wrong.labels)
            if errors := most_confident(wrong, only):
                title = f"Only {names[right.name]} is correct; {names[wrong.name]} predicts"
                figures[f"figures/{file}.png"] = examples(wrong, errors, title)
    for result in results:
        figures[f"figures/confusion/{names[result.name]}.png"] = evaluation_plots.confusion_matrix(
            result.confusion,
            class_names,
            f"Confusion matrix of {names[result.name]} on the test split",
        )
    return figures


def most_confident(result: ModelResult, among: NDArray[np.bool_]) -> list[int]:
    """Return the images whose predicted class is the most probable, at most SHOWN_PREDICTIONS.

    Args:
        result: the results of a model.
        among: the images to choose from, [N].
    """
    indices = np.flatnonzero(among)
    order = np.argsort(-result.probabilities.max(axis=1)[indices], kind="stable")
    chosen: list[int] = indices[order][:SHOWN_PREDICTIONS].tolist()
    return chosen


def f1_change(
    first: ModelResult,
    second: ModelResult,
    class_names: Sequence[str],
    *,
    samples: int,
    confidence: float,
    seed: int,
) -> bytes:
    """Return the figure of the difference in the F1 of each class, second minus first.

    Args:
        first: results of the reference model.
        second: results of the model that is compared with it.
        class_names: names of the classes.
        samples: number of bootstrap samples.
        confidence: level of the intervals, such as 0.95.
        seed: `seed` of params.yaml.
    """
    changes = [
        after.f1 - before.f1 for before, after in zip(first.classes, second.classes, strict=True)
    ]
    shown = evaluation_plots.most_changed(changes)
    names = short_names([first.name, second.name])
    return evaluation_plots.f1_change(
        [changes[index] for index in shown],
        f1_difference_intervals(
            first, second, shown, samples=samples, confidence=confidence, seed=seed
        ),
        [class_names[index] for index in shown],
        names[first.name],
        names[second.name],
    )
