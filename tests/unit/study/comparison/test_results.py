from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidebyside.config.paths import CHECKOUT, Paths
from sidebyside.config.result_files import HISTORY_COLUMNS
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_csv, write_json
from study.comparison.results import (
    completed,
    mean_step,
    read_digests,
    read_model,
    read_runs,
    read_search,
)
from study.plan import CLASS_NAMES, PER_CLASS, SCORES, read_plan, stage_names

PLAN = read_plan(CHECKOUT / "replications/params.yaml")
SEEDS = (1, 2)


def write(folder: Path) -> Path:
    """Write results of two seeds, the numbers of the second twice those of the first."""
    write_csv(
        folder / "scores.csv",
        ["seed", *SCORES, "best_epoch"],
        [[seed, *(seed * 0.1 * n for n, _ in enumerate(SCORES, 1)), 5 * seed] for seed in SEEDS],
    )
    write_json(folder / "record.json", {"settings": {"l2": 0.1}})
    write_csv(
        folder / "histories.csv",
        ["seed", *HISTORY_COLUMNS],
        [[seed, epoch, *(seed * 0.1,) * 5] for seed in SEEDS for epoch in (1, 2, 3)],
    )
    write_csv(
        folder / "classes.csv",
        ["seed", "class", *PER_CLASS],
        [
            [seed, name, 0.3, 0.7, seed * 0.01 * index]
            for seed in SEEDS
            for index, name in enumerate(CLASS_NAMES)
        ],
    )
    counts = [[seed, name, *range(10)] for seed in SEEDS for name in CLASS_NAMES]
    write_csv(folder / "confusion.csv", ["seed", "true", *CLASS_NAMES], counts)
    write_csv(folder / "predictions.csv", ["true", *CLASS_NAMES], [["Bag", *(0.1,) * 10]])
    return folder


def test_the_results_of_a_model_are_read_by_seed(tmp_path: Path) -> None:
    found = read_model(write(tmp_path))
    assert found.settings == {"l2": 0.1}
    assert found.best_epochs == [5, 10]
    assert found.metrics["train_loss"] == pytest.approx([0.1, 0.2])
    assert found.metrics["gap"] == pytest.approx([0.2 - 0.4, 0.4 - 0.8])
    assert found.metrics["macro_f1"] == pytest.approx([0.045, 0.09])
    assert found.metrics["f1.Ankle boot"] == pytest.approx([0.09, 0.18])
    assert found.metrics["macro_recall"] == pytest.approx([0.7, 0.7])
    assert found.of_classes("f1") == pytest.approx(np.outer(SEEDS, np.arange(10) * 0.01))
    assert found.histories[2]["val_loss"] == pytest.approx([0.2, 0.2, 0.2])
    assert found.metrics["val_loss_changes"] == pytest.approx([0, 0])
    assert found.confusion.shape == (10, 10)
    assert found.labels.tolist() == [8]
    assert found.probabilities.shape == (1, 10)


@pytest.mark.parametrize(
    "file",
    [
        *("scores.csv", "histories.csv", "classes.csv", "confusion.csv", "predictions.csv"),
        "record.json",
    ],
)
def test_a_missing_file_is_named_in_the_error(tmp_path: Path, file: str) -> None:
    (write(tmp_path) / file).unlink()
    with pytest.raises(UserError, match=file):
        read_model(tmp_path)


@pytest.mark.parametrize("text", ["{}\n", "{}\n1,0.1,0.2,much\n", "seed,class\n1,Bag\n"])
def test_a_damaged_table_is_named_in_the_error(tmp_path: Path, text: str) -> None:
    header = ",".join(["seed", *PER_CLASS])
    (write(tmp_path) / "classes.csv").write_text(text.format(header))
    with pytest.raises(UserError, match=r"classes\.csv"):
        read_model(tmp_path)


def test_the_mean_step_leaves_out_the_first_epochs() -> None:
    falling = [9.0, 7.0, 5.0, 3.0, 2.0]
    assert mean_step([*falling, 1.0, 1.5, 0.5]) == pytest.approx(0.75)
    assert mean_step([3.0, 1.0, 2.0]) == pytest.approx(1.5)  # too short to leave out any
    assert mean_step([3.0]) == 0


