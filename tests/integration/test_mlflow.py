"""MLflow's store after the small pipeline: runs, artifacts, models, registry and audit."""

import contextlib
import hashlib
import json
import re
import sqlite3
from pathlib import Path

import pytest
import yaml

from sidebyside.core.files import read_json
from sidebyside.tracking.contents import rounded
from tests.support.checkout import Checkout
from tests.support.pipeline import (
    CURVES,
    DATA,
    MODELS,
    NAMES,
    SEARCH,
    TRAINING,
    TRIALS,
    by_name,
    model_id,
    read_rows,
    runs,
    store,
)
from tests.support.reproductions import Reproductions
from tests.support.stores import REGISTERED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_the_store_has_a_run_per_model_and_one_comparison(reproduced: Checkout) -> None:
    found = by_name(reproduced, TRAINING)
    assert set(found) == {*NAMES, "comparison"}
    assert {run.info.status for run in found.values()} == {"FINISHED"}


def test_the_store_has_a_run_per_search_with_a_child_per_trial(reproduced: Checkout) -> None:
    found = runs(reproduced, SEARCH)
    assert {run.info.status for run in found} == {"FINISHED"}
    parents = {run.info.run_name: run for run in found if "mlflow.parentRunId" not in run.data.tags}
    assert set(parents) == {f"search-{model}" for model in MODELS}
    assert len(found) == len(parents) * (1 + TRIALS)
    for parent in parents.values():
        children = [
            run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
        ]
        model = parent.info.run_name.removeprefix("search-")
        names = sorted(run.info.run_name for run in children)
        assert names == [f"{model}-trial-1", f"{model}-trial-2"]
        for child in children:
            assert "learning_rate" in child.data.params
            assert {*CURVES, "best_val_accuracy"} <= set(child.data.metrics)
        best = max(child.data.metrics["best_val_accuracy"] for child in children)
        assert parent.data.metrics["best_val_accuracy"] == best


def test_every_trained_model_has_a_different_colour(reproduced: Checkout) -> None:
    colours = [by_name(reproduced, TRAINING)[name].data.tags["mlflow.runColor"] for name in NAMES]
    assert len(set(colours)) == len(NAMES) == 4


def test_mlp_and_cnn_runs_share_parameter_and_metric_names(reproduced: Checkout) -> None:
    found = by_name(reproduced, TRAINING)
    mlp, cnn = found["mlp-original-1"].data, found["cnn-original-1"].data
    shared = {"model", "data", "seed", "epochs", "learning_rate", "batch_size", "dropout",
              "optimizer", "parameters", "flops_per_image"}  # fmt: skip
    assert shared <= set(mlp.params) & set(cnn.params)
    assert set(mlp.params) - set(cnn.params) <= {"hidden_units", "input_dropout"}
    assert set(mlp.metrics) == set(cnn.metrics)
    assert {*CURVES, "best_val_accuracy", "best_epoch", "test_accuracy"} <= set(mlp.metrics)
    scores = read_json(reproduced.root / "reports/evaluate/metrics.json")["mlp-original"]
    without = scores["test_deduplicated"]["accuracy"]
    assert mlp.metrics["test_accuracy_deduplicated"] == rounded(without)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_has_one_point_per_epoch_equal_to_the_history(
    reproduced: Checkout, name: str
) -> None:
    run = by_name(reproduced, TRAINING)[name]
    history = read_rows(reproduced.root / "reports/train" / name / "history.csv")
    with store(reproduced) as client:
        for curve in CURVES:
            points = client.get_metric_history(run.info.run_id, curve)
            assert [(str(point.step), point.value) for point in points] == [
                (row["epoch"], rounded(float(row[curve]))) for row in history
            ]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_has_the_scores_of_metrics_json(reproduced: Checkout, name: str) -> None:
    run = by_name(reproduced, TRAINING)[name]
    metrics = json.loads((reproduced.root / "reports/evaluate/metrics.json").read_text())
    scores = metrics[name.removesuffix("-1")]
    for metric, value in scores["test"].items():
        assert run.data.metrics[f"test_{metric}"] == rounded(value)
    assert run.data.metrics["best_val_accuracy"] == rounded(scores["val"]["accuracy"])


def test_the_comparison_has_the_difference_as_metrics_and_a_page(reproduced: Checkout) -> None:
    run = by_name(reproduced, TRAINING)["comparison"]
    compared = json.loads((reproduced.root / "reports/evaluate/comparisons.json").read_text())
    differences = {f"{one['second']} − {one['first']}": one for one in compared}
    pair = differences[run.data.params["difference_of"]]
    assert run.data.metrics == {
        "difference": rounded(pair["accuracy_difference"]),
        "difference_low": rounded(pair["interval"][0]),
        "difference_high": rounded(pair["interval"][1]),
        "difference_p": rounded(pair["mcnemar_p_value"]),
    }
    page = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts"
    note = run.data.tags["mlflow.note.content"]
    assert f"[side by side]({page}/side_by_side.html)" in note and "dvc repro evaluate" in note


