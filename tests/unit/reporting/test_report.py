import functools
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from sidebyside.config.dataset import CLASS_NAMES
from sidebyside.config.paths import ModelName
from sidebyside.data.splits import Split
from sidebyside.evaluation.intervals import mean_with_interval
from sidebyside.evaluation.metrics import METRICS, most_confused
from sidebyside.evaluation.paired_tests import comparable_pairs, compare_models
from sidebyside.evaluation.results import ModelResult, evaluate_model
from sidebyside.evaluation.selection import best_model
from sidebyside.reporting import evaluation_plots, report, report_figures, training_plots
from sidebyside.reporting.report_content import Content, SearchTable

IMAGES = 400
SKILL = {"mlp": 2.0, "cnn": 4.0}  # how far the true class stands out


CHANGES = {"flip": False, "shift": 0, "cutout": 0, "label_smoothing": 0.0}


def some_result(name: ModelName, val_accuracy: float) -> ModelResult:
    labels = (np.arange(IMAGES) % 10).astype(np.uint8)
    random = np.random.default_rng([name.seed, len(name.data), len(name.model)])
    scores = random.normal(size=(IMAGES, 10)) + SKILL[name.model] * np.eye(10)[labels]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return evaluate_model(
        name,
        labels,
        probabilities,
        val={"accuracy": val_accuracy, "log_loss": 0.3},
        bins=5,
        confidence=0.95,
    )


