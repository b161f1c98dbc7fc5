"""Draw the figures of the report."""

from collections.abc import Mapping, Sequence

from sidebyside.config.paths import ModelName
from sidebyside.data.splits import Split
from sidebyside.evaluation.paired_tests import Comparison
from sidebyside.evaluation.results import ModelResult, short_names
from sidebyside.evaluation.selection import best_model
from sidebyside.reporting import evaluation_plots, training_plots
from sidebyside.reporting.class_tables import f1_changes
from sidebyside.reporting.formatting import architecture
from sidebyside.reporting.report_content import SearchTable, shown_comparisons, shown_models

SHOWN_PREDICTIONS = 30  # images


def draw(
    class_names: Sequence[str],
    results: Sequence[ModelResult],
    comparisons: Sequence[Comparison],
    histories: Mapping[ModelName, training_plots.History],
    searches: Sequence[SearchTable],
    test: Split,
) -> dict[str, bytes]:
    """Return every figure of the report: path beside the report → PNG.

    With several seeds, the curves and accuracies show every seed, each model has its confusion
    matrix, the differences of F1 are means over the seeds, and the other figures show the best
    model's seed. Figures with a line per model or comparison show those that the report shows.
    """
    names = short_names(result.name for result in results)
    best = best_model(results)
    shown = shown_models(results)
    drawn = {one.name[:2] for one in shown}  # architecture and data
    curves = {name: history for name, history in histories.items() if name[:2] in drawn}
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
        ),
        "figures/predictions.png": evaluation_plots.predictions(
            test.images[:SHOWN_PREDICTIONS],
            best.labels[:SHOWN_PREDICTIONS],
            best.predicted[:SHOWN_PREDICTIONS],
            best.probabilities[:SHOWN_PREDICTIONS],
            class_names,
            f"Predictions of {names[best.name]} for the first test images",
        ),
        "figures/trials.png": training_plots.trials(
            {architecture(search.model): search.scores() for search in searches},
            searches[0].objective,
        ),
    }
    if comparisons:
        figures["figures/f1_change.png"] = evaluation_plots.f1_change(
            f1_changes(shown_comparisons(comparisons, best.name)), class_names
        )
    for result in results:
        figures[f"figures/confusion/{names[result.name]}.png"] = evaluation_plots.confusion_matrix(
            result.confusion,
            class_names,
            f"Confusion matrix of {names[result.name]} on the test split",
        )
    return figures
