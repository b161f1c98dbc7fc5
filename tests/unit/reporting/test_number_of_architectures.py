"""The report of one, three, four and seven architectures."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from sidebyside.config.hyperparameters import RECORDS, Hyperparameters
from sidebyside.reporting import evaluation_plots, report, training_plots
from sidebyside.reporting.class_tables import f1_changes
from sidebyside.reporting.report_content import Content, shown_comparisons, shown_models
from tests.support.reports import made_up_content, plain, table_rows

NAMES = ("logistic", "mlp", "residual", "cnn", "wide_2", "deep", "x")  # two of them in RECORDS
MODELS = {number: NAMES[:number] for number in (1, 3, 4, 7)}


@pytest.fixture
def content_of(monkeypatch: pytest.MonkeyPatch, undrawn: None) -> Callable[[int], Content]:
    """Return a function: number of architectures → content without drawn figures."""
    for name in NAMES:
        if name not in RECORDS:
            monkeypatch.setitem(RECORDS, name, type(name, (Hyperparameters,), {}))
    return lambda number: made_up_content(models=MODELS[number])


def differences(markdown: str, data: str) -> list[dict[str, str]]:
    caption = "Test accuracy of the row minus that of the column, in percentage points; models"
    return table_rows(markdown, f"{caption} trained on {data} data")


@pytest.mark.parametrize("number", MODELS)
def test_the_report_names_all_architectures_in_their_order(
    content_of: Callable[[int], Content], number: int
) -> None:
    html, markdown = report.render(content_of(number))
    expected = [f"{name}-{data}" for name in MODELS[number] for data in ("original", "augmented")]
    rows = table_rows(markdown, "All models")
    found = [row["model"].partition(" (")[0] for row in rows]
    assert found == [*expected, "always T-shirt/top"]
    assert re.findall(r"^\| (\w+) \|", plain(markdown.partition("## Data")[0]), re.M)
    for name in MODELS[number]:
        assert f"Trials of the {name.upper() if name in ('mlp', 'cnn') else name};" in plain(html)


def test_one_architecture_is_reported_without_a_comparison_of_architectures(
    content_of: Callable[[int], Content],
) -> None:
    _, markdown = report.render(content_of(1))
    assert markdown.startswith("# Made up: logistic\n")
    assert "percentage points higher" not in markdown
    assert "misclassified by" not in markdown
    assert "stands for" not in markdown
    assert "Test accuracy of the row" not in markdown
    assert len(table_rows(markdown, "Difference in test accuracy")) == 1  # of the training data


@pytest.mark.parametrize("number", [3, 4, 7])
def test_three_or_more_architectures_have_a_matrix_of_their_differences(
    content_of: Callable[[int], Content], number: int
) -> None:
    content = content_of(number)
    _, markdown = report.render(content)
    compared = {(str(one.first), str(one.second)): one for one in content.comparisons}
    names = {"MLP": "mlp", "CNN": "cnn"}
    for data in ("original", "augmented"):
        rows = differences(markdown, data)
        assert len(rows) == number
        for index, row in enumerate(rows):
            first, *cells = row.items()
            assert cells[index] == (first[1], "–")
            for column, cell in cells[:index]:
                second = names.get(first[1], first[1])
                one = compared[f"{names.get(column, column)}-{data}-1", f"{second}-{data}-1"]
                sign = f"{100 * one.difference:+.2f}".replace("-", "−").replace("+0.00", "0.00")
                assert cell == sign + " n. s." * (not content.significant(one))
                assert one.adjusted_p_value >= one.p_value


def test_more_than_three_architectures_are_counted_in_the_title(
    content_of: Callable[[int], Content],
) -> None:
    assert "# Made up: logistic vs MLP vs residual\n" in report.render(content_of(3))[1]
    assert "# Made up: 4 architectures\n" in report.render(content_of(4))[1]


def test_the_summary_of_seven_architectures_is_no_longer_than_that_of_three(
    content_of: Callable[[int], Content],
) -> None:
    def bullets(number: int) -> list[str]:
        summary = report.render(content_of(number))[1].partition("## Summary")[2]
        return re.findall(r"^- (.*)$", plain(summary.partition("## ")[0]), re.M)

    assert len(bullets(7)) == len(bullets(4)) <= len(bullets(3))
    text = "\n".join(bullets(7))
    assert "Of 7 architectures, the x has the highest validation accuracy" in text
    assert "percentage points: logistic " in text
    assert "the augmented x (93.00 %) is level with the original x (92.00 %)" in text
    assert text.count("is weakest on") == 2
    errors = report.render(content_of(7))[1].partition("## Errors")[2]
    assert "misclassified by all 7 architectures trained on augmented data." in errors


def test_many_level_models_are_counted(content_of: Callable[[int], Content]) -> None:
    seven = content_of(7)
    level = [one._replace(p_value=1.0) for one in seven.val_comparisons]
    markdown = plain(report.render(replace(seven, val_comparisons=level))[1])
    assert "is level with 13 other models: none of the differences is significant." in markdown


def test_the_report_states_for_how_many_comparisons_it_corrects(
    content_of: Callable[[int], Content],
) -> None:
    _, markdown = report.render(content_of(7))
    assert f"for the number of comparisons, {2 * 21 + 7}, by Holm's method" in markdown


def names_of(models: Sequence[str]) -> set[str]:
    return {f"{model}-{data}" for model in models for data in ("original", "augmented")}


def test_figures_with_a_line_per_model_show_the_best_eight(
    content_of: Callable[[int], Content],
) -> None:
    four, seven = content_of(4), content_of(7)
    assert {str(one.name)[:-2] for one in shown_models(four.results)} == names_of(NAMES[:4])
    assert {str(one.name)[:-2] for one in shown_models(seven.results)} == names_of(NAMES[3:])
    caption = "the 8 models with the highest validation accuracy"
    assert caption in report.render(seven)[1]
    assert caption not in report.render(four)[1]


def test_figures_with_a_line_per_comparison_show_those_of_the_best_model(
    content_of: Callable[[int], Content],
) -> None:
    two = made_up_content()
    assert shown_comparisons(two.comparisons, two.best.name) == two.comparisons
    seven = content_of(7)
    shown = shown_comparisons(seven.comparisons, seven.best.name)
    assert len(shown) == 7
    assert all(seven.best.name in (one.first, one.second) for one in shown)
    assert "`comparisons.json` has the others" in report.render(seven)[1]
    assert len(f1_changes(shown)) == 7


def test_architectures_with_equal_transforms_are_named_together(
    content_of: Callable[[int], Content],
) -> None:
    content = content_of(4)
    content.hyperparameters["logistic"] = content.hyperparameters["cnn"]  # type: ignore[index]
    _, markdown = report.render(content)
    assert "training images of the logistic and CNN are transformed at random" in plain(markdown)


@pytest.mark.filterwarnings("error")
def test_figures_of_seven_architectures_fit_their_size() -> None:
    history = {name: [0.5, 0.6] for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
    long = [f"a_long_name_{number}-augmented" for number in range(8)]
    training_plots.curves(dict.fromkeys(long, history))
    bins = [(0.0, 1.0, 100, 0.9, 0.9)]
    evaluation_plots.reliability(dict.fromkeys(long, bins))
    training_plots.trials({name: [0.1, 0.2] for name in long}, "val_accuracy")
