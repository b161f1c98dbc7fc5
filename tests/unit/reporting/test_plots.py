import functools
import inspect
import io
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import image
from numpy.typing import NDArray

from sidebyside.config.dataset import CLASS_NAMES
from sidebyside.data.splits import Split
from sidebyside.reporting import plots
from study import charts

COUNTS = np.full((10, 10), 3) + np.diag(np.arange(10) * 90)
TABLE = [(0.0, 0.5, 0, math.nan, math.nan), (0.5, 1.0, 40, 0.9, 0.8)]
HISTORY: dict[str, list[float]] = {
    "epoch": [1, 2],
    "loss": [0.9, 0.5],
    "accuracy": [0.7, 0.8],
    "val_loss": [0.8, 0.6],
    "val_accuracy": [0.75, 0.78],
}


def some_split(per_class: int) -> Split:
    labels = np.repeat(np.arange(10, dtype=np.uint8), per_class)
    random = np.random.default_rng(1)
    return Split(random.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8), labels)


def some_predictions(images: int) -> bytes:
    split = some_split(3)
    labels = split.labels[:images]
    probabilities = np.full((images, 10), 0.1)
    return plots.predictions(
        split.images[:images], labels, np.roll(labels, 1), probabilities, "some model"
    )


DRAWINGS: dict[str, Callable[[], bytes]] = {
    "samples": lambda: plots.samples(some_split(4), 3, 1),
    "before_after": lambda: plots.before_after(
        some_split(1).images[:7], some_split(1).images[3:10], some_split(1).labels[:7]
    ),
    "confusion_matrix": lambda: plots.confusion_matrix(COUNTS, "some model"),
    "curves": lambda: plots.curves({"mlp-original": HISTORY, "cnn-original": HISTORY}),
    "reliability": lambda: plots.reliability({"mlp-original": TABLE, "cnn-original": TABLE}),
    "predictions": lambda: some_predictions(30),
    "trials": lambda: plots.trials({"mlp": [0.8, math.nan, 0.9], "cnn": [0.9]}, "val_accuracy"),
    "f1_change": lambda: plots.f1_change({"a → b": [0.01] * 10, "c → d": [-0.01] * 10}),
    "accuracy_intervals": lambda: plots.accuracy_intervals(
        ["a", "b"], [0.9, 0.91], [0.89, 0.9], [0.91, 0.92], [0.9, 0.9]
    ),
}


@functools.cache
def drawn(name: str) -> bytes:
    return DRAWINGS[name]()


