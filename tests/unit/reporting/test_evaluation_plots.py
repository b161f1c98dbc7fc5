import numpy as np
import pytest

from sidebyside.reporting import evaluation_plots, plot_style
from tests.support.datasets import CLASS_NAMES
from tests.support.figures import BINS, COUNTS, draw_predictions, pixels, random_split, undecorated


def has_colour(png: bytes, colour: str) -> bool:
    wanted = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return bool((np.abs(pixels(png)[..., :3] - wanted).max(axis=-1) < 0.02).any())


def test_correct_predictions_are_blue_and_wrong_ones_red() -> None:
    right = draw_predictions(3)  # all of class 0
    assert has_colour(right, plot_style.BLUE)
    assert not has_colour(right, plot_style.RED)
    assert has_colour(draw_predictions(4), plot_style.RED)


def test_a_single_prediction_can_be_drawn() -> None:
    assert draw_predictions(1).startswith(b"\x89PNG")


def test_a_prediction_is_shown_with_its_own_probability() -> None:
    split = random_split(1)
    probabilities = np.zeros((1, 10))
    probabilities[0, 0], probabilities[0, 6] = 0.3, 0.7
    arguments = (split.images[:1], np.array([0]), np.array([6]), probabilities, CLASS_NAMES, "x")
    (axes,) = undecorated(evaluation_plots.predictions, *arguments).axes
    assert axes.get_xlabel() == "✗ Shirt 70%\ntrue: T-shirt/top"


def test_a_confusion_matrix_may_have_a_class_without_images() -> None:
    counts = COUNTS.copy()
    counts[4] = 0
    assert evaluation_plots.confusion_matrix(counts, CLASS_NAMES, "some model").startswith(
        b"\x89PNG"
    )


def test_a_confusion_matrix_has_true_classes_in_rows_and_shares_of_rows() -> None:
    counts = np.zeros((10, 10), np.int64)
    counts[0, 6], counts[0, 0], counts[6, 6] = 1, 3, 8
    axes = undecorated(evaluation_plots.confusion_matrix, counts, CLASS_NAMES, "x").axes[0]
    (text,) = [text for text in axes.texts if text.get_text() == "1"]
    assert text.get_position() == (6, 0)  # x is the predicted class, y the true one
    assert axes.get_ylabel() == "True class"
    shown = axes.images[0].get_array()
    assert (shown[0, 6], shown[0, 0], shown[6, 6]) == pytest.approx((0.5, 0.75**0.5, 1))


def test_a_reliability_diagram_omits_bins_with_few_images() -> None:
    table = [(0.0, 0.5, 9, 0.4, 0.1), (0.5, 0.9, 30, 0.8, 0.7), (0.9, 1.0, 61, 0.95, 0.9)]
    upper, lower = undecorated(evaluation_plots.reliability, {"a": table}).axes
    line = upper.lines[1]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0.8, 0.95], [0.7, 0.9])
    assert list(lower.lines[0].get_ydata()) == [0.3, 0.61]


def test_accuracies_are_drawn_with_their_names_and_intervals() -> None:
    (axes,) = undecorated(
        evaluation_plots.accuracy_intervals,
        ["a", "b"],
        [0.9, 0.91],
        [0.89, 0.9],
        [0.92, 0.93],
        [0.8, 0.81],
    ).axes
    bars = [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()]
    assert bars == [[0.89, 0.92], [0.9, 0.93]]
    assert [list(line.get_xdata()) for line in axes.lines] == [[0.9, 0.91], [0.8, 0.81]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.yaxis_inverted()


def test_differences_of_f1_are_drawn_with_their_classes() -> None:
    changes = [0.01 * (n - 4) for n in range(10)]
    intervals = [(change - 0.015, change + 0.015) for change in changes]
    axes = undecorated(
        evaluation_plots.f1_change, changes, intervals, CLASS_NAMES, "first", "second"
    ).axes[0]
    dots = axes.lines[1:]
    assert [(*dot.get_xdata(), *dot.get_ydata()) for dot in dots] == [
        (change, row) for row, change in enumerate(changes)
    ]
    assert [bar.get_segments()[0][:, 0].tolist() for bar in axes.collections] == [
        pytest.approx(interval) for interval in intervals
    ]
    filled = [dot.get_fillstyle() == "full" for dot in dots]  # where the interval leaves out zero
    assert filled == [abs(n - 4) > 1 for n in range(10)]
    assert axes.get_title() == "F1 per class: second minus first"
    assert axes.yaxis_inverted()
    assert [label.get_text() for label in axes.get_yticklabels()] == list(CLASS_NAMES)


def test_the_title_of_a_reliability_diagram_fits_the_figure() -> None:
    figure = undecorated(evaluation_plots.reliability, {"some model": BINS})
    figure.draw_without_rendering()
    title = figure.axes[0].title.get_window_extent()
    assert 0 < title.x0 < title.x1 < figure.bbox.x1
