from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidebyside.config.dataset import CLASS_NAMES
from sidebyside.config.paths import Paths
from sidebyside.config.schemas import HISTORY_COLUMNS
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_csv, write_json
from study.plan import PER_CLASS, SCORES, read_plan
from study.results import (
    changes,
    read_digests,
    read_durations,
    read_model,
    read_processors,
    read_replicas,
    read_search,
    stage_names,
    what_ran,
)

PLAN = read_plan(Path(__file__).parents[3] / "replications/params.yaml")
SEEDS = (1, 2)


def write(folder: Path) -> Path:
    """Write the files of a model of two seeds; the second seed's numbers are twice the first's."""
    write_csv(
        folder / "scores.csv",
        ["seed", *SCORES, "best_epoch"],
        [[seed, *(seed * 0.1 * n for n, _ in enumerate(SCORES, 1)), 5 * seed] for seed in SEEDS],
    )
    machine = {"processor": "x86_64 new", "threads": "1"}
    write_json(folder / "record.json", {"settings": {"l2": 0.1}, "machine": machine})
    write_csv(
        folder / "histories.csv",
        ["seed", *HISTORY_COLUMNS],
        [[seed, epoch, *(seed * 0.1,) * 5] for seed in SEEDS for epoch in (1, 2, 3)],
    )
    write_csv(
        folder / "classes.csv",
        ["seed", "class", *PER_CLASS],
        [
            [seed, name, 0.3, 0.7, seed * 0.01 * place]
            for seed in SEEDS
            for place, name in enumerate(CLASS_NAMES)
        ],
    )
    counts = [[seed, name, *range(10)] for seed in SEEDS for name in CLASS_NAMES]
    write_csv(folder / "confusion.csv", ["seed", "true", *CLASS_NAMES], counts)
    write_csv(folder / "predictions.csv", ["true", *CLASS_NAMES], [["Bag", *(0.1,) * 10]])
    return folder


def test_a_model_is_read_seed_by_seed(tmp_path: Path) -> None:
    found = read_model(write(tmp_path))
    assert found.settings == {"l2": 0.1}
    assert found.processor == "x86_64 new"
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
def test_a_missing_file_is_named(tmp_path: Path, file: str) -> None:
    (write(tmp_path) / file).unlink()
    with pytest.raises(UserError, match=file):
        read_model(tmp_path)


@pytest.mark.parametrize("text", ["{}\n", "{}\n1,0.1,0.2,much\n", "seed,class\n1,Bag\n"])
def test_a_damaged_table_is_named(tmp_path: Path, text: str) -> None:
    header = ",".join(["seed", *PER_CLASS])
    (write(tmp_path) / "classes.csv").write_text(text.format(header))
    with pytest.raises(UserError, match=r"classes\.csv"):
        read_model(tmp_path)


def test_volatility_is_the_size_of_the_steps_after_the_first_epochs() -> None:
    falling = [9.0, 7.0, 5.0, 3.0, 2.0]
    assert changes([*falling, 1.0, 1.5, 0.5]) == pytest.approx(0.75)
    assert changes([3.0, 1.0, 2.0]) == pytest.approx(1.5)  # too short to leave any out
    assert changes([3.0]) == 0


def test_durations_are_added_up_by_system(tmp_path: Path) -> None:
    for kind, named in (("search", [*PLAN.searches]), ("train", [*PLAN.trained])):
        for name in named:
            write_json(tmp_path / f"{kind}-{name}.json", {"seconds": 10.0})
    found = read_durations(tmp_path, PLAN)
    assert found == {"1": 70.0, "2": 100.0, "3": 70.0, "4": 290.0, "5": 40.0}
    write_json(tmp_path / "train-3-tyler.json", {"seconds": "long"})
    with pytest.raises(UserError, match=r"train-3-tyler\.json: expected seconds"):
        read_durations(tmp_path, PLAN)


def test_processors_of_one_name_are_told_apart_by_what_they_can(tmp_path: Path) -> None:
    plan = PLAN.model_copy(
        update={
            "searches": {"2-mlp": PLAN.searches["2-mlp"]},
            "models": {name: PLAN.models[name] for name in ("3-tyler", "3-jackson")},
            "winners": {},
        }
    )
    places = {
        "search-2-mlp": ("searches/2-mlp/search.json", "x86_64 old"),
        "train-3-tyler": ("models/3-tyler/record.json", "x86_64 new"),
        "train-3-jackson": ("models/3-jackson/record.json", "x86_64 new"),
    }
    for work, (record, processor) in places.items():
        write_json(tmp_path / f"durations/{work}.json", {"seconds": 1.0, "processor": "Xeon"})
        write_json(tmp_path / "results" / record, {"machine": {"processor": processor}})
    found = read_processors(tmp_path / "durations", tmp_path / "results", plan)
    assert found == ["Xeon (x86_64 new)", "Xeon (x86_64 old)"]
    (tmp_path / "results/models/3-tyler/record.json").write_text("{}")
    with pytest.raises(UserError, match=r"record\.json: expected machine"):
        read_processors(tmp_path / "durations", tmp_path / "results", plan)


def test_a_class_without_a_row_is_named(tmp_path: Path) -> None:
    table = write(tmp_path) / "classes.csv"
    table.write_text(table.read_text().replace("2,Bag,0.3,0.7,0.16\n", ""))
    with pytest.raises(UserError, match=r"classes\.csv: expected a row per class and seed"):
        read_model(tmp_path)


