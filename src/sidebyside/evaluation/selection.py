"""Select the best model by its score on the validation split."""

from collections.abc import Sequence

from sidebyside.evaluation.results import ModelResult


def best_model(results: Sequence[ModelResult]) -> ModelResult:
    """Return the model with the highest validation accuracy, the first of equal ones.

    Raises:
        ValueError: there are no results.
    """
    return max(results, key=lambda result: result.val["accuracy"])
