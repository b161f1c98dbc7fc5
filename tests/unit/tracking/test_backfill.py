import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sidebyside.config.dataset import CLASS_NAMES
from sidebyside.config.parameters import Evaluate
from sidebyside.config.paths import ModelName, Paths
from sidebyside.config.schemas import HISTORY_COLUMNS
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_csv, write_json
from sidebyside.evaluation.results import evaluate_model, metrics_content
from sidebyside.tracking.backfill import (
    backfill_search,
    checked_histories,
    checked_scores,
    class_counts_seen,
    ensure_answering,
    ensure_reached,
    first_executions,
    recorded_evaluation,
    table,
)
from sidebyside.tracking.runs import open_run
from sidebyside.tracking.stages import Place
from sidebyside.tracking.store import open_store
from sidebyside.tracking.views import SEARCH
from tests.support.stores import own_store

if TYPE_CHECKING:
    from tests.support.checkout import Checkout


def refill(checkout: "Checkout", **options: Any) -> str:
    done = checkout.run(
        "python", "-m", "sidebyside.tracking.backfill", environment={"PYTHONPATH": "src"}, **options
    )
    return done.stdout if done.returncode == 0 else done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_lost_store_is_filled_again_and_a_full_one_left_alone(
    reproduced: "Checkout", own: "Checkout"
) -> None:
    own.forget_runs()
    assert "logged" in refill(own)
    found = own_store(own)
    expected = own_store(reproduced)
    assert found["runs"].keys() == expected["runs"].keys()
    for place, run in expected["runs"].items():
        assert found["runs"][place] == run, place
    assert found["champions"] == expected["champions"]
    assert "logged" not in refill(own)
    assert own_store(own) == found
    assert own.results() == reproduced.results()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_the_pipeline_logged_is_left_alone(own: "Checkout") -> None:
    before = own_store(own)
    assert "logged" not in refill(own)
    assert own_store(own) == before


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_clone_without_its_models_is_told_how_to_get_them(own: "Checkout") -> None:
    own.forget_runs()
    shutil.rmtree(own.root / "models")
    message = refill(own, fails=True)
    assert message.startswith("refill: error: ")
    assert "is missing" in message
    assert len(message.splitlines()) == 1


@pytest.mark.slow
def test_without_a_server_it_fails_and_says_so(own: "Checkout") -> None:
    nowhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "PYTHONPATH": "src"}
    done = own.run("python", "-m", "sidebyside.tracking.backfill", environment=nowhere, fails=True)
    (line,) = done.stderr.splitlines()
    assert line.startswith("refill: error: MLflow at http://127.0.0.1:9 cannot be reached (")
    assert line.endswith("): start it and run this again")
    assert done.stdout == ""