def pixels(png: bytes) -> NDArray[np.float32]:
    return np.asarray(image.imread(io.BytesIO(png)), np.float32)


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_is_a_png_of_sensible_size(name: str) -> None:
    png = drawn(name)
    height, width, _ = pixels(png).shape
    assert 300 < width < 1500
    assert 200 < height < 2000
    assert len(png) < 300_000


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_is_the_same_bytes_again_whatever_the_user_s_settings(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = drawn(name)
    monkeypatch.setitem(mpl.rcParams, "font.size", 17)
    monkeypatch.setitem(mpl.rcParams, "axes.facecolor", "black")
    assert DRAWINGS[name]() == first


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_names_no_program_version_or_time(name: str) -> None:
    png = drawn(name)
    assert not [chunk for chunk in (b"tEXt", b"iTXt", b"zTXt", b"tIME") if chunk in png[:200]]


def test_drawing_uses_no_pyplot_and_leaves_the_settings_alone() -> None:
    program = """
import sys
import matplotlib
before = matplotlib.rcParams.copy()
from sidebyside.reporting import plots
plots.trials({"mlp": [0.9]}, "val_accuracy")
assert matplotlib.rcParams.copy() == before
assert "matplotlib.pyplot" not in sys.modules
"""
    source = str(Path(plots.__file__).parents[2])
    subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": source}, check=True)


def test_samples_follow_their_seed() -> None:
    split = some_split(20)
    assert plots.samples(split, 3, 1) == plots.samples(split, 3, 1)
    assert plots.samples(split, 3, 1) != plots.samples(split, 3, 2)


def test_samples_of_a_rare_class_leave_places_empty() -> None:
    split = some_split(2)
    split.images[...] = 0  # black
    fewer = Split(split.images[1:], split.labels[1:])  # one image of class 0
    full, found = (pixels(plots.samples(one, 2, 1))[..., :3] for one in (split, fewer))
    assert found.shape == full.shape
    changed = (found != full).any(axis=-1)
    rows, columns = changed.any(axis=1), changed.any(axis=0)
    assert changed[np.ix_(rows, columns)].all()  # one square
    assert (found[changed] == 1).all()  # white
    assert changed.sum() == pytest.approx((full == 0).all(axis=-1).sum() / 20, rel=0.1)


def has_colour(png: bytes, colour: str) -> bool:
    wanted = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return bool((np.abs(pixels(png)[..., :3] - wanted).max(axis=-1) < 0.02).any())


def test_right_predictions_are_blue_and_wrong_ones_red() -> None:
    right = some_predictions(3)  # all of class 0
    assert has_colour(right, plots.BLUE)
    assert not has_colour(right, plots.RED)
    assert has_colour(some_predictions(4), plots.RED)


def test_a_single_image_can_be_shown() -> None:
    assert some_predictions(1).startswith(b"\x89PNG")


def test_histories_of_one_group_share_a_colour() -> None:
    draw: Any = inspect.unwrap(plots.curves)

    def colours(*groups: dict[str, str]) -> set[str]:
        figure = draw({"a-1": HISTORY, "a-2": HISTORY}, *groups)
        return {line.get_color() for line in figure.axes[1].lines}

    assert colours({"a-1": "a", "a-2": "a"}) == {plots.COLOURS[0]}
    assert colours() == {*plots.COLOURS[:2]}


def test_a_history_of_one_epoch_is_visible() -> None:
    def coloured(epochs: int) -> int:
        history = {column: values[:epochs] for column, values in HISTORY.items()}
        png = plots.curves({"a": history})
        return int(
            (np.abs(pixels(png)[..., :3] - (0, 0x72 / 255, 0xB2 / 255)) < 0.02).all(-1).sum()
        )

    assert coloured(1) > coloured(0) + 50  # the legend alone is coloured too


def test_the_best_trial_is_the_lowest_loss_or_the_highest_accuracy() -> None:
    draw: Any = inspect.unwrap(plots.trials)

    def best_so_far(objective: str) -> list[float]:
        (axes,) = draw({"mlp": [0.5, 0.4, 0.6]}, objective).axes
        return [float(value) for value in axes.lines[1].get_ydata()]

    assert best_so_far("val_loss") == [0.5, 0.4, 0.4]
    assert best_so_far("val_accuracy") == [0.5, 0.5, 0.6]


def test_a_search_without_a_finished_trial_is_drawn() -> None:
    assert plots.trials({"mlp": [math.nan]}, "val_accuracy").startswith(b"\x89PNG")


def test_a_class_without_images_is_drawn() -> None:
    counts = COUNTS.copy()
    counts[4] = 0
    assert plots.confusion_matrix(counts, "some model").startswith(b"\x89PNG")


def test_figures_do_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = drawn("trials")
    (tmp_path / "matplotlibrc").write_text("font.size: 30\n")
    monkeypatch.chdir(tmp_path)
    assert DRAWINGS["trials"]() == first


def test_points_of_a_sweep_stand_above_their_values_where_a_trial_has_failed() -> None:
    lines = {"without": ([0.1, 0.2, 0.4], [0.8, 0.9, 0.7]), "with": ([0.1, 0.4], [0.7, 0.6])}
    figure = inspect.unwrap(charts.sweeps)({"dropout": lines})
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.1", "0.2", "0.4"]
    assert [list(line.get_xdata()) for line in axes.lines] == [[0, 1, 2], [0, 2]]


def test_settled_losses_begin_at_their_epoch_and_share_their_axes() -> None:
    losses = {"original": [[3.0, 2.0, 1.0, 0.9]], "augmented": [[3.0, 2.0, 1.1], [3.0, 2.0, 1.2]]}
    figure = inspect.unwrap(charts.settled)(losses, 3)
    left, right = figure.axes
    assert [list(line.get_xdata()) for line in left.lines] == [[3, 4]]
    assert [list(line.get_ydata()) for line in right.lines] == [[1.1], [1.2]]
    assert left.get_ylim() == right.get_ylim()


def figure(draw: Any, *arguments: Any) -> Any:
    return inspect.unwrap(draw)(*arguments)


def test_a_confusion_matrix_has_true_classes_in_rows_and_shares_of_rows() -> None:
    counts = np.zeros((10, 10), np.int64)
    counts[0, 6], counts[0, 0], counts[6, 6] = 1, 3, 8
    axes = figure(plots.confusion_matrix, counts, "x").axes[0]
    (text,) = [text for text in axes.texts if text.get_text() == "1"]
    assert text.get_position() == (6, 0)  # x is the predicted class, y the true one
    assert axes.get_ylabel() == "True class"
    shown = axes.images[0].get_array()
    assert (shown[0, 6], shown[0, 0], shown[6, 6]) == pytest.approx((0.5, 0.75**0.5, 1))


def test_a_reliability_diagram_leaves_out_bins_of_few_images() -> None:
    table = [(0.0, 0.5, 9, 0.4, 0.1), (0.5, 0.9, 30, 0.8, 0.7), (0.9, 1.0, 61, 0.95, 0.9)]
    upper, lower = figure(plots.reliability, {"a": table}).axes
    line = upper.lines[1]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0.8, 0.95], [0.7, 0.9])
    assert list(lower.lines[0].get_ydata()) == [0.3, 0.61]


