import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from sidebyside.config.paths import ModelName, Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json
from sidebyside.reproducibility.rerun import set_parameters
from sidebyside.reproducibility.seed_variance import (
    by_seed,
    compare_scores,
    gathered,
    probability,
    read_others,
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
def test_a_name_may_have_a_seed(name: str, model: str) -> None:
    assert without_seed(name) == model


def test_scores_of_all_seeds_of_one_model_are_put_together() -> None:
    assert by_seed([RECORDED, OTHERS], "mlp-original", "test", "accuracy") == [0.91, 0.911, 0.909]
    assert by_seed([RECORDED, OTHERS], "cnn-original", "val", "accuracy") == [0.93, 0.931]


def test_a_seed_that_was_recorded_twice_counts_once() -> None:
    both = [OTHERS, OTHERS]
    assert by_seed(both, "mlp-original", "test", "accuracy") == [0.911, 0.909]


def test_a_score_at_the_mean_is_certain_and_the_probability_falls_with_the_distance() -> None:
    known = [0.909, 0.910, 0.911]
    assert probability(known, 0.910) == pytest.approx(1)
    assert 1 > probability(known, 0.911) > probability(known, 0.912) > 0
    assert probability(known, 0.911) == pytest.approx(probability(known, 0.909))


def test_a_score_far_from_all_others_is_improbable() -> None:
    known = [0.9095, 0.9098, 0.91, 0.9102, 0.9105]
    assert probability(known, 0.9103) > 0.1
    assert probability(known, 0.95) < 0.001


def test_the_probability_is_that_of_student_s_distribution() -> None:
    # Two values, one degree of freedom: the Cauchy distribution, whose quartiles are at ±1.
    scale = math.sqrt(0.5) * math.sqrt(1.5)
    assert probability([0.0, 1.0], 0.5 + scale) == pytest.approx(0.5)


def test_scores_that_do_not_vary_allow_no_other() -> None:
    assert probability([0.5, 0.5], 0.5) == 1
    assert probability([0.5, 0.5], 0.6) == 0


def test_the_tolerance_is_three_binomial_standard_errors() -> None:
    assert tolerance(0.5, 10_000) == pytest.approx(3 * 0.005)
    assert tolerance(0.94, 10_000) < 0.0075


def test_every_accuracy_is_held_against_the_recorded_one() -> None:
    found = metrics(mlp_original=0.9105, cnn_original=0.90)
    held = {(one.model, one.split): one for one in compare_scores(RECORDED, found, OTHERS, IMAGES)}
    assert len(held) == 4
    assert held["mlp-original", "test"].within
    assert held["mlp-original", "test"].probability == pytest.approx(0.821, abs=0.001)
    assert held["cnn-original", "test"].probability is None  # one other seed
    assert not held["cnn-original", "test"].within


def test_a_recorded_score_that_other_seeds_do_not_give_is_improbable_however_often_it_comes() -> (
    None
):
    others = {f"mlp-original-{seed}": 0.91 + seed / 1e4 for seed in range(2, 6)}
    recorded = metrics(mlp_original=0.95)
    held = list(compare_scores(recorded, recorded, metrics(**others), IMAGES))
    assert all(one.within for one in held)
    assert all(one.probability is not None and one.probability < 0.001 for one in held)


def test_a_missing_model_is_not_within_tolerance() -> None:
    held = list(compare_scores(RECORDED, metrics(mlp_original=0.91), {}, IMAGES))
    assert [(one.model, one.within) for one in held if one.split == "test"] == [
        ("mlp-original", True),
        ("cnn-original", False),
    ]


def test_without_other_seeds_nothing_is_said_of_probability() -> None:
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


def test_other_seeds_count_if_all_else_is_the_same(tmp_path: Path) -> None:
    here = checkout(tmp_path / "here", [1])
    assert read_others(here) == {}
    file = here.report("reference") / "metrics.json"
    write_json(file, gathered(checkout(tmp_path / "others", [2, 3])))
    assert len(by_seed([read_others(here)], "cnn-augmented", "test", "accuracy")) == 2
    write_json(file, gathered(checkout(tmp_path / "longer", [2, 3], epochs=31)))
    assert read_others(here) == {}


def test_the_recorded_seed_is_not_among_the_others(tmp_path: Path) -> None:
    here = checkout(tmp_path / "here", [2])
    file = here.report("reference") / "metrics.json"
    write_json(file, gathered(checkout(tmp_path / "others", [2, 3])))
    assert sorted(read_others(here)) == [
        *("cnn-augmented-3", "cnn-original-3", "mlp-augmented-3", "mlp-original-3")
    ]


def test_a_checkout_that_has_not_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").touch()
    with pytest.raises(UserError, match=r"metrics\.json is missing"):
        gathered(Paths(tmp_path))


def test_a_damaged_record_of_a_model_is_named(tmp_path: Path) -> None:
    others = checkout(tmp_path / "others", [2])
    (others.report("train") / "mlp-original-2/model.json").write_text("[]")
    with pytest.raises(UserError, match=r"mlp-original-2/model\.json is damaged"):
        gathered(others)


def test_a_model_that_was_not_evaluated_is_named(tmp_path: Path) -> None:
    others = checkout(tmp_path / "others", [2, 3])
    set_parameters(others.root, {"train.seeds": [2, 3, 4]})
    with pytest.raises(UserError, match="lacks mlp-original-4: run `dvc repro`"):
        gathered(others)


def scores(val: float, test: float) -> dict[str, dict[str, float]]:
    return {"val": {"accuracy": val}, "test": {"accuracy": test}}


def test_every_split_is_held_against_its_own_scores_and_size() -> None:
    recorded = {"mlp-original": scores(0.9, 0.8)}
    others = {f"mlp-original-{n}": scores(0.9 + n / 1000, 0.8 + n / 1000) for n in (2, 3, 4)}
    val, test = compare_scores(recorded, recorded, others, {"val": 100, "test": 10_000})
    assert (val.split, test.split) == ("val", "test")
    assert val.probability == pytest.approx(test.probability)
    assert val.tolerance == pytest.approx(tolerance(0.9, 100))
    assert test.tolerance == pytest.approx(tolerance(0.8, 10_000))


def test_seeds_of_other_data_do_not_count(tmp_path: Path) -> None:
    here = checkout(tmp_path / "here", [1])
    there = checkout(tmp_path / "others", [2, 3])
    record = there.report("train") / "mlp-original-2/model.json"
    write_json(record, {**read_json(record), "data_sha256": {"train": "of another val_fraction"}})
    others = gathered(there)
    write_json(here.report("reference") / "metrics.json", others)
    assert {*others} - {*read_others(here)} == {"mlp-original-2"}
