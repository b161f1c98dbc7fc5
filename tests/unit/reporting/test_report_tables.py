import re
from dataclasses import replace

from sidebyside.evaluation.metrics import METRICS
from sidebyside.reporting import report
from sidebyside.reporting.report_content import Content, SearchTable
from tests.support.datasets import CLASS_NAMES
from tests.support.reports import plain, table_rows


def test_the_report_has_every_score_of_every_model(
    content: Content, html: str, markdown: str
) -> None:
    for result in content.results:
        for metric in METRICS:
            assert f">{result.scores[metric]:.4f}<" in html
            assert re.search(rf"\b{result.scores[metric]:.4f}\b", markdown)
        assert f"{result.val['accuracy']:.4f}" in markdown


def test_scores_are_in_the_columns_of_their_names(content: Content) -> None:
    told_apart = {metric: place / 100 for place, metric in enumerate(METRICS)}
    results = [replace(one, scores=told_apart) for one in content.results]
    markdown = report.render(replace(content, results=results))[1]
    alone = ("balanced_accuracy", "brier_score", "expected_calibration_error")
    averages = [metric for metric in METRICS if metric.endswith(("_macro", "_weighted"))]
    (*models, baseline), scores, means = (
        table_rows(markdown, caption)
        for caption in (
            "All models",
            "Scores of the predicted classes and probabilities.",
            "Precision, recall and F1 on the test split",
        )
    )
    assert baseline["model"] == "always T-shirt/top"
    assert baseline["test accuracy"] == f"{told_apart['largest_class_share']:.4f}"
    for one, model, score, mean in zip(results, models, scores, means, strict=True):
        low, high = one.accuracy_interval
        cost = content.costs[one.name]
        assert model == {
            "model": model["model"],
            "val accuracy": f"{one.val['accuracy']:.4f}",
            "test accuracy": f"{one.scores['accuracy']:.4f}",
            "interval": f"{low:.4f} to {high:.4f}",
            "FLOPs": f"{cost.operations:,}",
            "parameters": f"{cost.parameters:,}",
            "training images": f"{cost.training_images:,}",
        }
        assert model["model"].startswith(f"{one.name.model}-{one.name.data}")
        expected = {
            **{metric: one.scores[metric] for metric in alone},
            "val log_loss": one.val["log_loss"],
            "test log_loss": one.scores["log_loss"],
        }
        name = score["model"]
        assert score == {**{key: f"{value:.4f}" for key, value in expected.items()}, "model": name}
        assert name.removesuffix(" (best)") == f"{one.name.model}-{one.name.data}"
        assert mean == {**{key: f"{one.scores[key]:.4f}" for key in averages}, "model": name}


def test_a_comparison_has_both_models_and_their_counts(content: Content, markdown: str) -> None:
    found = table_rows(markdown, "Difference in test accuracy")
    for one, row in zip(content.comparisons, found, strict=True):
        assert one.only_first != one.only_second
        assert row["first"] == f"{one.first.model}-{one.first.data}"
        assert row["second"] == f"{one.second.model}-{one.second.data}"
        assert row["only first correct"] == str(one.only_first)
        assert row["only second correct"] == str(one.only_second)


def test_a_difference_is_significant_if_its_adjusted_p_value_is_below_the_level(
    content: Content,
) -> None:
    one = replace(content.comparisons[0], p_value=0.02, adjusted_p_value=0.051)
    page = report.render(replace(content, comparisons=[one]))[1]
    assert "| 0.020 | 0.051 | no |" in page
    one = replace(one, adjusted_p_value=0.049)
    page = report.render(replace(content, comparisons=[one]))[1]
    assert "| 0.020 | 0.049 | yes |" in page


def test_the_best_model_and_the_best_trials_are_highlighted(html: str, markdown: str) -> None:
    assert "| **cnn-augmented (best)** |" in markdown
    assert "| **3** | **0.1** | **0.83** |" in markdown
    assert html.count('<tr class="marked">') == 4 + 1 + 2


def test_a_failed_trial_has_no_score(markdown: str) -> None:
    assert "| 2 | 0.1 | – |" in markdown


def test_a_hyperparameter_that_one_architecture_lacks_is_a_dash(markdown: str) -> None:
    assert "| hidden_units | \\[32, 16\\] | – |" in markdown
    assert "| flip | false | true |" in markdown


def test_searched_hyperparameters_are_marked(markdown: str) -> None:
    assert "| dropout | 0.1 (searched) | 0.2 (searched) |" in markdown
    assert "| shift | 0 | 1 |" in markdown


def test_class_counts_have_a_total(markdown: str) -> None:
    assert "| all | 48,000 | 400 |" in markdown


def test_a_search_in_which_every_trial_failed_has_no_best_trial(content: Content) -> None:
    trials = [{"trial": "1", "val_accuracy": ""}]
    searches = [SearchTable(model, "val_accuracy", trials) for model in ("mlp", "cnn")]
    _, markdown = report.render(replace(content, searches=searches))
    assert "| 1 | – |" in markdown


def test_the_report_has_every_class(markdown: str) -> None:
    for name in CLASS_NAMES:
        assert f"| {name} |" in plain(markdown)


def test_scores_of_a_class_are_in_the_columns_of_their_names(
    content: Content, markdown: str
) -> None:
    assert table_rows(markdown, "Precision, recall and F1 of each class") == [
        {
            "model": f"{result.name.model}-{result.name.data}",
            "class": one.name,
            "precision": f"{one.precision:.4f}",
            "recall": f"{one.recall:.4f}",
            "f1": f"{one.f1:.4f}",
            "images": str(one.support),
        }
        for result in content.results
        for one in result.classes
    ]