def test_a_prediction_is_shown_with_its_own_probability() -> None:
    split = some_split(1)
    probabilities = np.zeros((1, 10))
    probabilities[0, 0], probabilities[0, 6] = 0.3, 0.7
    arguments = (split.images[:1], np.array([0]), np.array([6]), probabilities, "x")
    (axes,) = figure(plots.predictions, *arguments).axes
    assert axes.get_xlabel() == "✗ Shirt 70%\ntrue: T-shirt/top"


def test_a_failed_trial_does_not_hide_the_best() -> None:
    (axes,) = figure(plots.trials, {"mlp": [0.5, math.nan, 0.6]}, "val_accuracy").axes
    assert list(axes.lines[1].get_ydata()) == [0.5, 0.5, 0.6]


def test_accuracies_stand_beside_their_names_and_within_their_intervals() -> None:
    (axes,) = figure(
        plots.accuracy_intervals, ["a", "b"], [0.9, 0.91], [0.89, 0.9], [0.92, 0.93], [0.8, 0.81]
    ).axes
    bars = [segment[:, 0].tolist() for segment in axes.collections[0].get_segments()]
    assert bars == [[0.89, 0.92], [0.9, 0.93]]
    assert [list(line.get_xdata()) for line in axes.lines] == [[0.9, 0.91], [0.8, 0.81]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.yaxis_inverted()


def test_curves_begin_at_epoch_one_and_validation_is_solid() -> None:
    loss, accuracy = figure(plots.curves, {"a": HISTORY}).axes
    assert list(loss.lines[0].get_xdata()) == [1, 2]
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        drawn = {line.get_linestyle(): list(line.get_ydata()) for line in axes.lines[:2]}
        assert drawn == {"--": HISTORY[name], "-": HISTORY[f"val_{name}"]}


def test_a_training_image_stands_left_of_the_new_one() -> None:
    old, new = np.zeros((1, 28, 28), np.uint8), np.full((1, 28, 28), 200, np.uint8)
    axes = figure(plots.before_after, old, new, np.array([0])).axes[0]
    shown = axes.images[0]
    assert (shown.get_array()[0, 0], shown.get_array()[0, -1]) == (0, 200)
    assert shown.get_clim() == (0, 255)  # grey values mean the same in every image


def test_changes_of_f1_stand_beside_their_classes() -> None:
    changes = {"a": [0.01 * n for n in range(10)], "b": [0.0] * 10}
    axes = figure(plots.f1_change, changes).axes[0]
    places = axes.lines[1].get_ydata()
    assert np.allclose(places, np.arange(10), atol=0.5)
    assert (places < np.arange(10)).all()  # the first above the second, as in the legend
    assert axes.yaxis_inverted()
    assert [label.get_text() for label in axes.get_yticklabels()] == list(CLASS_NAMES)