def test_a_missing_row_of_a_class_is_refused(tmp_path: Path) -> None:
    table = write(tmp_path) / "classes.csv"
    table.write_text(table.read_text().replace("2,Bag,0.3,0.7,0.16\n", ""))
    with pytest.raises(UserError, match=r"classes\.csv: expected a row per class and seed"):
        read_model(tmp_path)


@pytest.mark.parametrize("cells", ["Hat" + 10 * ",0.1", "Bag" + 10 * ",much"])
def test_a_damaged_prediction_is_named_in_the_error(tmp_path: Path, cells: str) -> None:
    table = write(tmp_path) / "predictions.csv"
    header = table.read_text().splitlines()[0]
    table.write_text(f"{header}\n{cells}\n")
    with pytest.raises(UserError, match=r"predictions\.csv"):
        read_model(tmp_path)


FEW = PLAN.model_copy(
    update={
        "searches": {"2-mlp": PLAN.searches["2-mlp"]},
        "models": {"3-tyler": PLAN.models["3-tyler"]},
        "winners": {},
    }
)
DIGESTS = {"original": "a", "augmented": "b", "val": "c"}


def write_records(folder: Path) -> Path:
    """Write the records of FEW's results."""
    source = {"data_sha256": {"train": "a", "val": "c"}}
    search, model = FEW.searches["2-mlp"], FEW.models["3-tyler"]
    write_json(
        folder / "searches/2-mlp/search.json",
        {
            "seed": PLAN.seed,
            "settings": search.search.record,
            "space": search.space,
            **source,
        },
    )
    hyperparameters = FEW.record("3-tyler", folder).model_dump(mode="json")
    settings = {**model.training.model_dump(mode="json"), **hyperparameters}
    write_json(folder / "models/3-tyler/record.json", {"settings": settings, **source})
    write_csv(folder / "models/3-tyler/scores.csv", ["seed"], [[seed] for seed in model.seeds])
    return folder


@pytest.mark.parametrize(
    ("changed", "digests", "ran"),
    [
        ({}, DIGESTS, ["search@2-mlp", "train@3-tyler"]),
        ({}, {**DIGESTS, "augmented": "x"}, ["search@2-mlp", "train@3-tyler"]),
        ({}, {**DIGESTS, "original": "x"}, []),
        ({}, {**DIGESTS, "val": "x"}, []),
        ({"seed": 2}, DIGESTS, ["train@3-tyler"]),
        (
            {
                "models": {
                    "3-tyler": PLAN.models["3-tyler"].model_copy(update={"data": "augmented"})
                }
            },
            DIGESTS,
            ["search@2-mlp"],
        ),
    ],
)
def test_results_from_other_data_or_seeds_do_not_count(
    tmp_path: Path, changed: dict[str, Any], digests: dict[str, str], ran: list[str]
) -> None:
    found = completed(FEW.model_copy(update=changed), write_records(tmp_path), digests)
    assert stage_names(found) == ran
    assert {claim.model for claim in found.lowest} <= {*found.trained}


