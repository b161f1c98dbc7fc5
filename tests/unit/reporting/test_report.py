import re
from dataclasses import replace

import numpy as np
import pytest

from sidebyside.config.paths import ModelName
from sidebyside.evaluation.intervals import Interval, mean_with_interval
from sidebyside.evaluation.metrics import METRICS, most_confused
from sidebyside.evaluation.results import Subset
from sidebyside.evaluation.selection import best_model
from sidebyside.reporting import report
from sidebyside.reporting.page import TEMPLATES
from sidebyside.reporting.report_content import Content
from tests.support.datasets import CLASS_NAMES
from tests.support.reports import made_up_content, plain, table_rows


def summary(markdown: str) -> str:
    return plain(markdown.partition("## Summary")[2].partition("## ")[0])


def test_the_summary_names_the_best_model_and_its_test_accuracy(
    content: Content, markdown: str
) -> None:
    winner = best_model(content.results)
    assert str(winner.name) == "cnn-augmented-1"
    low, high = winner.accuracy_interval
    first = summary(markdown).strip().splitlines()[0]
    assert first == (
        "- The augmented CNN is the best model. Selected by its validation accuracy (83.00 %), it"
        f" classifies {100 * winner.scores['accuracy']:.2f} % of the 400 test images correctly"
        f" (95 % confidence interval {100 * low:.2f} to {100 * high:.2f} %). Its balanced accuracy"
        f" is {100 * winner.scores['balanced_accuracy']:.2f} %; the largest class, T-shirt/top, has"
        " 10.00 % of the test images."
    )


def test_the_report_compares_the_accuracy_with_that_on_images_without_near_duplicates(
    content: Content, markdown: str
) -> None:
    assert content.best.deduplicated
    stated = f"{100 * content.best.deduplicated.accuracy:.2f} %"
    assert "On the 398 test images without a near duplicate" in summary(markdown)
    assert f"its accuracy is {stated}" in summary(markdown)
    assert "2 test images (0.50 %) have near duplicates in the training" in markdown
    rows = table_rows(markdown, "Accuracy on all 400 test images and on the 398 without")
    for result, row in zip(content.results, rows, strict=True):
        assert result.deduplicated
        low, high = result.deduplicated.interval
        difference = 100 * (result.deduplicated.accuracy - result.scores["accuracy"])
        assert row["all images"] == f"{result.scores['accuracy']:.4f}"
        assert row["without near duplicates"] == f"{result.deduplicated.accuracy:.4f}"
        assert row["interval"] == f"{low:.4f} to {high:.4f}"
        assert float(row["difference"].replace("−", "-")) == pytest.approx(difference, abs=0.005)


@pytest.mark.parametrize("near_duplicates", [0, 400])
def test_a_test_split_without_or_of_near_duplicates_alone_is_reported_without_their_table(
    content: Content, near_duplicates: int
) -> None:
    rest = 400 - near_duplicates
    subset = Subset(rest, 0.5, Interval(0.4, 0.6)) if rest else None
    results = [replace(result, deduplicated=subset) for result in content.results]
    _, markdown = report.render(replace(content, results=results))
    assert "Accuracy on all 400 test images" not in markdown
    assert "without a near duplicate" not in summary(markdown)
    nothing = "No test image has a near duplicate in the training or validation split."
    assert (nothing in markdown) == (not near_duplicates)
    assert ("400 test images (100.00 %) have near duplicates" in markdown) == bool(near_duplicates)


def test_the_report_describes_its_own_data_set(content: Content) -> None:
    described = content.dataset.model_copy(
        update={"title": "Digits", "licence": "CC BY 4.0", "source": "scikit-learn"}
    )
    _, markdown = report.render(replace(content, dataset=described))
    assert markdown.startswith("# Digits: MLP vs CNN\n")
    data = markdown.partition("## Data")[2].partition("## ")[0]
    assert "- Digits: 10 classes, grey images of 28×28 pixels.\n- Source: scikit-learn\n" in data
    assert "- Licence: CC BY 4.0\n" in data
    assert "Citation" not in data
    assert "The data set is public" not in markdown


def test_a_published_test_split_is_a_limitation(content: Content) -> None:
    cited = content.dataset.model_copy(update={"citation": "Somebody 2017"})
    _, markdown = report.render(replace(content, dataset=cited))
    assert "The data set is public, so its test split has influenced" in markdown


def test_the_templates_name_no_data_set() -> None:
    for path in TEMPLATES.iterdir():
        assert not re.search(r"mnist|cloth|garment|shirt", path.read_text(), re.I), path


def test_the_summary_has_the_difference_to_the_other_architecture(
    content: Content, markdown: str
) -> None:
    one = next(one for one in content.comparisons if one.first.data == "augmented")
    assert (str(one.first), str(one.second)) == ("mlp-augmented-1", "cnn-augmented-1")
    text = summary(markdown)
    expected = f"{100 * one.difference:.2f} percentage points higher than that of the augmented MLP"
    assert f"Its test accuracy is {expected}" in text
    assert f"95 % interval +{100 * one.interval.low:.2f} to" in text
    assert "p < 0.001: significant). Only the augmented CNN is correct on" in text


