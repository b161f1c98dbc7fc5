"""Figures and reports of two to two hundred classes, with grey and colour images."""

import io
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sidebyside.data.splits import Split
from sidebyside.reporting import data_plots, evaluation_plots, report
from sidebyside.reporting.class_tables import class_order
from sidebyside.reporting.plot_style import class_labels
from tests.support.figures import undecorated
from tests.support.reports import Page, made_up_content, plain, table_rows

NUMBERS = (2, 20, 47, 200)


def names(classes: int) -> tuple[str, ...]:
    return tuple(f"kind {number}" for number in range(classes))


def colour_split(classes: int, per_class: int) -> Split:
    """Return random colour images of 20×16 pixels, sorted by class."""
    labels = np.repeat(np.arange(classes, dtype=np.uint8), per_class)
    random = np.random.default_rng(1)
    return Split(random.integers(0, 256, (len(labels), 20, 16, 3), dtype=np.uint8), labels)


def tick_labels(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def test_a_long_name_of_a_class_keeps_its_beginning_and_its_end() -> None:
    long = ("Trucks, articulated, front", "Trucks, articulated, rear")
    assert class_labels(long, 11) == ["Truck…front", "Truck… rear"]
    assert class_labels(long, 10) == ["Truck…ront", "Truck…rear"]
    assert class_labels(["T-shirt/top"], 11) == ["T-shirt/top"]


def test_a_dollar_sign_in_a_name_starts_no_formula() -> None:
    labels = class_labels(["$\\frac$", "5$"], 20)
    figure = undecorated(evaluation_plots.confusion_matrix, np.eye(2, dtype=int), labels, "x")
    figure.draw_without_rendering()
    assert labels == [r"\$\frac\$", r"5\$"]


def test_a_name_in_a_script_that_the_font_lacks_becomes_the_number_of_its_class() -> None:
    assert class_labels(["cat", "犬", "Ёлка", "ハト"], 20) == ["cat", "class 1", "Ёлка", "class 3"]


@pytest.mark.parametrize("classes", NUMBERS)
def test_a_confusion_matrix_of_many_classes_has_no_numbers_and_few_names(classes: int) -> None:
    counts = np.full((classes, classes), 2)
    figure = undecorated(evaluation_plots.confusion_matrix, counts, names(classes), "x")
    axes = figure.axes[0]
    assert len(axes.texts) == (classes**2 if classes <= 20 else 0)
    step = 4 if classes == 200 else 1
    assert tick_labels(axes.xaxis) == tick_labels(axes.yaxis) == list(names(classes)[::step])
    assert list(axes.get_yticks()) == list(range(0, classes, step))


@pytest.mark.parametrize("classes", NUMBERS)
def test_differences_of_f1_are_drawn_for_at_most_25_classes(classes: int) -> None:
    changes = [0.001 * (number - 60) for number in range(classes)]
    largest = sorted(range(classes), key=lambda number: -abs(number - 60))[:25]
    shown = evaluation_plots.most_changed(changes)
    assert shown == (list(range(classes)) if classes <= 25 else largest)


@pytest.mark.parametrize("classes", NUMBERS)
def test_samples_show_every_class_in_its_colours(classes: int) -> None:
    split = colour_split(classes, 1)
    figure = undecorated(data_plots.samples, split, names(classes), 12, 1)
    shown = [label for axes in figure.axes for label in tick_labels(axes.yaxis)]
    assert shown == list(names(classes))
    for axes in figure.axes:
        array = axes.images[0].get_array()
        for tick, label in zip(axes.get_yticks(), tick_labels(axes.yaxis), strict=True):
            top = round(tick - 10)
            image = split.images[int(label.split()[1])]
            assert (array[top : top + 20, :16] == image).all()


def test_colour_images_are_shown_in_predictions_and_before_and_after() -> None:
    split = colour_split(2, 1)
    labels, probabilities = split.labels, np.eye(2)
    arguments = (split.images, labels, labels, probabilities, names(2), "x")
    shown = undecorated(evaluation_plots.predictions, *arguments).axes[1].images[0].get_array()
    assert (shown == split.images[1]).all()
    pair = (split.images[:1], split.images[1:], labels[:1], names(2))
    shown = undecorated(data_plots.before_after, *pair).axes[0].images[0].get_array()
    assert (shown[:, :16] == split.images[0]).all()
    assert (shown[:, -16:] == split.images[1]).all()
    assert (shown[:, 16:-16] == 255).all()


def test_a_figure_of_colour_images_keeps_their_colours() -> None:
    images = np.arange(2**13 * 3, dtype=np.uint32).view(np.uint8).reshape(-1, 64, 64, 3)
    split = Split(images, (np.arange(len(images)) % 2).astype(np.uint8))
    few = Split(images[..., 0], split.labels)
    assert mode(data_plots.samples(split, names(2), 12, 1)) == "RGB"
    assert mode(data_plots.samples(few, names(2), 12, 1)) == "P"


def mode(png: bytes) -> str:
    with Image.open(io.BytesIO(png)) as picture:
        return picture.mode


@pytest.mark.usefixtures("undrawn")
def test_the_report_of_200_classes_lists_the_hardest_first_and_folds_its_tables() -> None:
    content = made_up_content(class_names=names(200))
    html, markdown = report.render(content)
    order = class_order(content)
    total = [sum(one.classes[index].f1 for one in content.shown) for index in order]
    assert total == sorted(total)
    rows = re.findall(r"^\| (kind \d+) \| 2 \|", plain(markdown), re.M)
    assert rows == [names(200)[index] for index in order]
    assert markdown.count("<details><summary>Show 200 rows</summary>\n\n| ") == 2
    assert "<details><summary>Show 800 rows</summary>" in markdown
    assert "<details><summary>Show 201 rows</summary>" in markdown  # images per class and all
    assert markdown.count("</details>") == len(Page(html).all("details")) == 4 + 11
    assert "the hardest classes come first" in markdown
    assert "of the 25 classes where it is largest" in markdown
    assert "the most frequent errors of cnn-augmented" in plain(markdown).lower()


@pytest.mark.usefixtures("undrawn")
def test_the_report_of_two_classes_has_each_class_in_its_order() -> None:
    _, markdown = report.render(made_up_content(class_names=("yes", "no")))
    assert [row["class"] for row in table_rows(markdown, "F1 of each class")] == ["yes", "no"]
    assert "Show" not in markdown
    assert "| always yes | – | 0.5000 |" in plain(markdown)