@pytest.mark.parametrize("cells", ["Hat" + 10 * ",0.1", "Bag" + 10 * ",much"])
def test_a_damaged_prediction_is_named(tmp_path: Path, cells: str) -> None:
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
    """Write what says of which plan the results are."""
    source = {"data_sha256": {"train": "a", "val": "c"}, "machine": {"threads": str(PLAN.threads)}}
    search, model = FEW.searches["2-mlp"], FEW.models["3-tyler"]
    write_json(
        folder / "searches/2-mlp/search.json",
        {
            "seed": PLAN.seed,
            "settings": search.search.model_dump(mode="json"),
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
        ({"threads": 2}, DIGESTS, []),
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
def test_results_of_other_data_seeds_or_threads_are_none(
    tmp_path: Path, changed: dict[str, Any], digests: dict[str, str], ran: list[str]
) -> None:
    found = what_ran(FEW.model_copy(update=changed), write_records(tmp_path), digests)
    assert stage_names(found) == ran
    assert {claim.model for claim in found.lowest} <= {*found.trained}


def test_the_digests_of_the_data_are_those_reported(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    splits = {"train": {"sha256": "a"}, "val": {"sha256": "c"}, "test": {"sha256": "d"}}
    write_json(paths.report("preprocess") / "summary.json", {"splits": splits})
    write_json(paths.report("augment") / "summary.json", {"sha256": "b"})
    assert read_digests(paths) == DIGESTS
    write_json(paths.report("preprocess") / "summary.json", {"splits": {"train": 1}})
    with pytest.raises(UserError, match=r"summary\.json: expected the digests"):
        read_digests(paths)


def test_six_epochs_are_too_few_to_leave_five_out() -> None:
    assert changes([9.0, 7.0, 5.0, 3.0, 2.0, 1.0]) == pytest.approx(8 / 5)


def test_volatility_is_a_mean() -> None:
    assert changes([9.0, 7.0, 5.0, 3.0, 2.0, 1.0, 1.1, 1.2, 2.2]) == pytest.approx(0.4)


def test_volatility_is_of_the_validation_loss(tmp_path: Path) -> None:
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


def test_results_of_another_space_are_none(tmp_path: Path) -> None:
    part = PLAN.searches["2-mlp"]
    other = part.model_copy(update={"space": {**part.space, "l2": 0.5}})
    plan = FEW.model_copy(update={"searches": {"2-mlp": other}})
    assert stage_names(what_ran(plan, write_records(tmp_path), DIGESTS)) == ["train@3-tyler"]


@pytest.mark.parametrize("seeds", [(1,), (5, 4, 3, 2, 1), (1, 2, 3, 4, 5, 6)])
def test_results_of_other_seeds_are_none(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    part = PLAN.models["3-tyler"].model_copy(update={"seeds": seeds})
    plan = FEW.model_copy(update={"models": {"3-tyler": part}})
    assert stage_names(what_ran(plan, write_records(tmp_path), DIGESTS)) == ["search@2-mlp"]


def test_a_claim_about_two_models_needs_both(tmp_path: Path) -> None:
    claim = PLAN.claims[0].model_copy(update={"first": "3-tyler", "second": "3-jackson"})
    plan = FEW.model_copy(update={"claims": (claim,)})
    assert what_ran(plan, write_records(tmp_path), DIGESTS).claims == ()


def test_the_stages_of_winners_are_named() -> None:
    assert {f"winner@{name}" for name in PLAN.winners} <= {*stage_names(PLAN)}


def test_tables_of_other_seeds_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path)
    assert [*read_replicas(folder)] == [1, 2]
    table = folder / "histories.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(line for line in lines if not line.startswith("2,")))
    with pytest.raises(UserError, match="not of the same seeds"):
        read_replicas(folder)


def test_probabilities_are_in_the_order_of_the_classes(tmp_path: Path) -> None:
    row = ["Bag", *(0.01 * place for place in range(10))]
    write_csv(write(tmp_path) / "predictions.csv", ["true", *CLASS_NAMES], [row])
    assert read_model(tmp_path).probabilities[0] == pytest.approx(row[1:])


def test_the_winner_of_a_search_that_has_not_run_has_not_run(tmp_path: Path) -> None:
    name, winner = next((n, w) for n, w in PLAN.winners.items() if w.search == "2-mlp")
    folder = write_records(tmp_path)
    best = PLAN.models["3-tyler"].hyperparameters
    write_json(folder / "searches/2-mlp/hyperparameters.json", best)
    plan = FEW.model_copy(update={"winners": {name: winner}})
    source = {"data_sha256": {"train": "a", "val": "c"}, "machine": {"threads": str(PLAN.threads)}}
    settings = {
        **winner.training.model_dump(mode="json"),
        **plan.record(name, folder / "searches").model_dump(mode="json"),
    }
    write_json(folder / f"models/{name}/record.json", {"settings": settings, **source})
    write_csv(folder / f"models/{name}/scores.csv", ["seed"], [[seed] for seed in winner.seeds])
    assert f"winner@{name}" in stage_names(what_ran(plan, folder, DIGESTS))
    other = plan.model_copy(update={"seed": PLAN.seed + 1})  # of the search, not of the winner
    assert stage_names(what_ran(other, folder, DIGESTS)) == ["train@3-tyler"]


def test_a_search_is_read_with_the_processor_it_ran_on(tmp_path: Path) -> None:
    best = PLAN.record("3-tyler", tmp_path).model_dump(mode="json")
    write_json(tmp_path / "hyperparameters.json", best)
    machine = {"fingerprint": "0123", "processor": "x86_64 4567"}
    write_json(tmp_path / "search.json", {"machine": machine})
    header = ["trial", "max_epochs", "epochs", "val_loss"]
    write_csv(tmp_path / "trials.csv", header, [[1, 5, 5, 0.3], [2, 5, 5, ""]])
    found = read_search(tmp_path, "mlp", "val_loss")
    assert found.best == best
    assert [trial["val_loss"] for trial in found.trials] == ["0.3", ""]
    assert found.processor == "x86_64 4567"
