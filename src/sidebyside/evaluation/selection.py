"""Select the best model, on the validation split alone."""

from collections.abc import Sequence

from sidebyside.evaluation.results import ModelResult


def best_model(results: Sequence[ModelResult]) -> ModelResult:
    """Return the model to use: the highest validation accuracy, the first of equals.

    Raises:
        ValueError: there is no result.
    """
    return max(results, key=lambda result: result.val["accuracy"])