def test_the_summary_reverses_a_comparison_whose_first_model_is_the_best(
    content: Content,
) -> None:
    results = [
        replace(result, val={"accuracy": 1.0, "log_loss": 0.1})
        if result.name == ModelName("mlp", "augmented", 1)
        else result
        for result in content.results
    ]
    text = summary(report.render(replace(content, results=results))[1])
    assert "The augmented MLP is the best model" in text
    assert "percentage points lower than that of the augmented CNN" in text


def test_the_summary_has_the_most_frequent_and_the_shared_errors(
    content: Content, markdown: str
) -> None:
    shown = [result for result in content.results if result.name.data == "augmented"]
    wrong = np.all([result.predicted != result.labels for result in shown], axis=0).sum()
    text = summary(markdown)
    both = "both the augmented CNN and the augmented MLP"
    assert f"{wrong} images are misclassified by {both}." in text
    (pair,) = most_confused(shown[1].confusion, CLASS_NAMES, 1)
    assert f"{pair.true} predicted as {pair.predicted} ({pair.images} image" in text


def test_the_summary_has_the_effect_of_augmentation(markdown: str) -> None:
    text = summary(markdown)
    change = r"[+−]?\d+\.\d\d percentage points \(95 %"
    assert re.search(rf"data changed the test accuracy of the MLP by {change}", text)
    assert re.search(rf"and of the CNN by {change}", text)


def test_every_metric_is_defined(html: str, markdown: str) -> None:
    for metric in METRICS:
        assert f"- `{metric}`: " in markdown
        assert f'id="definitions-1-{metric}"' in html


def test_the_summary_describes_the_random_transforms(markdown: str) -> None:
    assert (
        "the training images of the CNN are transformed at random: flipped horizontally with"
        " probability 0.5 and shifted by up to 1 pixel in each direction." in summary(markdown)
    )
    assert "images of the MLP" not in markdown


@pytest.mark.parametrize(
    ("factor", "expected"), [(0.5, "is underconfident."), (1, "is overconfident.")]
)
def test_the_report_distinguishes_under_and_overconfidence(
    content: Content, factor: float, expected: str
) -> None:
    winner = best_model(content.results)
    records = {
        model: {**record, "label_smoothing": 0.05}
        for model, record in content.hyperparameters.items()
    }
    sure = 0.1 + factor * (np.eye(10)[winner.predicted] - 0.1)  # of every prediction alike
    changed = replace(winner, probabilities=sure)
    results = [changed if one is winner else one for one in content.results]
    _, markdown = report.render(replace(content, results=results, hyperparameters=records))
    stated = 100 * (0.1 + 0.9 * factor)
    assert f"its predictions have a mean probability of {stated:.2f} %" in markdown
    assert expected in markdown
    assert ("Label smoothing (0.05 here)" in markdown) == ("underconfident" in expected)


def test_a_single_seed_is_a_limitation(markdown: str) -> None:
    assert "trained with one seed" in markdown
    assert "Each model was trained once" in summary(markdown)
    assert "## Variation between seeds" not in markdown


@pytest.mark.usefixtures("undrawn")
def test_several_seeds_are_summarized() -> None:
    content = made_up_content(seeds=(1, 2))
    _, markdown = report.render(content)
    assert "## Variation between seeds" in markdown
    values = [r.scores["accuracy"] for r in content.results if r.name[:2] == ("cnn", "original")]
    over = mean_with_interval(values, 0.95)
    assert f"| cnn-original | 2 | {over.mean:.4f} | {over.deviation:.4f} |" in markdown
    assert "mean over 2 seeds" in summary(markdown)
    assert "trained once" not in summary(markdown)
    assert "trained with one seed" not in markdown
    assert set(re.findall(r"\]\((figures/confusion.*?)\)", markdown)) == {
        f"figures/confusion/{model}-{data}-2.png"
        for model in ("mlp", "cnn")
        for data in ("original", "augmented")
    }


def test_a_single_model_is_reported_without_comparisons(content: Content) -> None:
    alone = replace(content, results=content.results[:1], comparisons=[])
    _, markdown = report.render(alone)
    assert "The original MLP is the only model" in plain(markdown)
    assert "## Comparisons" not in markdown


@pytest.mark.parametrize(
    ("images", "epochs", "expected"),
    [
        (10_000, 3, "10,000 of the 48,000 training images for at most 3 epochs."),
        (0, 1, "all training images for at most 1 epoch."),
        (50_000, 2, "all training images for at most 2 epochs."),
    ],
)
def test_the_report_states_the_budget_of_a_trial(
    content: Content, images: int, epochs: int, expected: str
) -> None:
    changed = replace(content, trial_images=images, trial_epochs=epochs)
    assert f"Each trial was trained on {expected}" in report.render(changed)[1]


def test_a_report_without_models_is_refused(content: Content) -> None:
    with pytest.raises(ValueError, match="no model"):
        report.render(replace(content, results=[]))


@pytest.mark.usefixtures("undrawn")
def test_the_same_results_give_the_same_bytes(content: Content, html: str, markdown: str) -> None:
    assert report.render(content) == (html, markdown)
    assert report.render(made_up_content()) == (html, markdown)
