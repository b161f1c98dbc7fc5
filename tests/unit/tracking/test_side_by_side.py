import re
from collections.abc import Sequence

import numpy as np

from sidebyside.config.paths import ModelName
from sidebyside.evaluation.paired_tests import compare_all, comparisons_content
from sidebyside.evaluation.results import ModelResult, evaluate_model
from sidebyside.tracking.side_by_side import largest_changes, side_by_side, signed
from tests.support.datasets import dataset


def result(model: str, predicted: Sequence[int], names: tuple[str, ...]) -> ModelResult:
    """A model that predicts some classes for images of the classes 0, 0, 1, 1, and so on."""
    labels = np.repeat(np.arange(len(names), dtype=np.uint8), 2)
    return evaluate_model(
        ModelName(model, "original", 1),
        labels,
        np.eye(len(names))[list(predicted)],
        names,
        val={"accuracy": 0.5, "log_loss": 0.3},
        near_duplicates=[],
        bins=5,
        confidence=0.95,
    )


def page(first: ModelResult, second: ModelResult) -> str:
    names = first.class_names
    compared = compare_all([first, second], samples=10, confidence=0.95, seed=1)
    images = dataset(16, 24, 3, names, name="icons", title="<Icons>")
    content = comparisons_content(compared, names)
    return side_by_side(images, [first, second], content, {"figures/curves.png": b"png"})


NAMES = ("<bag>", "shirt")


def test_both_matrices_and_their_difference_are_on_the_page() -> None:
    html = page(result("mlp", (0, 1, 1, 0), NAMES), result("cnn", (0, 0, 1, 0), NAMES))
    assert "<h1>MLP and CNN on &lt;Icons&gt;</h1>" in html
    captions = re.findall("<caption>(.*)</caption>", html)
    assert captions[:3] == [
        "mlp-original",
        "cnn-original",
        "Difference: cnn-original − mlp-original",
    ]
    cells = re.findall(r'<td style="background: rgb\(([^"]*)\)">(.*?)</td>', html)
    texts = [text for _, text in cells]
    assert texts == ["1", "1", "1", "1", "2", "0", "1", "1", "+1", "−1", "0", "0"]
    # One scale: half of a true class has the same colour in both matrices.
    assert cells[0][0] == cells[6][0] != cells[4][0]
    assert "data:image/png;base64," in html and "&lt;bag&gt;" in html and "<bag>" not in html


def test_of_many_classes_the_largest_differences_are_listed() -> None:
    names = tuple(f"class {number}" for number in range(30))
    right = np.repeat(np.arange(30), 2)
    wrong = right.copy()
    wrong[:3] = 7
    html = page(result("mlp", wrong.tolist(), names), result("cnn", right.tolist(), names))
    assert "Difference:" not in html
    assert re.findall(r"<td>(\d+)</td>", html) == ["2", "0", "1", "0"]


def test_the_largest_changes_leave_out_the_right_predictions() -> None:
    first, second = result("mlp", (1, 1, 1, 1), NAMES), result("cnn", (0, 0, 1, 0), NAMES)
    assert [tuple(change) for change in largest_changes(first, second)] == [
        ("<bag>", "shirt", 2, 0),
        ("shirt", "<bag>", 0, 1),
    ]


def test_a_difference_of_zero_has_no_sign() -> None:
    assert [signed(count) for count in (-1, 0, 1)] == ["−1", "0", "+1"]
