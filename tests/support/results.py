"""Made-up predictions and their results."""

import numpy as np
from numpy.typing import NDArray

from sidebyside.config.paths import ModelName
from sidebyside.evaluation.predictions import Labels
from sidebyside.evaluation.results import ModelResult, evaluate_model
from tests.support.datasets import CLASS_NAMES

MLP = ModelName("mlp", "original", 1)
CNN = ModelName("cnn", "original", 1)


def one_hot(classes: list[int], share: float = 1.0) -> NDArray[np.float64]:
    """Return probabilities: `share` for the given class, the rest divided among the others."""
    probabilities = np.full((len(classes), 10), (1 - share) / 9)
    probabilities[np.arange(len(classes)), classes] = share
    return probabilities


def random_case(images: int = 200, seed: int = 1) -> tuple[Labels, NDArray[np.float64]]:
    """Return labels and random probabilities that favour them."""
    random = np.random.default_rng(seed)
    labels = (np.arange(images) % 10).astype(np.uint8)
    scores = random.normal(size=(images, 10)) + 2 * np.eye(10)[labels]
    probabilities = np.exp(scores)
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


def some_result(
    name: ModelName = MLP,
    labels: Labels | None = None,
    probabilities: NDArray[np.float64] | None = None,
    seed: int = 1,
) -> ModelResult:
    """Return the results of a model, by default for random predictions."""
    if labels is None or probabilities is None:
        labels, probabilities = random_case(seed=seed)
    return evaluate_model(
        name,
        labels,
        probabilities,
        CLASS_NAMES,
        val={"accuracy": 0.9, "log_loss": 0.3, "epochs": 3},
        near_duplicates=[0],
        bins=5,
        confidence=0.95,
    )