def test_the_trials_of_an_architecture_have_a_score_of_their_own(reproduced: Checkout) -> None:
    for run in runs(reproduced, SEARCH):
        if "mlflow.parentRunId" in run.data.tags:
            own = run.data.metrics[f"{run.data.tags['model']}_val_accuracy"]
            assert own == run.data.metrics["best_val_accuracy"]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_has_figures_tables_and_its_model(reproduced: Checkout, name: str) -> None:
    run = by_name(reproduced, TRAINING)[name]
    with store(reproduced) as client:
        figures = {item.path for item in client.list_artifacts(run.info.run_id)}
        tables = {item.path for item in client.list_artifacts(run.info.run_id, "tables")}
        model = client.get_logged_model(model_id(run))
        assert (Path(model.artifact_location) / "MLmodel").is_file()
    assert "confusion.png" in figures  # in no folder: then the UI shows two runs' side by side
    assert {f"tables/{table}.json" for table in ("confusion", "per_class", "calibration")} <= tables
    description = yaml.safe_load(
        (reproduced.root / model.artifact_location / "MLmodel").read_text()
    )
    assert "uint8" in description["signature"]["inputs"]
    assert description["saved_input_example_info"]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_tagged_with_its_data_code_machine_and_seed(
    reproduced: Checkout, name: str
) -> None:
    run = by_name(reproduced, TRAINING)[name]
    model, data, seed = name.split("-")
    facts = json.loads((reproduced.root / f"reports/train/{name}/model.json").read_text())
    commit = reproduced.run("git", "rev-parse", "HEAD").stdout.strip()
    tags = run.data.tags
    assert (tags["model"], tags["data"], tags["seed"]) == (model, data, seed)
    assert (tags["git.commit"], tags["git.dirty"]) == (commit, "false")
    origin = json.loads((reproduced.root / f".state/provenance/train@{name}.json").read_text())
    assert tags["key"] == origin["key"]
    assert origin["machine"] == {
        key.removeprefix("machine."): value
        for key, value in tags.items()
        if key.startswith("machine.")
    }
    digests = facts["data_sha256"]
    assert {split: tags[f"data.{split}"] for split in digests} == digests
    lock = (reproduced.root / "requirements.lock").read_bytes()
    assert tags["requirements.lock"] == hashlib.sha256(lock).hexdigest()
    assert re.fullmatch(r"[0-9a-f]{64}", tags["dvc.lock"])
    assert tags["stage"] == f"train@{name}"
    assert run.inputs
    seen = {entry.dataset.name: entry.dataset.digest for entry in run.inputs.dataset_inputs}
    scored = json.loads((reproduced.root / "reports/evaluate/evaluation.json").read_text())
    digests |= scored["data_sha256"]
    shown = {data: "train", "val": "val", "test": "test"}
    assert seen == {name: digests[split][:16] for name, split in shown.items()}


def test_the_best_model_of_each_architecture_is_the_champion(reproduced: Checkout) -> None:
    metrics = json.loads((reproduced.root / "reports/evaluate/metrics.json").read_text())
    found = by_name(reproduced, TRAINING)
    for model in MODELS:
        with store(reproduced) as client:
            version = client.get_model_version_by_alias(REGISTERED[model], "champion")
        names = {run.info.run_id: name for name, run in found.items()}
        best = max(metrics[f"{model}-{data}"]["val"]["accuracy"] for data in DATA)
        chosen = names[version.run_id].removesuffix("-1")
        assert metrics[chosen]["val"]["accuracy"] == best


def test_a_copied_store_has_the_locations_of_the_copy(
    reproduced: Checkout, reproductions: Reproductions
) -> None:
    with contextlib.closing(sqlite3.connect(reproduced.root / "mlflow.db")) as database:
        script = "\n".join(database.iterdump())
    assert f"{reproduced.root}/mlruns/" in script
    assert str(reproductions.here.root) not in script


LOAD = """
import sys, csv, json
import numpy as np, mlflow
sys.path.insert(0, "src")
from pathlib import Path
from sidebyside.config.dataset import read_dataset
from sidebyside.data.npz import read_split
mlflow.set_tracking_uri(f"sqlite:///{Path.cwd()}/mlflow.db")
dataset = read_dataset(Path("data/processed/dataset.json"))
images = read_split(Path("data/processed/test.npz"), dataset).images
result = {}
for name, uri in json.loads(sys.argv[1]).items():
    rows = csv.DictReader(open(f"data/predictions/{name}.csv"))
    expected = np.array([[float(row[f"p{i}"]) for i in range(10)] for row in rows])
    given = mlflow.pyfunc.load_model(uri).predict(images)
    result[name] = float(np.abs(given - expected).max())
print(json.dumps(result))
"""


def test_a_logged_model_gives_the_probabilities_of_dvcs_model(reproduced: Checkout) -> None:
    found = by_name(reproduced, TRAINING)
    uris = {name: f"runs:/{found[name].info.run_id}/{name}" for name in NAMES}
    uris["mlp-original-1"] = f"models:/{model_id(found['mlp-original-1'])}"
    output = reproduced.run("python", "-c", LOAD, json.dumps(uris)).stdout
    differences = json.loads(output.splitlines()[-1])
    assert set(differences) == set(NAMES)
    assert max(differences.values()) < 1e-5  # MLflow predicts in other batches


def test_the_audit_finds_every_run_complete(reproduced: Checkout) -> None:
    output = reproduced.run(
        "python", "-m", "sidebyside.tracking.audit", environment={"PYTHONPATH": "src"}
    ).stdout
    count = len(runs(reproduced, TRAINING)) + len(runs(reproduced, SEARCH))
    assert output == f"{count} runs, {count} of them complete\n"


def test_the_audit_lists_a_run_without_its_commit(own: Checkout) -> None:
    run = by_name(own, TRAINING)["mlp-original-1"]
    with store(own) as client:
        client.delete_tag(run.info.run_id, "git.commit")
    done = own.run(
        "python", "-m", "sidebyside.tracking.audit", environment={"PYTHONPATH": "src"}, fails=True
    )
    assert done.stdout.splitlines()[0] == f"mlp-original-1 ({run.info.run_id}): no git.commit"
    assert done.stderr == "audit: error: 1 runs are not complete: they are listed above\n"
