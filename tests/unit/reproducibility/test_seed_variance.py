import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from sidebyside.config.paths import ModelName, Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json
from sidebyside.reproducibility.clones import set_parameters
from sidebyside.reproducibility.seed_variance import (
    by_seed,
    collect_scores,
    compare_scores,
    probability,
    read_other_seeds,
    tolerance,
    without_seed,
)

IMAGES = {"val": 12_000, "test": 10_000}


def metrics(**models: float) -> dict[str, Any]:
    return {
        name.replace("_", "-"): {"val": {"accuracy": value}, "test": {"accuracy": value}}
        for name, value in models.items()
    }


RECORDED = metrics(mlp_original=0.91, cnn_original=0.93)
OTHERS = metrics(mlp_original_2=0.911, mlp_original_3=0.909, cnn_original_2=0.931)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("mlp-original", "mlp-original"),
        ("mlp-original-2", "mlp-original"),
        ("cnn-augmented-11", "cnn-augmented"),
    ],
)
def test_the_seed_is_removed_from_a_name(name: str, model: str) -> None:
    assert without_seed(name) == model


def test_scores_of_all_seeds_of_a_model_are_collected() -> None:
    assert by_seed([RECORDED, OTHERS], "mlp-original", "test", "accuracy") == [0.91, 0.911, 0.909]
    assert by_seed([RECORDED, OTHERS], "cnn-original", "val", "accuracy") == [0.93, 0.931]


def test_a_seed_in_two_sources_counts_once() -> None:
    both = [OTHERS, OTHERS]
    assert by_seed(both, "mlp-original", "test", "accuracy") == [0.911, 0.909]


def test_probability_is_1_at_the_mean_and_falls_with_the_distance() -> None:
    known = [0.909, 0.910, 0.911]
    assert probability(known, 0.910) == pytest.approx(1)
    assert 1 > probability(known, 0.911) > probability(known, 0.912) > 0
    assert probability(known, 0.911) == pytest.approx(probability(known, 0.909))


def test_a_score_far_from_all_others_is_improbable() -> None:
    known = [0.9095, 0.9098, 0.91, 0.9102, 0.9105]
    assert probability(known, 0.9103) > 0.1
    assert probability(known, 0.95) < 0.001


def test_probability_follows_students_t_distribution() -> None:
    # Two values, one degree of freedom: the Cauchy distribution, whose quartiles are at ±1.
    scale = math.sqrt(0.5) * math.sqrt(1.5)
    assert probability([0.0, 1.0], 0.5 + scale) == pytest.approx(0.5)


def test_scores_without_variance_give_probability_0_or_1() -> None:
    assert probability([0.5, 0.5], 0.5) == 1
    assert probability([0.5, 0.5], 0.6) == 0


def test_the_tolerance_is_three_binomial_standard_errors() -> None:
    assert tolerance(0.5, 10_000) == pytest.approx(3 * 0.005)
    assert tolerance(0.94, 10_000) < 0.0075


def test_every_accuracy_is_compared_with_the_recorded_one() -> None:
    new = metrics(mlp_original=0.9105, cnn_original=0.90)
    compared = {
        (one.model, one.split): one for one in compare_scores(RECORDED, new, OTHERS, IMAGES)
    }
    assert len(compared) == 4
    assert compared["mlp-original", "test"].within
    assert compared["mlp-original", "test"].probability == pytest.approx(0.821, abs=0.001)
    assert compared["cnn-original", "test"].probability is None  # one other seed
    assert not compared["cnn-original", "test"].within


def test_a_score_that_is_reproduced_but_unlike_other_seeds_is_improbable() -> None:
    others = {f"mlp-original-{seed}": 0.91 + seed / 1e4 for seed in range(2, 6)}
    recorded = metrics(mlp_original=0.95)
    compared = list(compare_scores(recorded, recorded, metrics(**others), IMAGES))
    assert all(one.within for one in compared)
    assert all(one.probability is not None and one.probability < 0.001 for one in compared)


def test_a_missing_model_is_not_within_tolerance() -> None:
    compared = list(compare_scores(RECORDED, metrics(mlp_original=0.91), {}, IMAGES))
    assert [(one.model, one.within) for one in compared if one.split == "test"] == [
        ("mlp-original", True),
        ("cnn-original", False),
    ]


def test_without_other_seeds_there_is_no_probability() -> None:
    assert all(one.probability is None for one in compare_scores(RECORDED, RECORDED, {}, IMAGES))


