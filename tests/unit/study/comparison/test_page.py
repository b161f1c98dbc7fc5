"""The content of the page, with made-up results."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sidebyside.config.parameters import Transforms
from sidebyside.config.paths import CHECKOUT
from study.comparison.formats import METRICS
from study.comparison.page import Content, render, summary
from study.comparison.results import History, ModelResult, SearchResult
from study.plan import CLASS_NAMES, DERIVED, MACRO, PER_CLASS, SCORES, Claim, Plan, read_plan

PLAN = read_plan(CHECKOUT / "replications/params.yaml")
PNG = bytes(24)  # only its size is read, 0 by 0 pixels

SETTINGS = {
    "hidden_units": [64, 32],
    "input_dropout": 0.1,
    "dropout": [0.2, 0.0],
    "batch_size": 32,
    "optimizer": "adam",
    "learning_rate": 0.0001,
    "l2": 0.001,
    "epochs": 20,
    "patience": 5,
    "monitor": "val_loss",
}


def measured(history: History | None = None, /, **metrics: Sequence[float]) -> ModelResult:
    """Return results of two seeds, 0.5 and 0.6 for metrics that are not given."""
    every = {name: [0.5, 0.6] for name in (*SCORES, *DERIVED)}
    nothing = np.zeros((0, 10))
    return ModelResult(
        SETTINGS,
        {**every, **metrics},
        [3, 15],
        {1: history} if history else {},
        np.zeros((10, 10), np.int64),
        np.zeros(0, np.uint8),
        nothing,
    )


def content(
    models: dict[str, ModelResult],
    searches: dict[str, SearchResult] | None = None,
    claims: tuple[Claim, ...] = (),
) -> Content:
    """Return the content of a page with these results only."""
    parts: dict[str, Any] = {
        "models": {name: part for name, part in PLAN.models.items() if name in models},
        "winners": {name: part for name, part in PLAN.winners.items() if name in models},
        "searches": {n: part for n, part in PLAN.searches.items() if n in (searches or {})},
        "claims": claims,
        "lowest": tuple(claim for claim in PLAN.lowest if claim.model in models),
    }
    plan: Plan = PLAN.model_copy(update=parts)
    return Content(
        plan=plan,
        missing=[],
        models=models,
        searches=searches or {},
        counts={"train": [1] * 10},
        transforms=Transforms(rotation=10, zoom=0.1, shift=2, flip=0.5),
        figures={f"figures/{name}.png": PNG for name in ("accuracy", "samples", "grid")},
    )


def row(markdown: str, start: str) -> list[str]:
    """Return the cells of the first table row that begins with a text."""
    line = next(line for line in markdown.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_metric_has_a_name_on_the_page() -> None:
    assert {*METRICS} == {*SCORES, *DERIVED}


@pytest.mark.parametrize(
    ("loss", "accuracy", "counts"),
    [
        ([0.1, 0.2], [0.9100, 0.9160], {"within range": 1, "better": 0, "worse": 1}),
        ([0.3, 0.4], [0.9100, 0.9160], {"within range": 1, "better": 1, "worse": 0}),
        ([0.2, 0.3], [0.9000, 0.9100], {"within range": 1, "better": 1, "worse": 0}),
        ([0.2, 0.3], [0.9200, 0.9300], {"within range": 1, "better": 0, "worse": 1}),
    ],
)
def test_published_losses_and_accuracies_are_counted_by_rating(
    loss: list[float], accuracy: list[float], counts: dict[str, int]
) -> None:
    ours = measured(parameters=[1, 2], test_loss=loss, test_accuracy=accuracy)
    found = summary(content({"4-cnn-adam-dropout": ours}))["systems"]["4"]
    assert found["published"] == counts


def test_winners_of_our_searches_are_compared_but_not_counted() -> None:
    ours = content({"5-found": measured(), "5-416-units": measured()})
    _, markdown = render(ours)
    compared = row(markdown, "Winner of our Hyperband search | test accuracy")
    assert compared[2:4] == ["higher (better)", "0.8860"]
    assert sum(summary(ours)["systems"]["5"]["published"].values()) == 2


def test_the_expected_count_outside_by_chance_follows_from_the_number_of_seeds() -> None:
    _, markdown = render(content({"2-mlp": measured(), "5-416-units": measured()}))
    # Seven numbers, two seeds each: 2 / (2 + 1) of them.
    assert "By chance alone, about 5 of these 7 numbers would lie outside our range" in markdown
    assert "higher for the 3 numbers that were measured on other validation images" in markdown
    # The first model has 33 numbers of classes and means, of which two thirds lie outside.
    assert "By chance, up to 22 would lie outside, half of them better." in markdown


def test_numbers_of_classes_are_counted_separately() -> None:
    classes = {
        **{f"{metric}.{name}": [0.8, 0.9] for metric in PER_CLASS for name in CLASS_NAMES},
        **{metric: [0.8, 0.9] for metric in MACRO},
    }
    counts = summary(content({"2-mlp-augmented": measured(**classes)}))["systems"]["2"]
    # Within: precision 3, recall 4, F1 3 and the three means. Lower: 0.77, 0.71 and 0.74.
    assert counts["classes"] == {"within range": 13, "better": 17, "worse": 3}
    assert sum(counts["published"].values()) == 1


def test_a_row_of_a_class_has_its_published_and_measured_metrics() -> None:
    ours = measured(**{"recall.Shirt": [0.70, 0.73], "macro_recall": [0.91, 0.92]})
    _, markdown = render(content({"2-mlp-augmented": ours}))
    markdown = markdown.split("Published and measured (mean ± SD)")[1].split("\n\n## ")[0]
    shirt, macro = row(markdown, "Shirt"), row(markdown, "macro average")
    assert shirt[5:9] == ["0.71", "0.7150 ± 0.0212", "+0.0050", "within range"]
    assert macro[5:9] == ["0.90", "0.9150 ± 0.0071", "+0.0150", "lower (worse)"]
    assert "(Figure 5; n = 5)" in markdown


@pytest.mark.parametrize(
    ("by", "cell"),
    [
        (0.04, "+0.04 (inside)"),  # stands for 0.035 and more
        (0.0405, "+0.0405 (outside)"),
        (0.03, "+0.03 (outside)"),
        (0.06, "+0.06 (outside)"),
        (0.00005, "+0.00005 (outside)"),  # which Python prints as 5e-05
    ],
)
def test_a_printed_difference_stands_for_every_number_that_rounds_to_it(
    by: float, cell: str
) -> None:
    models = {
        "3-tyler-l2": measured(test_accuracy=[0.9020, 0.9040, 0.9060]),
        "3-tyler": measured(test_accuracy=[0.8580, 0.8590, 0.8600]),
    }
    _, markdown = render(content(models, claims=(claim(by=by),)))
    assert row(markdown, "L2 helps")[-1] == cell
    inside = int(cell.endswith("(inside)"))
    assert f"our confidence intervals contain {inside} of 1 printed differences." in markdown
    assert (
        "- L2 helps (Somewhere): test accuracy is higher for “Tyler with L2” than for “Tyler,"
        " 5 × 128”."
    ) in markdown


def test_outcomes_of_claims_are_corrected_for_their_number() -> None:
    claims = tuple(
        PLAN.claims[0].model_copy(
            update={"first": "3-jackson", "second": "3-tyler", "metric": metric, "by": None}
        )
        for metric in ("test_accuracy", "test_loss", "val_loss")
    )
    clear, hardly = [0.8, 0.81], [0.8, 0.82]  # lower than 0.9, 0.91: p 0.005 and 0.032
    models = {
        "3-jackson": measured(test_accuracy=clear, test_loss=hardly),
        "3-tyler": measured(test_accuracy=[0.9, 0.91], test_loss=[0.9, 0.91]),
    }
    _, markdown = render(content(models, claims=claims))
    assert (
        "Of 3 testable claims, the results support **2**, contradict 0 and are inconclusive for 1."
    ) in markdown
    assert "(Holm), the results support 1 and contradict 0." in markdown


def test_a_claim_about_classes_compares_them_with_all_other_classes() -> None:
    recalls = {f"recall.{name}": [0.9, 0.91] for name in CLASS_NAMES}
    shirts = {"recall.Shirt": [0.70, 0.71], "recall.Pullover": [0.80, 0.812]}
    ours = content({"2-mlp": measured(**{**recalls, **shirts})})
    _, markdown = render(ours)
    cells = row(markdown, "The MLP misclassifies Pullover and Shirt most often")
    assert cells[1:3] == ["supported", "-0.0990"]
    assert "recall of Pullover and Shirt is lower than that of every other class" in markdown
    assert summary(ours)["systems"]["2"]["claims"] == {
        "supported": 1,
        "inconclusive": 0,
        "contradicted": 0,
    }


def test_lists_of_best_hyperparameters_end_at_the_last_layer() -> None:
    best = {"dropout": [0.2, 0.1, 0.4, 0.0], "hidden_units": [256, 64], "learning_rate": 0.001}
    trials = [{"val_accuracy": "0.9"}, {"val_accuracy": ""}]
    result = SearchResult(trials, {**best, "input_dropout": 0.0})
    models = {"1-dropout": measured()}
    _, markdown = render(content(models, {"1-dropout": result}))
    assert row(markdown, "Random search for layers and dropout")[-3:] == ["0.9000", "–", "2"]
    assert (
        "- Random search for layers and dropout (Hp Tuning): `dropout` [0.2, 0.1], `learning_rate`"
        in markdown
    )


def test_losses_of_the_grid_are_compared_in_the_best_and_the_last_epoch() -> None:
    history = {  # published: 0.171049 and 0.310474
        "loss": [0.5, 0.191049, 0.164049],
        "val_loss": [0.33, 0.300474, 0.340474],
    }
    _, markdown = render(content({"4-grid-2-adam-0001-512": measured(history)}))
    assert "by 0.007 (training) and 0.030 (validation) in the last epoch" in markdown
    assert "by 0.020 and 0.010 in the epoch with the lowest validation loss." in markdown


@pytest.mark.parametrize(("epochs", "at_limit"), [(99, False), (100, True)])
def test_rows_stopped_by_the_epoch_limit_are_named(epochs: int, *, at_limit: bool) -> None:
    history = {"loss": [0.5], "val_loss": [0.3]}
    ours = measured(history, epochs=[epochs])
    _, markdown = render(content({"4-grid-2-adam-0001-512": ours}))
    assert ("Rows stopped by the epoch limit" in markdown) == at_limit
    assert ("results: 2 hidden layers, adam 0.001, batch 512." in markdown) == at_limit


def test_the_documents_best_hyperparameters_are_listed_with_ours() -> None:
    best = {**PLAN.models["2-mlp"].hyperparameters, "hidden_units": [64, 32], "dropout": 0.1}
    result = SearchResult([{"val_loss": "0.4"}, {"val_loss": "0.3"}], best)
    _, markdown = render(content({"2-mlp": measured()}, {"2-mlp": result}))
    assert row(markdown, "Bayesian search for the MLP")[4:7] == ["0.3000", "0.4000", "2"]
    assert "Bayesian search for the MLP (Figure 1): " in markdown
    _, theirs = markdown.split("`hidden_units` [64, 32]; in the document, as replicated here: ")
    assert theirs.split(".\n")[0].endswith("`hidden_units` [448, 32, 32, 32]")


def test_values_shared_by_models_of_a_document_are_listed_once() -> None:
    best = {**PLAN.models["3-tyler"].hyperparameters, "dropout": 0.1}
    result = SearchResult([{"val_accuracy": "0.8"}], best)
    both = {"3-tyler": measured(), "3-tyler-l2": measured()}
    _, markdown = render(content(both, {"3-dropout": result}))
    assert "as replicated here: `dropout` 0.3, `l2` 0.0 or 0.001." in markdown
    _, markdown = render(content({"1-dropout": measured()}, {"3-dropout": result}))
    assert "`dropout` 0.1, `l2` 0.0." in markdown


def test_sources_of_hyperparameters_and_results_are_listed() -> None:
    models = dict.fromkeys(("2-cnn", "5-baseline", "5-found", "1-dropout"), measured())
    _, markdown = render(content(models))
    sources = [line for line in markdown.splitlines() if " in “" in line]
    assert sources == [
        "- Published CNN: hyperparameters in “Figure 11”,"
        " results in “Convolutional Neural Network”.",
        "- Baseline, 128 units: hyperparameters in “Model Building”.",
        "- Winner of our Hyperband search: results in “Summary”.",
    ]


def test_a_difference_that_rounds_to_zero_has_a_plus() -> None:
    _, markdown = render(content({"3-tyler": measured(test_accuracy=[0.87999, 0.88])}))
    assert row(markdown, "Tyler, 5 × 128 | test accuracy")[5] == "+0.0000"


def test_a_difference_has_its_sign() -> None:
    _, markdown = render(content({"3-tyler": measured(test_accuracy=[0.86, 0.87])}))
    assert row(markdown, "Tyler, 5 × 128 | test accuracy")[5] == "-0.0150"


def test_a_trained_model_is_listed_with_its_settings_and_epochs() -> None:
    _, markdown = render(content({"3-tyler": measured(epochs=[8, 20])}))
    assert row(markdown, "Tyler, 5 × 128")[1:] == [
        "3-tyler",
        "64-32",
        "input 0.1, hidden 0.2/0",
        "adam 0.0001, L2 0.001",
        "32",
        "20, patience 5 (validation loss)",
        "8 … 20",
        "3 … 15",
    ]
    assert "results: Tyler, 5 × 128 (1 of 2 trainings)." in markdown


def test_layers_and_dropout_of_a_cnn_are_listed_by_block() -> None:
    cnn = {
        "filters": [16, 32],
        "kernel_size": [3, 4],
        "padding": "same",
        "dense_units": 64,
        "block_dropout": [0.0, 0.2],
        "dropout": 0.0,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "l2": 0.0,
        "batch_size": 32,
        "epochs": 20,
        "patience": 20,
    }
    ours = replace(measured(epochs=[20, 20]), settings=cnn)
    _, markdown = render(content({"4-cnn-sgd": ours}))
    cells = row(markdown, "CNN, SGD without dropout")
    assert cells[2:7] == [
        "16-32 filters of 3×3/4×4, same padding, dense 64",
        "block 0/0.2",
        "sgd 0.1",
        "32",
        "20",
    ]
    assert "Stopped by the epoch limit" not in markdown  # there is no early stopping


GRID = "4-grid-2-adam-0001-512"
HISTORY = {"loss": [0.5], "val_loss": [0.3]}


def claim(**changes: object) -> Claim:
    given = {
        "system": "3",
        "text": "L2 helps",
        "source": "Somewhere",
        "first": "3-tyler-l2",
        "direction": "higher",
        "second": "3-tyler",
        "metric": "test_accuracy",
        "by": 0.04,
    }
    return Claim(**{**given, **changes})  # type: ignore[arg-type]


def test_a_model_with_published_numbers_has_no_rows_without() -> None:
    _, markdown = render(content({"3-tyler": measured()}))
    assert markdown.count("| Tyler, 5 × 128 | test accuracy |") == 1
    assert "| Tyler, 5 × 128 | validation accuracy |" not in markdown


def test_the_difference_of_a_row_of_the_grid_is_measured_minus_published() -> None:
    ours = measured(HISTORY, test_accuracy=[0.8], epochs=[7])
    _, markdown = render(content({GRID: ours}))
    cells = row(markdown, "adam 0.001, batch 512")
    assert cells[1:4] == ["0.8951", "0.8000", "-0.0951"]
    assert cells[-1] == "7"


def test_a_row_of_the_grid_has_the_difference_of_each_loss() -> None:
    ours = measured(HISTORY, fit_loss=[0.181049])
    _, markdown = render(content({GRID: ours}))
    cells = row(markdown.split("Losses of the grid")[1], "adam 0.001, batch 512")
    assert cells[7:10] == ["0.171049", "0.1810", "+0.0100"]


def test_the_rows_with_the_highest_test_accuracy_are_named() -> None:
    rows = {
        GRID: measured(HISTORY, test_accuracy=[0.88]),
        "4-grid-2-adam-0001-256": measured(HISTORY, test_accuracy=[0.89]),
        "4-grid-2-sgd-01-128": measured(HISTORY, test_accuracy=[0.89]),
    }
    _, markdown = render(content(rows))
    assert (
        "the highest published is that of adam 0.001, batch 512, the highest measured that of"
        " adam 0.001, batch 256 and sgd 0.1, batch 128."
    ) in markdown


def test_a_printed_difference_of_single_seeds_is_neither_inside_nor_outside() -> None:
    models = {name: measured(test_accuracy=[0.9]) for name in ("3-tyler-l2", "3-tyler")}
    _, markdown = render(content(models, claims=(claim(),)))
    assert row(markdown, "L2 helps")[-1] == "+0.04"


def test_claims_are_tested_at_the_confidence_level_of_the_plan() -> None:
    recalls = {f"recall.{name}": [0.9, 0.91] for name in CLASS_NAMES}
    shirts = {"recall.Shirt": [0.70, 0.71], "recall.Pullover": [0.80, 0.812]}
    models = {
        "2-mlp": measured(**{**recalls, **shirts}),
        "3-tyler-l2": measured(test_accuracy=[0.902, 0.904, 0.906]),
        "3-tyler": measured(test_accuracy=[0.858, 0.859, 0.86]),
    }
    one = content(models, claims=(claim(),))
    sure = replace(one, plan=one.plan.model_copy(update={"confidence": 0.999999}))
    for system in "23":
        assert summary(one)["systems"][system]["claims"]["supported"] == 1
        assert summary(sure)["systems"][system]["claims"]["supported"] == 0


def test_small_steps_of_a_loss_have_more_digits() -> None:
    models = {
        "3-tyler-l2": measured(val_loss_changes=[0.00113, 0.00111]),
        "3-tyler": measured(val_loss_changes=[0.00101, 0.00099]),
    }
    _, markdown = render(content(models, claims=(claim(metric="val_loss_changes", by=None),)))
    assert row(markdown, "L2 helps")[2] == "+0.000120"


def test_a_range_of_one_number_is_that_number() -> None:
    _, markdown = render(content({"3-tyler": measured(test_accuracy=[0.9, 0.9])}))
    assert row(markdown, "Tyler, 5 × 128 | test accuracy")[6] == "0.9000"


def test_means_over_the_classes_are_not_in_the_table_of_metrics() -> None:
    _, markdown = render(content({"2-mlp-augmented": measured()}))
    assert "| macro recall |" not in markdown


def test_every_seed_of_models_and_winners_counts_as_a_training() -> None:
    ours = content({"5-found": measured(), "5-416-units": measured()})
    seeds = PLAN.winners["5-found"].seeds + PLAN.models["5-416-units"].seeds
    _, markdown = render(ours)
    assert f"2 models of 5 published systems were trained {len(seeds)} times" in markdown


def test_dropout_rates_are_in_the_order_of_the_layers() -> None:
    settings = {**SETTINGS, "dropout": [0.5, 0.5, 0.2], "hidden_units": [8] * 3}
    _, markdown = render(content({"3-tyler": replace(measured(), settings=settings)}))
    assert row(markdown, "Tyler, 5 × 128")[3] == "input 0.1, hidden 0.5/0.5/0.2"


def test_images_are_summed_over_the_classes() -> None:
    _, markdown = render(content({"3-tyler": measured()}))
    assert row(markdown, "All classes") == ["All classes", "10"]
