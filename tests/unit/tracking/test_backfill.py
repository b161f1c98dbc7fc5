import shutil
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sidebyside.config.parameters import Evaluate
from sidebyside.config.paths import ModelName, Paths
from sidebyside.config.result_files import HISTORY_COLUMNS
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_csv, write_json
from sidebyside.evaluation.results import evaluate_model, metrics_content
from sidebyside.tracking import guard
from sidebyside.tracking.backfill import (
    backfill_evaluation,
    backfill_search,
    backfill_training,
    backfill_tuning,
    checked_results,
    class_counts,
    ensure_opened,
    ensure_started,
    first_executions,
    parse_table,
    read_evaluation,
    status_of,
)
from sidebyside.tracking.origin import Origin
from sidebyside.tracking.runs import open_run
from sidebyside.tracking.search import tuning
from sidebyside.tracking.store import open_store
from tests.support.bad_servers import Answer, answering
from tests.support.datasets import CLASS_NAMES, FASHION_MNIST, dataset
from tests.support.stores import SEARCH, runs_of


def test_an_outage_during_the_backfill_is_an_error_of_one_line(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ensure_started(root)
    shutil.copy(root / "mlflow.db", root / "kept.db")
    with (
        pytest.raises(UserError, match=r"mlflow\.db fails \("),
        open_run(root, SEARCH, "search-mlp", "k") as run,
    ):
        (root / "mlflow.db").write_bytes(bytes(10_000))
        run.log_text("a.txt", "a")
    (root / "kept.db").rename(root / "mlflow.db")
    with pytest.raises(UserError, match=r"mlflow\.db fails \("):  # not called again
        open_store(root).attempt(lambda: None)
    assert capsys.readouterr().err == ""


def test_a_server_that_drips_holds_a_backfill_no_longer_than_stated(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "CALL_LIMIT", 0.2)
    with answering(Answer(200, " " * 100, pause=0.05)) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        before = time.monotonic()
        with pytest.raises(UserError, match=r"cannot be reached \(no answer within 0 s\)"):
            ensure_started(root)
        assert time.monotonic() - before < 3


def test_a_damaged_evaluation_is_an_error(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    write_json(paths.report("evaluate") / "evaluation.json", {})
    write_json(paths.report("evaluate") / "metrics.json", {})
    settings = Evaluate(bootstrap_samples=100, confidence=0.95, calibration_bins=15)
    with pytest.raises(UserError, match=r"evaluation\.json is damaged: run `dvc .*repro`"):
        read_evaluation(paths, settings, [])


@pytest.mark.parametrize(
    ("models", "seeds", "bins", "good"),
    [
        (["mlp", "cnn"], [1], 15, True),
        (["cnn"], [1], 15, False),
        (["mlp", "cnn"], [1, 2], 15, False),
        (["mlp", "cnn"], [1], 10, False),
    ],
)
def test_an_evaluation_with_other_settings_than_params_yaml_is_not_logged(
    tmp_path: Path, models: list[str], seeds: list[int], bins: int, good: bool
) -> None:
    paths = Paths(tmp_path)
    settings = {"bootstrap_samples": 100, "confidence": 0.95, "calibration_bins": 15}
    write_json(paths.report("evaluate") / "evaluation.json", {"settings": settings})
    write_json(paths.report("evaluate") / "metrics.json", {"mlp-original": {}, "cnn-original": {}})
    asked = Evaluate(**{**settings, "calibration_bins": bins})  # type: ignore[arg-type]
    names = [ModelName(model, "original", seed) for model in models for seed in seeds]
    if good:
        assert read_evaluation(paths, asked, names) == {"settings": settings}
    else:
        with pytest.raises(UserError, match="other settings or models than params"):
            read_evaluation(paths, asked, names)


@pytest.mark.parametrize("split", ["val", "test"])
def test_scores_that_differ_from_the_recorded_ones_are_not_logged(
    tmp_path: Path, split: str
) -> None:
    labels = np.array([0, 1], np.uint8)
    found = evaluate_model(
        ModelName("mlp", "original", 1),
        labels,
        np.eye(10)[labels],
        CLASS_NAMES,
        val={"accuracy": 0.9, "log_loss": 0.3},
        near_duplicates=[],
        bins=15,
        confidence=0.95,
    )
    recorded = metrics_content([found], 2, 0.95)
    path = tmp_path / "metrics.json"
    write_json(path, recorded)
    assert checked_results(path, [found]) == [found]
    recorded["mlp-original"][split]["accuracy"] -= 0.01
    write_json(path, recorded)
    with pytest.raises(UserError, match=f"mlp-original: {split} accuracy differs from"):
        checked_results(path, [found])


def test_the_curves_of_the_first_execution_are_read(tmp_path: Path) -> None:
    path = tmp_path / "trials.csv"
    path.write_text(
        "trial,execution,epoch,loss,accuracy,val_loss,val_accuracy,learning_rate\n"
        "1,1,1,0.5,0.6,0.7,0.8,0.001\n1,2,1,9,9,9,9,9\n1,1,2,0.4,0.7,0.6,0.9,0.0\n"
    )
    found = first_executions(path)
    assert [row["epoch"] for row in found[1]] == [1, 2]
    assert [row["loss"] for row in found[1]] == [0.5, 0.4]
    path.write_text(path.read_text().replace("0.5", "much"))
    with pytest.raises(UserError, match="a cell is not a number: run `dvc"):
        first_executions(path)


def test_cells_are_parsed_as_numbers_and_truth_values() -> None:
    row = {"trial": "1", "hidden_units": "[8, 4]", "dropout": "0.1", "flip": "False", "score": ""}
    header, values = parse_table([row])
    assert header == [*row]
    assert values == [1, "[8, 4]", 0.1, False, ""]
    assert values[3] is False


SCORES = {"val_loss": 0.3, "val_accuracy": 0.9}


@pytest.mark.parametrize(("scores", "missing"), [(None, False), (SCORES, True)])
def test_a_search_is_logged_if_every_complete_trial_has_its_curves(
    root: Path, tmp_path: Path, scores: dict[str, float] | None, *, missing: bool
) -> None:
    first, second = (
        {"number": number, "searched": {"dropout": number / 10}, "epochs": 1, "scores": one}
        for number, one in ((1, {**SCORES, "val_loss": 0.4}), (2, scores))
    )
    record = {
        "seed": 1,
        "settings": {"strategy": "random", "objective": "val_loss"},
        "space": {},
        "fixed": {},
        "searched": ["dropout"],
        "data_sha256": {"train": "ab" * 32, "val": "cd" * 32},
        "classes": {"train": {}, "val": {}},
        "best": {"val_loss": 0.4},
        "trials": [first, second],
    }
    write_json(tmp_path / "search.json", record)
    write_json(tmp_path / "hyperparameters.json", {})
    header = ["trial", "max_epochs", "epochs", "val_accuracy", "val_loss"]
    write_csv(tmp_path / "trials.csv", header, [[1, 1, 1, 0.9, 0.4], [2, 1, 1, "", ""]])
    columns, histories = ["trial", "execution", *HISTORY_COLUMNS], tmp_path / "histories.csv"
    write_csv(histories, columns, [[1, 1, *[1] * len(HISTORY_COLUMNS)]])
    search = tuning(FASHION_MNIST, "mlp", Origin("tune@mlp", "k", {"fingerprint": "f"}), record)
    if missing:
        with pytest.raises(UserError, match=r"histories\.csv lacks trial 2: run `dvc"):
            backfill_search(root, search, tmp_path, histories)
        return
    assert backfill_search(root, search, tmp_path, histories) == "logged"
    runs = {run.info.run_name: run for run in runs_of(root, SEARCH)}
    assert runs.keys() == {"search-mlp", "mlp-trial-1"}
    tags = runs["mlp-trial-1"].data.tags
    assert tags["mlflow.parentRunId"] == runs["search-mlp"].info.run_id
    assert (tags["stage"], tags["machine.fingerprint"], tags["seed"]) == ("tune@mlp", "f", "1")
    assert backfill_search(root, search, tmp_path, histories) == "already in MLflow"


def test_a_run_that_could_not_be_opened_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with (
        open_run(tmp_path, SEARCH, "search-mlp", "k") as run,
        pytest.raises(UserError, match=r"^MLflow has no run for these results: run"),
    ):
        ensure_opened(run)


def test_an_entry_that_mlflow_did_not_store_is_an_error(root: Path) -> None:
    with open_run(root, SEARCH, "search-mlp", "k") as run:
        pass
    assert status_of([run]) == "logged"
    run.missed["metric"] += 1
    with pytest.raises(
        UserError, match=r"^MLflow has not stored all entries: run the same command"
    ):
        status_of([run])


def test_class_counts_follow_the_training_data(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    rows = [[name, 5, 2] for name in CLASS_NAMES]
    write_csv(paths.report("preprocess") / "classes.csv", ["class", "train", "val"], rows)
    more = dict.fromkeys(CLASS_NAMES, 9)
    write_json(paths.report("augment") / "summary.json", {"classes": more})
    original, augmented = (
        class_counts(paths, FASHION_MNIST, ModelName("mlp", data, 1))
        for data in ("original", "augmented")
    )
    val = dict.fromkeys(CLASS_NAMES, 2)
    assert original == {"original": dict.fromkeys(CLASS_NAMES, 5), "val": val}
    assert augmented == {"augmented": more, "val": val}


def test_results_of_another_data_set_are_not_logged_under_the_file_nameof_this_one(
    tmp_path: Path,
) -> None:
    paths, name = Paths(tmp_path), ModelName("mlp", "original", 1)
    paths.model(name).parent.mkdir()
    paths.model(name).touch()
    search, model = paths.hyperparameters("mlp").parent / "search.json", paths.training(name)
    for file in (search, model / "model.json", paths.report("evaluate") / "evaluation.json"):
        write_json(file, {"data_sha256": {"val": "ab" * 32, "test": "ab" * 32}})
    for file_name in ("trials.csv", "hyperparameters.json"):
        (search.parent / file_name).touch()
    paths.trial_histories("mlp").parent.mkdir(parents=True)
    paths.trial_histories("mlp").touch()
    digits = dataset(name="digits", title="Digits")
    parameters: Any = SimpleNamespace(evaluate=None)
    for action in (
        partial(backfill_tuning, paths, digits, "mlp"),
        partial(backfill_training, paths, digits, name),
        partial(backfill_evaluation, paths, digits, parameters, [name], {}),
    ):
        with pytest.raises(UserError, match=r"from other data than data/processed \(Digits\)"):
            action()
    assert not (tmp_path / "mlflow.db").exists()
