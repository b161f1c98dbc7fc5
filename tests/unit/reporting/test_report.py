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
from sidebyside.reporting.choice import Cost
from sidebyside.reporting.page import TEMPLATES
from sidebyside.reporting.report_content import Content, gains
from tests.support.datasets import CLASS_NAMES
from tests.support.reports import made_up_content, plain, table_rows


def summary(markdown: str) -> str:
    return plain(markdown.partition("## Summary")[2].partition("## ")[0])


def test_the_summary_begins_with_the_better_architecture_and_the_difference(
    content: Content, markdown: str
) -> None:
    winner, (gain,) = best_model(content.results), gains(content)
    assert [str(winner.name), str(gain.first)] == ["cnn-augmented-1", "mlp-augmented-1"]
    low, high = winner.accuracy_interval
    first = summary(markdown).strip().splitlines()[0]
    assert first == (
        "- The CNN is better than the MLP: of the 400 test images, the augmented CNN classifies"
        f" {100 * winner.scores['accuracy']:.2f} % correctly (95 % confidence interval"
        f" {100 * low:.2f} to {100 * high:.2f} %), the augmented MLP"
        f" {100 * (winner.scores['accuracy'] - gain.difference):.2f} %. The difference is"
        f" +{100 * gain.difference:.2f} percentage points (95 % interval"
        f" +{100 * gain.interval.low:.2f} to +{100 * gain.interval.high:.2f}, p < 0.001)."
    )


def test_models_whose_validation_accuracies_do_not_differ_significantly_are_level(
    content: Content, markdown: str
) -> None:
    assert content.best.name == ModelName("cnn", "augmented", 1)
    assert content.to_use == ModelName("cnn", "original", 1)
    text = summary(markdown)
    assert "Model to use, chosen by validation accuracy alone: the original CNN." in text
    assert "On the 200 validation images, the augmented CNN (83.00 %) is level with the" in text
    assert "The original CNN is the cheapest one: it was trained on 4,000 instead of 5,000" in text
    marks = {row["model"] for row in table_rows(markdown, "All models")}
    assert {"cnn-augmented (best)", "cnn-original (level, to use)"} <= marks


def test_one_level_model_is_named_with_the_evidence(content: Content) -> None:
    comparisons = [
        one._replace(p_value=0.3 if one.other.model == "cnn" else 0.001)
        for one in content.val_comparisons
    ]
    text = summary(report.render(replace(content, val_comparisons=comparisons))[1])
    assert "the augmented CNN (83.00 %) and the original CNN (82.00 %) are level:" in text
    assert "the difference of 1.00 percentage points is not significant (95 % interval" in text
    assert "p = 0.300). The original CNN is the cheaper one" in text


@pytest.mark.parametrize("operations", [900, 1100])
def test_of_level_models_the_one_with_fewer_operations_is_to_be_used(
    content: Content, operations: int
) -> None:
    costs = {
        name: Cost(operations if name.model == "mlp" else 1000, 7, 4000) for name in content.costs
    }
    text = summary(report.render(replace(content, costs=costs))[1])
    if operations < 1000:
        assert "The augmented MLP is the cheapest one: 900 instead of 1,000 FLOPs" in text
    else:
        assert "alone: the augmented CNN." in text
        assert "None of them is cheaper." in text


def test_a_model_that_is_significantly_better_on_validation_images_is_to_be_used(
    content: Content,
) -> None:
    comparisons = [one._replace(p_value=0.004) for one in content.val_comparisons]
    markdown = report.render(replace(content, val_comparisons=comparisons))[1]
    assert (
        "the augmented CNN. Its validation accuracy, 83.00 %, is higher than that of every other"
        " model, significantly (p ≤ 0.004)." in summary(markdown)
    )
    assert "(level" not in markdown


def test_architectures_that_do_not_differ_significantly_on_the_test_images_are_level(
    content: Content,
) -> None:
    comparisons = [replace(one, adjusted_p_value=0.4) for one in content.comparisons]
    text = summary(report.render(replace(content, comparisons=comparisons))[1])
    assert "The CNN and the MLP are level on the test images: of the 400" in text


def test_the_report_compares_the_accuracy_with_that_on_images_without_near_duplicates(
    content: Content, markdown: str
) -> None:
    assert content.best.deduplicated
    stated = f"{100 * content.best.deduplicated.accuracy:.2f} %"
    assert "On the 398 test images without a near duplicate, the accuracy of" in markdown
    assert f"the augmented CNN is {stated}" in markdown
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
    assert "without a near duplicate, the" not in markdown
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
    assert (
        "The MLP, chosen by its validation accuracy, is worse than the CNN on the test images"
        in text
    )
    assert re.search(r"The difference is −\d+\.\d\d percentage points", text)


def test_the_report_has_the_most_frequent_and_the_shared_errors(
    content: Content, markdown: str
) -> None:
    shown = [result for result in content.results if result.name.data == "augmented"]
    wrong = np.all([result.predicted != result.labels for result in shown], axis=0).sum()
    text = summary(markdown)
    both = "both the augmented CNN and the augmented MLP"
    assert f"{wrong} test images are misclassified by {both}." in plain(markdown)
    (pair,) = most_confused(shown[1].confusion, CLASS_NAMES, 1)
    assert f"{pair.true} as {pair.predicted} ({pair.images} image" in text


def test_the_summary_has_the_effect_of_augmentation(markdown: str) -> None:
    text = summary(markdown)
    change = r"[+−]?\d+\.\d\d percentage points \(95 %"
    assert re.search(rf"data changed the test accuracy of the MLP by {change}", text)
    assert re.search(rf"and of the CNN by {change}", text)


def test_every_metric_is_defined(html: str, markdown: str) -> None:
    for metric in METRICS:
        assert f"- `{metric}`: " in markdown
        assert f'id="definitions-1-1-{metric}"' in html


def test_the_report_describes_the_random_transforms(markdown: str) -> None:
    assert (
        "the training images of the CNN are transformed at random: flipped horizontally with"
        " probability 0.5 and shifted by up to 1 pixel in each direction." in markdown
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
    alone = replace(content, results=content.results[:1], comparisons=[], val_comparisons=[])
    _, markdown = report.render(alone)
    assert "The original MLP is the only model: it classifies" in summary(markdown)
    assert "Model to use" not in markdown
    assert "McNemar's exact test, which" not in markdown


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