@functools.cache
def some_content(seeds: Sequence[int] = (1,), models: Sequence[str] = ("mlp", "cnn")) -> Content:
    names = [
        ModelName(model, data, seed)
        for model in models
        for data in ("original", "augmented")
        for seed in seeds
    ]
    results = [some_result(name, 0.8 + 0.01 * place) for place, name in enumerate(names)]
    comparisons = [
        compare_models(first, second, samples=500, confidence=0.95, seed=1)
        for first, second in comparable_pairs(results)
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
    return Content(
        results=results,
        comparisons=comparisons,
        hyperparameters={
            "mlp": {"hidden_units": [32, 16], "dropout": 0.1, **CHANGES},
            "cnn": {"filters": [8], "dropout": 0.2, **CHANGES, "flip": True, "shift": 1},
        },
        searches=searches,
        trial_images=10_000,
        trial_epochs=3,
        counts={"train": [4800] * 10, "test": [40] * 10},
        confidence=0.95,
        samples=500,
        bins=5,
        figures=report_figures.draw(
            results, comparisons, dict.fromkeys(names, history), searches, test
        ),
    )


@pytest.fixture(scope="module")
def content() -> Content:
    return some_content()


@pytest.fixture(scope="module")
def html(content: Content) -> str:
    return report.render(content)[0]


@pytest.fixture(scope="module")
def markdown(content: Content) -> str:
    return report.render(content)[1]


class Page(HTMLParser):
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
    """Leave the words of either format."""
    return re.sub(r"[*`\\]", "", text)


def rows(markdown: str, caption: str) -> list[dict[str, str]]:
    """Return the rows of the table whose caption starts so: header → cell."""
    table = plain(markdown).partition(f"\n{caption}")[2].split("\n\n")[1]
    header, _, *cells = [line.strip("| ").split(" | ") for line in table.splitlines()]
    return [dict(zip(header, row, strict=True)) for row in cells]


def summary(markdown: str) -> str:
    return plain(markdown.partition("## Summary")[2].partition("## ")[0])


def test_the_summary_names_the_best_model_on_validation_and_its_test_accuracy(
    content: Content, markdown: str
) -> None:
    winner = best_model(content.results)
    assert str(winner.name) == "cnn-augmented-1"
    low, high = winner.accuracy_interval
    first = summary(markdown).strip().splitlines()[0]
    assert first == (
        "- The augmented CNN is the best model. Selected by its validation accuracy (83.00 %), it"
        f" classifies {100 * winner.scores['accuracy']:.2f} % of the 400 test images correctly"
        f" (95 % confidence interval {100 * low:.2f} to {100 * high:.2f} %)."
    )


def test_the_best_model_is_chosen_on_validation_not_on_test() -> None:
    weak = some_result(ModelName("mlp", "original", 1), 0.9)
    strong = some_result(ModelName("cnn", "original", 1), 0.8)
    assert strong.scores["accuracy"] > weak.scores["accuracy"]
    assert best_model([strong, weak]) is weak


def test_the_summary_gives_the_difference_to_the_other_architecture(
    content: Content, markdown: str
) -> None:
    one = next(one for one in content.comparisons if one.first.data == "augmented")
    assert (str(one.first), str(one.second)) == ("mlp-augmented-1", "cnn-augmented-1")
    text = summary(markdown)
    expected = f"{100 * one.difference:.2f} percentage points higher than that of the augmented MLP"
    assert f"Its test accuracy is {expected}" in text
    assert f"95 % interval +{100 * one.interval.low:.2f} to" in text
    assert "p < 0.001: significant). Only the augmented CNN is correct on" in text


def test_the_summary_turns_a_comparison_whose_first_is_the_best() -> None:
    content = some_content()
    results = [
        replace(result, val={"accuracy": 1.0, "log_loss": 0.1})
        if result.name == ModelName("mlp", "augmented", 1)
        else result
        for result in content.results
    ]
    text = summary(report.render(replace(content, results=results))[1])
    assert "The augmented MLP is the best model" in text
    assert "percentage points lower than that of the augmented CNN" in text


def test_the_summary_says_where_both_fail(content: Content, markdown: str) -> None:
    shown = [result for result in content.results if result.name.data == "augmented"]
    wrong = np.all([result.predicted != result.labels for result in shown], axis=0).sum()
    text = summary(markdown)
    both = "both the augmented CNN and the augmented MLP"
    assert f"{wrong} images are misclassified by {both}." in text
    (pair,) = most_confused(shown[1].confusion, 1)
    assert f"{pair.true} predicted as {pair.predicted} ({pair.images} image" in text


def test_the_summary_says_whether_augmentation_helped(markdown: str) -> None:
    text = summary(markdown)
    change = r"[+−]?\d+\.\d\d percentage points \(95 %"
    assert re.search(rf"data changed the test accuracy of the MLP by {change}", text)
    assert re.search(rf"and of the CNN by {change}", text)


def test_a_difference_is_clear_only_if_its_p_value_is_small(content: Content) -> None:
    one = replace(content.comparisons[0], p_value=0.051)
    page = report.render(replace(content, comparisons=[one]))[1]
    assert "| 0.051 | no |" in page
    page = report.render(replace(content, comparisons=[replace(one, p_value=0.049)]))[1]
    assert "| 0.049 | yes |" in page


def test_both_formats_hold_the_same_words(html: str, markdown: str) -> None:
    words = re.findall(r"[\w.%+−]+", " ".join(Page(html).texts))
    of_page = set(words) | set(re.findall(r"[\w.%+−]+", "".join(Page(html).texts)))
    links = re.sub(r"!\[(.*?)\]\(.*?\)", "", markdown)
    of_markdown = set(re.findall(r"[\w.%+−]+", plain(links)))
    assert of_markdown <= of_page


def test_every_score_of_every_model_is_told(content: Content, html: str, markdown: str) -> None:
    for result in content.results:
        for metric in METRICS:
            assert f">{result.scores[metric]:.4f}<" in html
            assert re.search(rf"\b{result.scores[metric]:.4f}\b", markdown)
        assert f"{result.val['accuracy']:.4f}" in markdown


def test_a_score_stands_in_its_own_column(content: Content) -> None:
    told_apart = {metric: place / 100 for place, metric in enumerate(METRICS)}
    results = [replace(one, scores=told_apart) for one in content.results]
    markdown = report.render(replace(content, results=results))[1]
    alone = ("brier_score", "expected_calibration_error")
    averages = [metric for metric in METRICS if metric.endswith(("_macro", "_weighted"))]
    first, second = (
        rows(markdown, caption)
        for caption in (
            "Accuracy, log loss and calibration.",
            "Precision, recall and F1 on the test split",
        )
    )
    for one, row, others in zip(results, first, second, strict=True):
        expected = {
            "val accuracy": one.val["accuracy"],
            "test accuracy": one.scores["accuracy"],
            "val log_loss": one.val["log_loss"],
            "test log_loss": one.scores["log_loss"],
            **{metric: one.scores[metric] for metric in alone},
        }
        low, high = one.accuracy_interval
        name = row["model"]
        assert name.removesuffix(" (best)") == f"{one.name.model}-{one.name.data}"
        assert row == {
            **{column: f"{value:.4f}" for column, value in expected.items()},
            "model": name,
            "interval": f"{low:.4f} to {high:.4f}",
        }
        means = {metric: f"{one.scores[metric]:.4f}" for metric in averages}
        assert others == {**means, "model": name}


def test_a_comparison_tells_which_of_the_two_is_right(content: Content, markdown: str) -> None:
    found = rows(markdown, "Difference in test accuracy")
    for one, row in zip(content.comparisons, found, strict=True):
        assert one.only_first != one.only_second
        assert row["first"] == f"{one.first.model}-{one.first.data}"
        assert row["second"] == f"{one.second.model}-{one.second.data}"
        assert row["only first correct"] == str(one.only_first)
        assert row["only second correct"] == str(one.only_second)


def test_every_metric_is_defined(html: str, markdown: str) -> None:
    for metric in METRICS:
        assert f"- `{metric}`: " in markdown
        assert f'id="definitions-1-{metric}"' in html


def test_the_page_is_well_formed_with_headings_in_order(html: str) -> None:
    page = Page(html)
    assert page.open == []
    headings = [tag for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == "h1"
    assert set(headings[1:]) == {"h2"}
    assert page.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all(
        "meta"
    )


def test_ids_are_unique_and_links_lead_to_them(html: str) -> None:
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = [(link["href"] or "")[1:] for link in page.all("a")]
    wanted += [
        str(attributes["aria-labelledby"])
        for _, attributes in page.tags
        if "aria-labelledby" in attributes
    ]
    assert wanted
    assert set(wanted) <= set(ids)


def test_the_page_needs_no_network(html: str) -> None:
    page = Page(html)
    addresses = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "action"}
    ]
    assert all((address or "").startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"https?://|@import|url\(", html)