def test_digests_of_the_data_are_read_from_the_reports(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    splits = {"train": {"sha256": "a"}, "val": {"sha256": "c"}, "test": {"sha256": "d"}}
    write_json(paths.report("preprocess") / "summary.json", {"splits": splits})
    write_json(paths.report("augment") / "summary.json", {"sha256": "b"})
    assert read_digests(paths) == DIGESTS
    write_json(paths.report("preprocess") / "summary.json", {"splits": {"train": 1}})
    with pytest.raises(UserError, match=r"summary\.json: expected the digests"):
        read_digests(paths)


def test_the_mean_step_of_six_epochs_includes_the_first() -> None:
    assert mean_step([9.0, 7.0, 5.0, 3.0, 2.0, 1.0]) == pytest.approx(8 / 5)


def test_the_mean_step_is_a_mean() -> None:
    assert mean_step([9.0, 7.0, 5.0, 3.0, 2.0, 1.0, 1.1, 1.2, 2.2]) == pytest.approx(0.4)


def test_steps_are_those_of_the_validation_loss(tmp_path: Path) -> None:
    losses = [3.0, 1.0, 2.0]
    write_csv(
        write(tmp_path) / "histories.csv",
        ["seed", *HISTORY_COLUMNS],
        [
            [seed, *(value if name == "val_loss" else 1 for name in HISTORY_COLUMNS)]
            for seed in SEEDS
            for value in losses
        ],
    )
    assert read_model(tmp_path).metrics["val_loss_changes"] == pytest.approx([1.5, 1.5])


def test_the_confusion_matrix_is_that_of_the_first_seed(tmp_path: Path) -> None:
    counts = [[seed, name, *[seed] * 10] for seed in SEEDS for name in CLASS_NAMES]
    write_csv(write(tmp_path) / "confusion.csv", ["seed", "true", *CLASS_NAMES], counts)
    assert (read_model(tmp_path).confusion == 1).all()


def test_results_from_another_search_space_do_not_count(tmp_path: Path) -> None:
    part = PLAN.searches["2-mlp"]
    other = part.model_copy(update={"space": {**part.space, "l2": 0.5}})
    plan = FEW.model_copy(update={"searches": {"2-mlp": other}})
    assert stage_names(completed(plan, write_records(tmp_path), DIGESTS)) == ["train@3-tyler"]


@pytest.mark.parametrize("seeds", [(1,), (5, 4, 3, 2, 1), (1, 2, 3, 4, 5, 6)])
def test_results_from_other_seeds_do_not_count(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    part = PLAN.models["3-tyler"].model_copy(update={"seeds": seeds})
    plan = FEW.model_copy(update={"models": {"3-tyler": part}})
    assert stage_names(completed(plan, write_records(tmp_path), DIGESTS)) == ["search@2-mlp"]


def test_a_claim_about_two_models_needs_the_results_of_both(tmp_path: Path) -> None:
    claim = PLAN.claims[0].model_copy(update={"first": "3-tyler", "second": "3-jackson"})
    plan = FEW.model_copy(update={"claims": (claim,)})
    assert completed(plan, write_records(tmp_path), DIGESTS).claims == ()


def test_stage_names_include_the_winners() -> None:
    assert {f"winner@{name}" for name in PLAN.winners} <= {*stage_names(PLAN)}


def test_tables_with_different_seeds_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path)
    assert [*read_runs(folder)] == [1, 2]
    table = folder / "histories.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(line for line in lines if not line.startswith("2,")))
    with pytest.raises(UserError, match="have different seeds"):
        read_runs(folder)


def test_probabilities_are_in_the_order_of_the_classes(tmp_path: Path) -> None:
    row = ["Bag", *(0.01 * index for index in range(10))]
    write_csv(write(tmp_path) / "predictions.csv", ["true", *CLASS_NAMES], [row])
    assert read_model(tmp_path).probabilities[0] == pytest.approx(row[1:])


def test_a_winner_without_its_search_does_not_count(tmp_path: Path) -> None:
    name, winner = next((n, w) for n, w in PLAN.winners.items() if w.search == "2-mlp")
    folder = write_records(tmp_path)
    best = PLAN.models["3-tyler"].hyperparameters
    write_json(folder / "searches/2-mlp/hyperparameters.json", best)
    plan = FEW.model_copy(update={"winners": {name: winner}})
    source = {"data_sha256": {"train": "a", "val": "c"}}
    settings = {
        **winner.training.model_dump(mode="json"),
        **plan.record(name, folder / "searches").model_dump(mode="json"),
    }
    write_json(folder / f"models/{name}/record.json", {"settings": settings, **source})
    write_csv(folder / f"models/{name}/scores.csv", ["seed"], [[seed] for seed in winner.seeds])
    assert f"winner@{name}" in stage_names(completed(plan, folder, DIGESTS))
    other = plan.model_copy(update={"seed": PLAN.seed + 1})  # changes the search, not the winner
    assert stage_names(completed(other, folder, DIGESTS)) == ["train@3-tyler"]


def test_the_result_of_a_search_is_its_trials_and_best_hyperparameters(tmp_path: Path) -> None:
    best = PLAN.record("3-tyler", tmp_path).model_dump(mode="json")
    write_json(tmp_path / "hyperparameters.json", best)
    header = ["trial", "max_epochs", "epochs", "val_loss"]
    write_csv(tmp_path / "trials.csv", header, [[1, 5, 5, 0.3], [2, 5, 5, ""]])
    found = read_search(tmp_path, "mlp", "val_loss")
    assert found.best == best
    assert [trial["val_loss"] for trial in found.trials] == ["0.3", ""]