def checkout(root: Path, seeds: list[int], epochs: int = 30) -> Paths:
    """Return a checkout whose models are trained and evaluated."""
    paths = Paths(root)
    root.mkdir()
    shutil.copy(Path(__file__).parents[3] / "params.yaml", paths.params)
    set_parameters(root, {"train.seeds": seeds})
    names = [
        ModelName(model, data, seed)
        for model in ("mlp", "cnn")
        for data in ("original", "augmented")
        for seed in seeds
    ]
    for name in names:
        write_json(
            paths.training(name) / "model.json",
            {"data_sha256": {"train": name.data}, "settings": {"epochs": epochs}, "key": str(name)},
        )
    shown = [str(name) if len(seeds) > 1 else without_seed(str(name)) for name in names]
    accuracy = {"accuracy": 0.9}
    write_json(
        paths.report("evaluate") / "metrics.json",
        {name: {"val": accuracy, "test": accuracy} for name in shown},
    )
    return paths


def test_other_seeds_count_if_data_and_settings_are_equal(tmp_path: Path) -> None:
    here = checkout(tmp_path / "here", [1])
    assert read_other_seeds(here) == {}
    file = here.report("reference") / "metrics.json"
    write_json(file, collect_scores(checkout(tmp_path / "others", [2, 3])))
    assert len(by_seed([read_other_seeds(here)], "cnn-augmented", "test", "accuracy")) == 2
    write_json(file, collect_scores(checkout(tmp_path / "longer", [2, 3], epochs=31)))
    assert read_other_seeds(here) == {}


def test_the_recorded_seed_is_not_among_the_others(tmp_path: Path) -> None:
    here = checkout(tmp_path / "here", [2])
    file = here.report("reference") / "metrics.json"
    write_json(file, collect_scores(checkout(tmp_path / "others", [2, 3])))
    assert sorted(read_other_seeds(here)) == [
        *("cnn-augmented-3", "cnn-original-3", "mlp-augmented-3", "mlp-original-3")
    ]


def test_a_checkout_without_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").touch()
    with pytest.raises(UserError, match=r"metrics\.json is missing"):
        collect_scores(Paths(tmp_path))


def test_a_damaged_model_record_is_named(tmp_path: Path) -> None:
    others = checkout(tmp_path / "others", [2])
    (others.report("train") / "mlp-original-2/model.json").write_text("[]")
    with pytest.raises(UserError, match=r"mlp-original-2/model\.json is damaged"):
        collect_scores(others)


@pytest.mark.parametrize("content", [[], {"mlp-original": 7}])
def test_damaged_scores_are_named(tmp_path: Path, content: object) -> None:
    paths = checkout(tmp_path / "checkout", [1])
    write_json(paths.report("evaluate") / "metrics.json", content)
    write_json(paths.report("reference") / "metrics.json", content)
    with pytest.raises(UserError, match=r"evaluate/metrics\.json is damaged: .*: run `dvc repro`"):
        collect_scores(paths)
    with pytest.raises(
        UserError, match=r"reference/metrics\.json is damaged: .*: run `make reference`"
    ):
        read_other_seeds(paths)


def test_a_model_that_was_not_evaluated_is_named(tmp_path: Path) -> None:
    others = checkout(tmp_path / "others", [2, 3])
    set_parameters(others.root, {"train.seeds": [2, 3, 4]})
    with pytest.raises(UserError, match="lacks mlp-original-4: run `dvc repro`"):
        collect_scores(others)


def scores(val: float, test: float) -> dict[str, dict[str, float]]:
    return {"val": {"accuracy": val}, "test": {"accuracy": test}}


def test_every_split_is_compared_with_its_own_scores_and_size() -> None:
    recorded = {"mlp-original": scores(0.9, 0.8)}
    others = {f"mlp-original-{n}": scores(0.9 + n / 1000, 0.8 + n / 1000) for n in (2, 3, 4)}
    val, test = compare_scores(recorded, recorded, others, {"val": 100, "test": 10_000})
    assert (val.split, test.split) == ("val", "test")
    assert val.probability == pytest.approx(test.probability)
    assert val.tolerance == pytest.approx(tolerance(0.9, 100))
    assert test.tolerance == pytest.approx(tolerance(0.8, 10_000))


def test_seeds_trained_on_other_data_do_not_count(tmp_path: Path) -> None:
    here = checkout(tmp_path / "here", [1])
    there = checkout(tmp_path / "others", [2, 3])
    record = there.report("train") / "mlp-original-2/model.json"
    write_json(record, {**read_json(record), "data_sha256": {"train": "of another val_fraction"}})
    others = collect_scores(there)
    write_json(here.report("reference") / "metrics.json", others)
    assert {*others} - {*read_other_seeds(here)} == {"mlp-original-2"}