def test_the_page_stays_below_five_megabytes_with_five_seeds() -> None:
    html, _ = report.render(some_content(seeds=(1, 2, 3, 4, 5)))
    assert len(html) < 5_000_000


def test_every_picture_has_a_size_and_says_in_words_what_it_shows(html: str) -> None:
    pictures = Page(html).all("img")
    assert len(pictures) == 6 + 4
    for picture in pictures:
        assert len(picture["alt"] or "") > 40
        assert 300 < int(picture["width"] or 0) < 1000
        assert 150 < int(picture["height"] or 0) < 1500


def test_markdown_links_to_the_figures_that_lie_beside_it(content: Content, markdown: str) -> None:
    assert set(re.findall(r"\]\((.*?)\)", markdown)) == set(content.figures)
    assert "figures/confusion/cnn-augmented.png" in content.figures


def test_markdown_tables_have_a_cell_for_every_column(markdown: str) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE)
    assert len(tables) == 11
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1


def test_tables_are_reachable_and_scroll_in_their_box(html: str) -> None:
    page = Page(html)
    boxes = [box for box in page.all("div") if box.get("class") == "scroll"]
    assert len(boxes) == len(page.all("table")) == 11
    assert all(box["tabindex"] == "0" and box["role"] == "region" for box in boxes)
    assert "aria-sort" in html


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_have_contrast_in_light_dark_and_print(html: str) -> None:
    themes = re.findall(r":root \{(.*?)\}", html, flags=re.DOTALL)
    assert len(themes) == 3
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#\w{6})", theme))
        for front in ("text", "faint", "accent"):
            for ground in ("ground", "raised", "marked"):
                light, dark = sorted(
                    (luminance(colours[front]), luminance(colours[ground])), reverse=True
                )
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (front, ground)


def test_what_looks_like_markup_is_shown_as_it_is(content: Content) -> None:
    odd = {"<script>": "a|b & **c**"}
    records = {model: {**record, **odd} for model, record in content.hyperparameters.items()}
    html, markdown = report.render(replace(content, hyperparameters=records))
    assert "&lt;script&gt;" in html
    assert "a|b &amp; **c**" in html
    assert r"\<script> | a\|b & \*\*c\*\*" in markdown


def test_the_chosen_model_and_the_best_trial_stand_out(html: str, markdown: str) -> None:
    assert "| **cnn-augmented (best)** |" in markdown
    assert "| **3** | **0.1** | **0.83** |" in markdown
    assert html.count('<tr class="marked">') == 2 + 1 + 2


def test_a_failed_trial_is_shown_without_a_score(markdown: str) -> None:
    assert "| 2 | 0.1 | – |" in markdown


def test_a_hyperparameter_that_one_model_lacks_is_left_out(markdown: str) -> None:
    assert "| hidden_units | \\[32, 16\\] | – |" in markdown
    assert "| flip | false | true |" in markdown


def test_a_searched_hyperparameter_is_told_from_a_fixed_one(markdown: str) -> None:
    assert "| dropout | 0.1 (searched) | 0.2 (searched) |" in markdown
    assert "| shift | 0 | 1 |" in markdown