def test_a_store_that_answers_no_more_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_answering(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9/refill")
    store = open_store(tmp_path)
    store.attempt(store.client.search_experiments)
    with pytest.raises(UserError, match="does not answer any more"):
        ensure_answering(tmp_path)


def test_a_damaged_evaluation_is_named(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    write_json(paths.report("evaluate") / "evaluation.json", {})
    write_json(paths.report("evaluate") / "metrics.json", {})
    settings = Evaluate(bootstrap_samples=100, confidence=0.95, calibration_bins=15)
    with pytest.raises(UserError, match=r"evaluation\.json is damaged: run `dvc repro evaluate`"):
        recorded_evaluation(paths, settings, [])


@pytest.mark.parametrize(
    ("models", "seeds", "bins", "good"),
    [
        (["mlp", "cnn"], [1], 15, True),
        (["cnn"], [1], 15, False),
        (["mlp", "cnn"], [1, 2], 15, False),
        (["mlp", "cnn"], [1], 10, False),
    ],
)
def test_another_evaluation_than_the_recorded_one_is_not_logged(
    tmp_path: Path, models: list[str], seeds: list[int], bins: int, good: bool
) -> None:
    paths = Paths(tmp_path)
    settings = {"bootstrap_samples": 100, "confidence": 0.95, "calibration_bins": 15}
    write_json(paths.report("evaluate") / "evaluation.json", {"settings": settings})
    write_json(paths.report("evaluate") / "metrics.json", {"mlp-original": {}, "cnn-original": {}})
    asked = Evaluate(**{**settings, "calibration_bins": bins})  # type: ignore[arg-type]
    names = [ModelName(model, "original", seed) for model in models for seed in seeds]
    if good:
        assert recorded_evaluation(paths, asked, names) == {"settings": settings}
    else:
        with pytest.raises(UserError, match="another evaluation than the recorded: run `dvc repro"):
            recorded_evaluation(paths, asked, names)


def test_curves_of_another_search_than_the_recorded_one_are_not_logged(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    with pytest.raises(UserError, match=r"mlp\.csv is missing: run `dvc checkout`"):
        checked_histories(paths, "mlp")
    path = paths.trial_histories("mlp")
    path.parent.mkdir(parents=True)
    path.write_text("trial\n")
    outs = "[{path: data/trials/mlp.csv, md5: %s}]"
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    (tmp_path / "dvc.lock").write_text("stages: {tune@mlp: {outs: %s}}" % (outs % digest))
    assert checked_histories(paths, "mlp") == path
    path.write_text("trial\n1\n")
    with pytest.raises(UserError, match=r"mlp\.csv is not of the search that is recorded"):
        checked_histories(paths, "mlp")


@pytest.mark.parametrize("split", ["val", "test"])
def test_scores_of_another_model_than_the_evaluated_one_are_not_logged(
    tmp_path: Path, split: str
) -> None:
    labels = np.array([0, 1], np.uint8)
    found = evaluate_model(
        ModelName("mlp", "original", 1),
        labels,
        np.eye(10)[labels],
        val={"accuracy": 0.9, "log_loss": 0.3},
        bins=15,
        confidence=0.95,
    )
    recorded = metrics_content([found])
    path = tmp_path / "metrics.json"
    write_json(path, recorded)
    assert checked_scores(path, [found]) == [found]
    recorded["mlp-original"][split]["accuracy"] -= 0.01
    write_json(path, recorded)
    with pytest.raises(UserError, match="mlp-original is not the model that was evaluated"):
        checked_scores(path, [found])


def test_the_curves_of_the_first_execution_count(tmp_path: Path) -> None:
    path = tmp_path / "trials.csv"
    path.write_text(
        "trial,execution,epoch,loss,accuracy,val_loss,val_accuracy,learning_rate\n"
        "1,1,1,0.5,0.6,0.7,0.8,0.001\n1,2,1,9,9,9,9,9\n1,1,2,0.4,0.7,0.6,0.9,0.0\n"
    )
    found = first_executions(path)
    assert [row["epoch"] for row in found[1]] == [1, 2]
    assert [row["loss"] for row in found[1]] == [0.5, 0.4]
    path.write_text(path.read_text().replace("0.5", "much"))
    with pytest.raises(UserError, match="a row is not numbers"):
        first_executions(path)


def test_cells_of_a_table_are_what_they_stand_for() -> None:
    row = {"trial": "1", "hidden_units": "[8, 4]", "dropout": "0.1", "flip": "False", "score": ""}
    header, values = table([row])
    assert header == [*row]
    assert values == [1, "[8, 4]", 0.1, False, ""]
    assert values[3] is False


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_another_model_than_the_recorded_one_is_not_logged(own: "Checkout") -> None:
    own.forget_runs()
    model, other = (own.root / f"models/mlp-{data}-1.keras" for data in ("original", "augmented"))
    model.unlink()
    shutil.copy(other, model)
    message = refill(own, fails=True)
    assert message.startswith("refill: error: ")
    assert "mlp-original-1.keras is not the model whose training is recorded" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(("scores", "lacking"), [(None, False), ({"val_loss": 0.3}, True)])
def test_a_search_is_logged_if_every_trial_that_ended_has_its_curves(
    tmp_path: Path, scores: dict[str, float] | None, *, lacking: bool
) -> None:
    first, second = (
        {"number": number, "searched": {"dropout": number / 10}, "epochs": 1, "scores": one}
        for number, one in ((1, {"val_loss": 0.4}), (2, scores))
    )
    record = {
        "key": "k",
        "seed": 1,
        "settings": {"strategy": "random", "objective": "val_loss"},
        "space": {},
        "fixed": {},
        "searched": ["dropout"],
        "data_sha256": {"train": "ab" * 32, "val": "cd" * 32},
        "classes": {"train": {}, "val": {}},
        "machine": {},
        "best": {"val_loss": 0.4},
        "trials": [first, second],
    }
    write_json(tmp_path / "search.json", record)
    write_json(tmp_path / "hyperparameters.json", {})
    header = ["trial", "max_epochs", "epochs", "val_accuracy", "val_loss"]
    write_csv(tmp_path / "trials.csv", header, [[1, 1, 1, 0.9, 0.4], [2, 1, 1, "", ""]])
    columns, histories = ["trial", "execution", *HISTORY_COLUMNS], tmp_path / "histories.csv"
    write_csv(histories, columns, [[1, 1, *[1] * len(HISTORY_COLUMNS)]])
    place = Place(SEARCH, "search-mlp", "tune@mlp")
    if lacking:
        with pytest.raises(UserError, match=r"histories\.csv lacks trial 2: run `dvc checkout`"):
            backfill_search(tmp_path, place, "mlp", tmp_path, histories)
        return
    assert backfill_search(tmp_path, place, "mlp", tmp_path, histories) == "logged"
    client = open_store(tmp_path).client
    (experiment,) = [one for one in client.search_experiments() if one.name == SEARCH]
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.run_name for run in runs} == {"search-mlp", "mlp-trial-1"}


def test_a_run_that_could_not_be_opened_stops_the_refill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with (
        open_run(tmp_path, SEARCH, "search-mlp", "k") as run,
        pytest.raises(UserError, match="MLflow cannot be reached"),
    ):
        ensure_reached(run)


def test_a_model_of_augmented_data_saw_the_augmented_classes(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    rows = [[name, 5, 2] for name in CLASS_NAMES]
    write_csv(paths.report("preprocess") / "classes.csv", ["class", "train", "val"], rows)
    more = dict.fromkeys(CLASS_NAMES, 9)
    write_json(paths.report("augment") / "summary.json", {"classes": more})
    original, augmented = (
        class_counts_seen(paths, ModelName("mlp", data, 1)) for data in ("original", "augmented")
    )
    val = dict.fromkeys(CLASS_NAMES, 2)
    assert original == {"original": dict.fromkeys(CLASS_NAMES, 5), "val": val}
    assert augmented == {"augmented": more, "val": val}
