"""Reports of made-up results, and how to read them."""

import functools
import io
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sidebyside.config.paths import ModelName
from sidebyside.data.splits import Split
from sidebyside.evaluation.paired_tests import compare_all
from sidebyside.evaluation.results import ModelResult, evaluate_model
from sidebyside.evaluation.selection import best_model
from sidebyside.reporting import evaluation_plots, report_figures, training_plots
from sidebyside.reporting.choice import Cost, compare_with_best
from sidebyside.reporting.report_content import Content, SearchTable
from tests.support.datasets import CLASS_NAMES, dataset

IMAGES = 400
VAL_IMAGES = 200
PLOTS = {
    evaluation_plots: (
        *("accuracy_intervals", "reliability", "predictions", "f1_change", "confusion_matrix"),
    ),
    training_plots: ("curves", "trials"),
}
SKILL = {"mlp": 2.0, "cnn": 4.0}  # logit of the true class; of other architectures 3
CHANGES = {"flip": False, "shift": 0, "cutout": 0, "label_smoothing": 0.0}
HYPERPARAMETERS = {
    "mlp": {"hidden_units": [32, 16], "dropout": 0.1, **CHANGES},
    "cnn": {"filters": [8], "dropout": 0.2, **CHANGES, "flip": True, "shift": 1},
}


def made_up_result(
    name: ModelName, val_accuracy: float, class_names: Sequence[str] = CLASS_NAMES
) -> ModelResult:
    """Return the results of a model for random predictions."""
    classes = len(class_names)
    labels = (np.arange(IMAGES) % classes).astype(np.uint8)
    random = np.random.default_rng([name.seed, len(name.data), len(name.model)])
    scores = random.normal(size=(IMAGES, classes))
    scores += SKILL.get(name.model, 3) * np.eye(classes)[labels]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return evaluate_model(
        name,
        labels,
        probabilities,
        class_names,
        val={"accuracy": val_accuracy, "log_loss": 0.3},
        near_duplicates=[0, 1],
        bins=5,
        confidence=0.95,
    )


def made_up_val(accuracy: float) -> NDArray[np.bool_]:
    """Return which validation images are classified correctly: the first ones."""
    return np.arange(VAL_IMAGES) < round(accuracy * VAL_IMAGES)


@functools.cache
def small_png() -> bytes:
    """Return a picture in place of a figure."""
    buffer = io.BytesIO()
    Image.new("L", (2, 2)).save(buffer, "png")
    return buffer.getvalue()


def replace_plots(patch: pytest.MonkeyPatch) -> None:
    """Replace the figures of reports by small pictures."""
    for module, names in PLOTS.items():
        for name in names:
            patch.setattr(module, name, lambda *_, **__: small_png())


def made_up_content(
    seeds: Sequence[int] = (1,),
    models: Sequence[str] = ("mlp", "cnn"),
    class_names: tuple[str, ...] = CLASS_NAMES,
) -> Content:
    """Return the content of a report of made-up results, with its figures.

    They take seconds to draw: see `replace_plots`.
    """
    names = [
        ModelName(model, data, seed)
        for model in models
        for data in ("original", "augmented")
        for seed in seeds
    ]
    results = [
        made_up_result(name, 0.8 + 0.01 * place, class_names) for place, name in enumerate(names)
    ]
    scores = ["0.81", "", "0.83"]
    searches = [
        SearchTable(
            model,
            "val_accuracy",
            [
                {"trial": str(place + 1), "dropout": "0.1", "val_accuracy": score}
                for place, score in enumerate(scores)
            ],
        )
        for model in models
    ]
    column = [0.5, 0.6]
    history = {
        "loss": column, "accuracy": column, "val_loss": column, "val_accuracy": column
    }  # fmt: skip
    test = Split(np.zeros((IMAGES, 28, 28), np.uint8), results[0].labels)
    bootstrap: dict[str, Any] = {"samples": 500, "confidence": 0.95, "seed": 1}
    return Content(
        dataset=dataset(class_names=class_names),
        results=results,
        comparisons=compare_all(results, **bootstrap),
        hyperparameters={model: HYPERPARAMETERS.get(model, CHANGES) for model in models},
        searches=searches,
        trial_images=10_000,
        trial_epochs=3,
        counts={"train": [4800] * len(class_names), "test": [40] * len(class_names)},
        confidence=0.95,
        samples=500,
        bins=5,
        figures=report_figures.draw(
            class_names,
            results,
            dict.fromkeys(names, history),
            dict.fromkeys(names, 2),
            searches,
            test,
            **bootstrap,
        ),
        costs={
            name: Cost(
                1000 * len(name.model), 500, {"original": 4000, "augmented": 5000}[name.data]
            )
            for name in names
        },
        val_images=VAL_IMAGES,
        val_comparisons=compare_with_best(
            best_model(results).name,
            {result.name: made_up_val(result.val["accuracy"]) for result in results},
            **bootstrap,
        ),
    )


class Page(HTMLParser):
    """The tags and texts of a HTML page; checks that tags are closed in order."""

    VOID = ("meta", "link", "img", "wbr", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def plain(text: str) -> str:
    """Return a text without Markdown's marks."""
    return re.sub(r"[*`\\]", "", text)


def table_rows(markdown: str, caption: str) -> list[dict[str, str]]:
    """Return the rows of the table whose caption starts with a text: header → cell."""
    table = plain(markdown).partition(f"\n{caption}")[2].split("\n\n")[1]
    header, _, *cells = [line.strip("| ").split(" | ") for line in table.splitlines()]
    return [dict(zip(header, row, strict=True)) for row in cells]