def test_what_training_does_to_images_is_said_beside_the_names(markdown: str) -> None:
    assert (
        "the images of the CNN are changed at random: flipped horizontally with probability 0.5 and"
        " shifted by up to 1 pixel in each direction." in summary(markdown)
    )
    assert "images of the MLP" not in markdown


@pytest.mark.parametrize(
    ("factor", "told"), [(0.5, "is underconfident."), (1, "is overconfident.")]
)
def test_the_direction_in_which_probabilities_are_off_is_said(
    content: Content, factor: float, told: str
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
    assert told in markdown
    assert ("Label smoothing (0.05 here)" in markdown) == ("underconfident" in told)


def test_counts_have_a_total(markdown: str) -> None:
    assert "| all | 48,000 | 400 |" in markdown


def test_one_seed_is_named_as_a_limit(markdown: str) -> None:
    assert "trained with one seed" in markdown
    assert "Each model was trained once" in summary(markdown)
    assert "## Variation between seeds" not in markdown


def test_several_seeds_are_summed_up() -> None:
    content = some_content(seeds=(1, 2, 3, 4, 5))
    _, markdown = report.render(content)
    assert "## Variation between seeds" in markdown
    values = [r.scores["accuracy"] for r in content.results if r.name[:2] == ("cnn", "original")]
    over = mean_with_interval(values, 0.95)
    assert f"| cnn-original | 5 | {over.mean:.4f} | {over.deviation:.4f} |" in markdown
    assert "mean over 5 seeds" in summary(markdown)
    assert "trained once" not in summary(markdown)
    assert "trained with one seed" not in markdown
    assert set(re.findall(r"\]\((figures/confusion.*?)\)", markdown)) == {
        f"figures/confusion/{model}-{data}-5.png"
        for model in ("mlp", "cnn")
        for data in ("original", "augmented")
    }


def test_a_single_model_is_reported_without_comparisons(content: Content) -> None:
    alone = replace(content, results=content.results[:1], comparisons=[])
    _, markdown = report.render(alone)
    assert "The original MLP is the best model" in plain(markdown)
    assert "## Comparisons" not in markdown


@pytest.mark.parametrize(
    ("images", "epochs", "told"),
    [
        (10_000, 3, "10,000 of the 48,000 training images for at most 3 epochs."),
        (0, 1, "all training images for at most 1 epoch."),
        (50_000, 2, "all training images for at most 2 epochs."),
    ],
)
def test_what_a_trial_saw_is_told(images: int, epochs: int, told: str) -> None:
    content = replace(some_content(), trial_images=images, trial_epochs=epochs)
    assert f"Each trial was trained on {told}" in report.render(content)[1]


def test_a_search_without_a_finished_trial_is_told() -> None:
    trials = [{"trial": "1", "val_accuracy": ""}]
    searches = [SearchTable(model, "val_accuracy", trials) for model in ("mlp", "cnn")]
    _, markdown = report.render(replace(some_content(), searches=searches))
    assert "| 1 | – |" in markdown


def test_no_model_is_refused(content: Content) -> None:
    with pytest.raises(ValueError, match="no model"):
        report.render(replace(content, results=[]))


def test_the_same_results_give_the_same_bytes(content: Content, html: str, markdown: str) -> None:
    assert report.render(content) == (html, markdown)
    again = some_content.__wrapped__()
    assert again.figures == content.figures
    assert report.render(again) == (html, markdown)


def test_every_class_is_in_the_report(markdown: str) -> None:
    for name in CLASS_NAMES:
        assert f"| {name} |" in plain(markdown)


def test_precision_recall_and_f1_of_a_class_stand_in_their_columns(
    content: Content, markdown: str
) -> None:
    assert rows(markdown, "Precision, recall and F1 of each class") == [
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


def test_the_figure_of_accuracies_tells_test_from_validation(
    content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def watched(*arguments: Any) -> bytes:
        given.append(arguments)
        return b""

    for other in ("reliability", "predictions", "f1_change", "confusion_matrix"):
        monkeypatch.setattr(evaluation_plots, other, lambda *_: b"")
    for other in ("curves", "trials"):
        monkeypatch.setattr(training_plots, other, lambda *_: b"")
    monkeypatch.setattr(evaluation_plots, "accuracy_intervals", watched)
    some_content.__wrapped__()
    results = content.results
    low, high = zip(*(result.accuracy_interval for result in results), strict=True)
    (drawn,) = given
    assert [*map(list, drawn)] == [
        [f"{result.name.model}-{result.name.data}" for result in results],
        [result.scores["accuracy"] for result in results],
        [*low],
        [*high],
        [result.val["accuracy"] for result in results],
    ]
