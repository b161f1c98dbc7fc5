"""The values that the page's figures are drawn from, with made-up results."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sidebyside.config.paths import CHECKOUT
from sidebyside.data.splits import Split
from sidebyside.reporting import evaluation_plots, training_plots
from study.comparison import charts
from study.comparison.figures import figures
from study.comparison.results import History, ModelResult, SearchResult
from study.plan import CLASS_NAMES, Plan, read_plan

PLAN = read_plan(CHECKOUT / "replications/params.yaml")
TEST = Split(np.zeros((3, 28, 28), np.uint8), np.zeros(3, np.uint8))
F1 = {f"f1.{name}": [index / 10, index / 20] for index, name in enumerate(CLASS_NAMES)}
DRAWINGS = {
    charts: ("accuracies", "agreement", "sweeps", "class_f1", "settled"),
    training_plots: ("curves",),
    evaluation_plots: ("confusion_matrix", "predictions"),
}


def measured(*histories: History, **metrics: Sequence[float]) -> ModelResult:
    """Return a model with one seed per history that classifies two Pullovers as Trousers."""
    return ModelResult(
        settings={},
        metrics={"test_accuracy": [0.5], **F1, **metrics},
        best_epochs=[3, 15],
        histories=dict(enumerate(histories, 1)),
        confusion=np.diag(np.arange(10)),
        labels=np.full(2, 2, np.uint8),
        probabilities=np.eye(10)[[1, 1]],
    )


def history(start: float) -> History:
    """Return two epochs with distinct values in every column."""
    return {
        column: [start + index, start + index + 0.01]
        for index, column in enumerate(("loss", "val_loss", "accuracy", "val_accuracy"))
    }


class Page:
    """Records the calls of the drawing functions: name → arguments of each call."""

    def __init__(self) -> None:
        self.calls: dict[str, list[tuple[Any, ...]]] = {}

    def recorder(self, name: str) -> Any:
        def draw(*arguments: Any) -> bytes:
            calls = self.calls.setdefault(name, [])
            calls.append(arguments)
            return f"{name} {len(calls)}".encode()

        return draw

    def draw(
        self,
        models: dict[str, ModelResult],
        searches: dict[str, SearchResult] | None = None,
        plan: Plan = PLAN,
    ) -> dict[str, str]:
        """Draw the figures of some results; return file → the call that drew it."""
        results = searches or {}
        parts: dict[str, Any] = {
            "models": {name: part for name, part in plan.models.items() if name in models},
            "winners": {name: part for name, part in plan.winners.items() if name in models},
            "searches": {name: part for name, part in plan.searches.items() if name in results},
            "claims": tuple(c for c in plan.claims if {c.first, c.second} <= models.keys()),
        }
        made = figures(plan.model_copy(update=parts), models, results, TEST)
        return {file.removeprefix("figures/"): png.decode() for file, png in made.items()}


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    """Replace the drawing functions by recorders."""
    made = Page()
    for module, names in DRAWINGS.items():
        for name in names:
            monkeypatch.setattr(module, name, made.recorder(name))
    return made


def test_accuracies_are_drawn_with_the_published_ones_in_the_order_of_the_systems(
    page: Page,
) -> None:
    accuracies = {"5-baseline": [0.7, 0.71], "3-tyler": [0.86, 0.87], "1-dropout": [0.8]}
    models = {name: measured(test_accuracy=values) for name, values in accuracies.items()}
    page.draw({**models, "4-grid-2-sgd-01-512": measured()})
    ((published, ours),) = page.calls["accuracies"]
    labels = {name: f"{name[0]}. {PLAN.trained[name].title}" for name in accuracies}
    order = [labels[name] for name in ("1-dropout", "3-tyler", "5-baseline")]
    assert [*published] == [*ours] == order
    assert published == {**dict.fromkeys(order), labels["3-tyler"]: 0.88}
    assert ours == {labels[name]: values for name, values in accuracies.items()}


def test_a_row_of_the_grid_is_a_point_of_published_and_measured_accuracy(page: Page) -> None:
    models = {
        "4-grid-2-sgd-01-512": measured(test_accuracy=[0.81]),
        "4-grid-3-sgd-01-512": measured(test_accuracy=[0.82]),
        "4-cnn-sgd": measured(),
    }
    assert page.draw(models)["grid.png"] == "agreement 1"
    rows = {"2 hidden layers": [(0.8896, 0.81)], "3 hidden layers": [(0.8873, 0.82)]}
    assert page.calls["agreement"] == [(rows,)]


def search(*trials: tuple[str, ...], columns: Sequence[str]) -> SearchResult:
    return SearchResult([dict(zip(columns, trial, strict=True)) for trial in trials], {})


def test_a_sweep_has_one_line_per_l2_factor(page: Page) -> None:
    batch = PLAN.searches["3-batch-size"]
    batch = batch.model_copy(update={"space": {**batch.space, "l2": 0.001}})
    searches = {
        "3-dropout": search(
            ("0.2", "0.001", "0.84"),
            ("0.2", "0.0", "0.82"),
            ("0.1", "0.0", "0.81"),
            ("0.3", "0.0", ""),  # failed
            ("0.1", "0.001", "0.83"),
            columns=("dropout", "l2", "val_accuracy"),
        ),
        "3-batch-size": search(
            ("256", "0.72"), ("64", "0.71"), columns=("batch_size", "val_accuracy")
        ),
        "5-hyperband": search(columns=()),
    }
    plan = PLAN.model_copy(update={"searches": {**PLAN.searches, "3-batch-size": batch}})
    models = {
        "3-tyler": measured(history(0.1), history(0.3)),
        "3-tyler-l2": measured(history(0.5)),
        "3-jackson": measured(history(0.7)),
    }
    assert page.draw(models, searches, plan)["sweeps.png"] == "sweeps 1"
    ((panels,),) = page.calls["sweeps"]
    assert [*panels] == ["Dropout", "Batch size", "Epochs (mean over seeds)"]
    assert panels["Dropout"] == {
        "without L2": ((0.1, 0.2), (0.81, 0.82)),
        "L2 0.001": ((0.1, 0.2), (0.83, 0.84)),
    }
    assert panels["Batch size"] == {"L2 0.001": ((64, 256), (0.71, 0.72))}
    assert panels["Epochs (mean over seeds)"] == {
        "without L2": (range(1, 3), pytest.approx([3.2, 3.21])),
        "L2 0.001": (range(1, 3), pytest.approx([3.5, 3.51])),
    }


def test_curves_show_the_two_models_of_a_claim_about_volatility(page: Page) -> None:
    one, two, three = map(history, (0.1, 0.2, 0.3))
    models = {
        "2-mlp": measured(one, two),
        "2-mlp-augmented": measured(three),
        "3-tyler": measured(),
    }
    drawn = page.draw(models)
    assert {file for file in drawn if "-2-mlp." in file} == {
        *("curves-2-mlp.png", "val-loss-2-mlp.png", "confusion-2-mlp.png")
    }
    assert (drawn["curves-2-mlp.png"], drawn["val-loss-2-mlp.png"]) == ("curves 1", "settled 1")
    plain, augmented = "Published MLP", "Published MLP, augmented data"
    lines = {"2-mlp seed 1": one, "2-mlp seed 2": two, "2-mlp-augmented seed 1": three}
    groups = dict(zip(lines, (plain, plain, augmented), strict=True))
    assert page.calls["curves"] == [(lines, groups)]
    losses = {plain: [one["val_loss"], two["val_loss"]], augmented: [three["val_loss"]]}
    assert page.calls["settled"] == [(losses, 6)]


def test_f1_of_every_class_is_drawn_with_the_published_value(page: Page) -> None:
    page.draw({"2-mlp-augmented": measured(), "3-tyler": measured()})
    ((published, ours),) = page.calls["class_f1"]
    title = "Published MLP, augmented data"
    assert published == {title: [0.85, 0.98, 0.83, 0.91, 0.84, 0.97, 0.74, 0.96, 0.98, 0.96]}
    assert [*ours] == [title]
    assert ours[title] == pytest.approx(np.outer([0.1, 0.05], np.arange(10)))


def test_a_confusion_matrix_shows_the_first_seed_of_its_model(page: Page) -> None:
    tyler, jackson = measured(), measured()
    drawn = page.draw({"3-tyler": tyler, "3-jackson": jackson, "5-baseline": measured()})
    matrices = {file: call for file, call in drawn.items() if file.startswith("confusion")}
    assert matrices == {
        "confusion-3-tyler.png": "confusion_matrix 1",
        "confusion-3-jackson.png": "confusion_matrix 2",
    }
    first, second = page.calls["confusion_matrix"]
    assert first[0] is tyler.confusion
    assert second[0] is jackson.confusion
    assert first[1:] == (CLASS_NAMES, "Tyler, 5 × 128, seed 1")


def test_predictions_are_those_of_the_last_cnn_of_system_4(page: Page) -> None:
    last = measured()
    page.draw({"4-cnn-sgd": measured(), "4-cnn-adam-dropout": last})
    ((images, labels, predicted, probabilities, class_names, title),) = page.calls["predictions"]
    assert len(images) == 2
    assert labels is last.labels
    assert predicted.tolist() == [1, 1]
    assert probabilities is last.probabilities
    assert (class_names, title) == (CLASS_NAMES, "First test images: CNN, Adam with dropout")
