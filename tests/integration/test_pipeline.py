"""The whole pipeline through the commands a user types, with real DVC and MLflow, on small data."""

import contextlib
import csv
import hashlib
import itertools
import json
import os
import re
import signal
import socket
import sqlite3
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from sklearn.metrics import accuracy_score, f1_score, log_loss

from sidebyside.core.files import read_json
from sidebyside.data.npz import read_split

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # before mlflow is imported

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from tests.support.checkout import Checkout
    from tests.support.reproductions import Reproductions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

MODELS, DATA, TRIALS, EPOCHS = ("mlp", "cnn"), ("original", "augmented"), 2, 2
NAMES = [f"{model}-{data}-1" for model, data in itertools.product(MODELS, DATA)]
KEYS = [name.removesuffix("-1") for name in NAMES]
TRAINING, SEARCH = "fashion-mnist", "fashion-mnist-search"
CURVES = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")


def stages_run(output: str) -> list[str]:
    return re.findall(r"^Running stage '([^']+)'", output, re.M)


@contextlib.contextmanager
def store(checkout: "Checkout") -> Iterator["MlflowClient"]:
    """Give a client of the checkout's store, in the folder its locations are relative to."""
    import mlflow

    with contextlib.chdir(checkout.root):
        yield mlflow.MlflowClient(f"sqlite:///{checkout.root}/mlflow.db")


def runs(checkout: "Checkout", experiment: str) -> "list[Run]":
    with store(checkout) as client:
        found = client.get_experiment_by_name(experiment)
        assert found is not None
        return list(client.search_runs([found.experiment_id], max_results=1000))


def by_name(checkout: "Checkout", experiment: str) -> "dict[str, Run]":
    """Return the runs by their names; no name may be there twice."""
    found = runs(checkout, experiment)
    named = {run.info.run_name: run for run in found}
    assert len(named) == len(found), sorted(run.info.run_name for run in found)
    return named


def model_id(run: "Run") -> str:
    assert run.outputs
    return str(run.outputs.model_outputs[0].model_id)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# What a run leaves on disk.


def test_every_stage_runs_once_in_an_order_that_works(reproductions: "Reproductions") -> None:
    assert sorted(stages_run(reproductions.output.read_text())) == sorted(
        ["download", "preprocess", "augment", "evaluate"]
        + [f"tune@{model}" for model in MODELS]
        + [f"train@{name}" for name in NAMES]
    )


def test_the_splits_have_the_right_sizes_and_hold_every_image_once(reproduced: "Checkout") -> None:
    splits = {
        name: read_split(reproduced.root / f"data/processed/{name}.npz")
        for name in ("train", "val", "test")
    }
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 320,
        "val": 80,
        "test": 100,
    }
    assert np.bincount(splits["val"].labels).tolist() == [8] * 10
    seen = {image.tobytes() for split in splits.values() for image in split.images}
    assert len(seen) == 500
    original = read_split(reproduced.root / "data/original/train.npz")
    assert np.array_equal(original.images, splits["train"].images)


def test_the_augmented_data_are_the_training_split_and_new_images(reproduced: "Checkout") -> None:
    train = read_split(reproduced.root / "data/processed/train.npz")
    augmented = read_split(reproduced.root / "data/augmented/train.npz")
    assert np.array_equal(augmented.images[: len(train)], train.images)
    assert len(augmented) == len(train) + 64
    assert set(augmented.labels[len(train) :].tolist()) == {2, 6}
    summary = json.loads((reproduced.root / "reports/augment/summary.json").read_text())
    assert (summary["images"], summary["new_images"]) == (384, 64)


def test_every_promised_file_is_there(reproduced: "Checkout") -> None:
    reports = ["preprocess/summary.json", "preprocess/classes.csv", "preprocess/samples.png"]
    reports += ["augment/summary.json", "augment/before_after.png"]
    reports += [
        f"tune/{model}/{file}"
        for model in MODELS
        for file in ("hyperparameters.json", "search.json", "trials.csv")
    ]
    reports += [
        f"train/{name}/{file}"
        for name in NAMES
        for file in ("history.csv", "metrics.json", "model.json")
    ]
    reports += [
        f"evaluate/{file}"
        for file in ("metrics.json", "comparisons.json", "per_class.csv", "confusion.csv",
                     "calibration.csv", "curves.csv", "report.html", "report.md",
                     "evaluation.json", "summary.json")
    ]  # fmt: skip
    files = [f"reports/{report}" for report in reports]
    files += [f"data/trials/{model}.csv" for model in MODELS]
    files += [f"models/{name}.keras" for name in NAMES]
    files += [f"data/predictions/{name}.csv" for name in NAMES]
    assert not [file for file in files if not (reproduced.root / file).is_file()]


def test_nothing_is_left_lying_about(reproduced: "Checkout") -> None:
    assert reproduced.run("git", "status", "--porcelain", "--", "src", "pipeline").stdout == ""
    assert not [path for path in reproduced.root.rglob("*.tmp*") if ".git" not in path.parts]
    assert not list((reproduced.root / ".state").glob("*/*/*"))


def test_all_trials_are_kept(reproduced: "Checkout") -> None:
    for model in MODELS:
        folder = reproduced.root / "reports/tune" / model
        trials = read_rows(folder / "trials.csv")
        chosen = json.loads((folder / "hyperparameters.json").read_text())
        assert len(trials) == TRIALS
        best = max(trials, key=lambda trial: float(trial["val_accuracy"]))
        searched = set(best) & set(chosen)
        assert len(searched) > 1
        assert {name: json.loads(best[name]) for name in searched} == {
            name: chosen[name] for name in searched
        }


def test_the_history_has_a_row_per_epoch(reproduced: "Checkout") -> None:
    for name in NAMES:
        rows = read_rows(reproduced.root / "reports/train" / name / "history.csv")
        assert [row["epoch"] for row in rows] == [str(epoch + 1) for epoch in range(EPOCHS)]
        assert list(rows[0]) == ["epoch", *CURVES]


def test_the_small_models_learn(reproduced: "Checkout") -> None:
    metrics = json.loads((reproduced.root / "reports/evaluate/metrics.json").read_text())
    assert metrics["mlp-original"]["test"]["accuracy"] > 0.5


def test_the_metrics_are_keyed_by_model_and_data(reproduced: "Checkout") -> None:
    metrics = json.loads((reproduced.root / "reports/evaluate/metrics.json").read_text())
    assert list(metrics) == KEYS
    for scores in metrics.values():
        assert set(scores) == {"val", "test"}
        assert set(scores["val"]) == {"accuracy", "log_loss"}
        assert {"accuracy", "precision_macro", "recall_macro", "f1_macro", "precision_weighted",
                "recall_weighted", "f1_weighted", "log_loss", "brier_score",
                "expected_calibration_error"} == set(scores["test"])  # fmt: skip


def test_the_summary_has_the_accuracies_of_metrics_json(reproduced: "Checkout") -> None:
    folder = reproduced.root / "reports/evaluate"
    metrics = json.loads((folder / "metrics.json").read_text())
    trained = reproduced.root / "reports/train"
    for name, key in zip(NAMES, KEYS, strict=True):
        scores = json.loads((trained / name / "metrics.json").read_text())
        assert metrics[key]["val"]["accuracy"] == scores["val_accuracy"]
    assert json.loads((folder / "summary.json").read_text()) == {
        key: {f"{split}_accuracy": scores["accuracy"] for split, scores in both.items()}
        for key, both in metrics.items()
    }


def test_the_curves_are_the_histories_of_all_models(reproduced: "Checkout") -> None:
    def points(path: str) -> list[dict[str, float]]:
        return [
            {column: float(row[column]) for column in ("epoch", *CURVES)}
            for row in read_rows(reproduced.root / "reports" / path)
        ]

    histories = [points(f"train/{name}/history.csv") for name in NAMES]
    assert points("evaluate/curves.csv") == list(itertools.chain(*histories))
    named = [row["model"] for row in read_rows(reproduced.root / "reports/evaluate/curves.csv")]
    assert named == [key for key in KEYS for _ in range(EPOCHS)]


@pytest.mark.parametrize("name", NAMES)
def test_others_get_the_same_scores_from_the_predictions(reproduced: "Checkout", name: str) -> None:
    rows = read_rows(reproduced.root / f"data/predictions/{name}.csv")
    labels = np.array([int(row["label"]) for row in rows])
    predicted = np.array([int(row["predicted"]) for row in rows])
    probabilities = np.array([[float(row[f"p{i}"]) for i in range(10)] for row in rows])
    test = read_split(reproduced.root / "data/processed/test.npz")
    metrics = json.loads((reproduced.root / "reports/evaluate/metrics.json").read_text())
    scores = metrics[name.removesuffix("-1")]["test"]
    assert np.array_equal(labels, test.labels)
    assert np.array_equal(predicted, probabilities.argmax(1))
    assert scores["accuracy"] == accuracy_score(labels, predicted)
    assert scores["f1_macro"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    even = probabilities / probabilities.sum(1, keepdims=True)
    assert scores["log_loss"] == pytest.approx(log_loss(labels, even), rel=1e-4)


def test_the_comparisons_are_model_against_model_and_data_against_data(
    reproduced: "Checkout",
) -> None:
    content = json.loads((reproduced.root / "reports/evaluate/comparisons.json").read_text())
    assert {(one["first"], one["second"]) for one in content} == {
        ("mlp-original", "cnn-original"),
        ("mlp-augmented", "cnn-augmented"),
        ("mlp-original", "mlp-augmented"),
        ("cnn-original", "cnn-augmented"),
    }


def test_the_report_is_one_file_that_needs_no_network(reproduced: "Checkout") -> None:
    html = (reproduced.root / "reports/evaluate/report.html").read_text(encoding="utf-8")
    assert all(key in html for key in KEYS)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", html)


# DVC.


def test_a_second_repro_runs_nothing(reproduced: "Checkout") -> None:
    started = time.monotonic()
    output = reproduced.run("dvc", "repro").stdout
    assert stages_run(output) == []
    assert "up to date" in output
    assert time.monotonic() - started < 30


def test_another_seed_gives_another_model(own: "Checkout") -> None:
    own.stage("train", "mlp", "original", "2")
    first, second = (
        read_json(own.root / f"reports/train/mlp-original-{seed}/model.json") for seed in (1, 2)
    )
    assert first["settings"] == second["settings"]
    assert first["weights_sha256"] != second["weights_sha256"]


def test_a_cnn_hyperparameter_concerns_no_mlp_stage(own: "Checkout") -> None:
    own.edit({"tune.models.cnn.dropout": 0.25, "train.budget.cnn.epochs": 3})
    run = stages_run(own.run("dvc", "repro", "--dry").stdout)
    assert {"tune@cnn", "train@cnn-original-1", "train@cnn-augmented-1"} <= set(run)
    assert not [stage for stage in run if "mlp" in stage or stage in ("preprocess", "augment")]
    # A dry run leaves what comes later undecided, so the graph has to say it too.
    for name in ("mlp-original-1", "mlp-augmented-1"):
        assert "cnn" not in own.run("dvc", "dag", "--dot", f"train@{name}").stdout


def test_augmentation_concerns_no_training_on_original_data(own: "Checkout") -> None:
    own.edit({"augment.copies": 2})
    assert stages_run(own.run("dvc", "repro", "--dry").stdout)[:2] == ["download", "augment"]
    for name in NAMES:
        ancestors = own.run("dvc", "dag", "--dot", f"train@{name}").stdout
        assert ('"augment"' in ancestors) == ("augmented" in name)
    for model in MODELS:
        assert '"augment"' not in own.run("dvc", "dag", "--dot", f"tune@{model}").stdout


@pytest.fixture(scope="module")
def committed(reproduced: "Checkout", checkout_from: "Callable[..., Checkout]") -> "Checkout":
    """A copy with its results in git, as a user keeps them, and with DVC's page installed."""
    checkout: Checkout = checkout_from(reproduced)
    checkout.commit()
    checkout.run("python", ".dvc/plots/page.py")
    return checkout


def test_dvc_shows_the_metrics_of_every_model(committed: "Checkout") -> None:
    shown = json.loads(committed.run("dvc", "metrics", "show", "--json").stdout)
    (files,) = [content["data"] for content in shown.values()]
    scores = files["reports/evaluate/summary.json"]["data"]
    assert list(scores) == KEYS
    assert all(set(each) == {"val_accuracy", "test_accuracy"} for each in scores.values())


def test_dvc_shows_the_graph(committed: "Checkout") -> None:
    graph = committed.run("dvc", "dag", "--mermaid").stdout
    assert all(f"train@{name}" in graph for name in NAMES)


def test_dvc_shows_what_changed_in_the_parameters(committed: "Checkout") -> None:
    before = (committed.root / "params.yaml").read_bytes()
    try:
        committed.edit({"train.budget.cnn.epochs": 7})
        difference = committed.run("dvc", "params", "diff").stdout
    finally:
        (committed.root / "params.yaml").write_bytes(before)
    assert re.search(r"params.yaml\s+train.budget.cnn.epochs\s+2\s+7", difference)


def test_dvc_plots_every_model_without_a_network(committed: "Checkout") -> None:
    committed.run("dvc", "plots", "show", "--out", "dvc_plots")
    html = (committed.root / "dvc_plots/index.html").read_text(encoding="utf-8")
    assert all(f'"{key}"' in html for key in KEYS)
    assert "vegaEmbed" in html
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", html)


@pytest.fixture(scope="module")
def experiment(committed: "Checkout") -> "Checkout":
    """The committed checkout after an experiment in a folder that DVC throws away."""
    committed.run("dvc", "exp", "run", "--temp", "--name", "probe", "-S",
                  "evaluate.bootstrap_samples=300")  # fmt: skip
    return committed


def test_an_experiment_in_a_temporary_folder_logs_into_the_projects_store(
    experiment: "Checkout",
) -> None:
    comparisons = [run for run in runs(experiment, TRAINING) if run.info.run_name == "comparison"]
    assert len(comparisons) == 2
    newest = max(comparisons, key=lambda run: run.info.start_time)
    assert newest.data.tags["dvc.experiment"] == "probe"
    assert newest.data.params["bootstrap_samples"] == "300"
    assert not list((experiment.root / ".dvc/tmp/exps").rglob("mlflow.db"))
    with store(experiment) as client:
        logged = {file.path for file in client.list_artifacts(newest.info.run_id)}
    assert {"accuracy.png", "report.html"} <= logged


def test_an_experiment_leaves_the_workspace_alone(experiment: "Checkout") -> None:
    assert experiment.run("git", "status", "--porcelain").stdout == ""


def test_dvc_shows_experiments_with_the_scores_of_every_model(experiment: "Checkout") -> None:
    table = experiment.run("dvc", "exp", "show", "--csv").stdout
    header, *rows = table.splitlines()
    assert any("probe" in row for row in rows)
    assert all(f"{key}.test_accuracy" in header for key in KEYS)


@pytest.mark.system
def test_what_the_vs_code_extension_asks_of_dvc_is_answered(experiment: "Checkout") -> None:
    (baseline, *_) = json.loads(experiment.run("dvc", "exp", "show", "--json").stdout)
    assert set(baseline["data"]["params"]) == {"params.yaml"}
    known = ["--granular", "--unchanged", "--json"]
    status = json.loads(experiment.run("dvc", "data", "status", *known).stdout)
    assert {f"models/{name}.keras" for name in NAMES} <= set(status["unchanged"])
    places = ["--out", "dvc_plots", "--split", "--json"]
    plots = json.loads(experiment.run("dvc", "plots", "diff", *places, "probe").stdout)
    assert "errors" not in plots
    assert {"accuracy", "loss", "confusion"} <= set(plots["data"])


# MLflow.


def test_the_store_holds_a_run_per_model_and_one_comparison(reproduced: "Checkout") -> None:
    found = by_name(reproduced, TRAINING)
    assert set(found) == {*NAMES, "comparison"}
    assert {run.info.status for run in found.values()} == {"FINISHED"}


def test_the_store_holds_a_run_per_search_with_a_child_per_trial(reproduced: "Checkout") -> None:
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


def test_every_trained_model_is_drawn_in_a_colour_of_its_own(reproduced: "Checkout") -> None:
    colours = [by_name(reproduced, TRAINING)[name].data.tags["mlflow.runColor"] for name in NAMES]
    assert len(set(colours)) == len(NAMES) == 4


def test_mlp_and_cnn_have_the_same_names_for_the_same_things(reproduced: "Checkout") -> None:
    found = by_name(reproduced, TRAINING)
    mlp, cnn = found["mlp-original-1"].data, found["cnn-original-1"].data
    shared = {"model", "data", "seed", "epochs", "learning_rate", "batch_size", "dropout",
              "optimizer", "parameters", "flops_per_image"}  # fmt: skip
    assert shared <= set(mlp.params) & set(cnn.params)
    assert set(mlp.params) - set(cnn.params) <= {"hidden_units", "input_dropout"}
    assert set(mlp.metrics) == set(cnn.metrics)
    assert {*CURVES, "best_val_accuracy", "best_epoch", "test_accuracy"} <= set(mlp.metrics)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_has_one_point_per_epoch_equal_to_the_history(
    reproduced: "Checkout", name: str
) -> None:
    run = by_name(reproduced, TRAINING)[name]
    history = read_rows(reproduced.root / "reports/train" / name / "history.csv")
    with store(reproduced) as client:
        for curve in CURVES:
            points = client.get_metric_history(run.info.run_id, curve)
            assert [(str(point.step), point.value) for point in points] == [
                (row["epoch"], float(row[curve])) for row in history
            ]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_has_the_scores_of_metrics_json(reproduced: "Checkout", name: str) -> None:
    run = by_name(reproduced, TRAINING)[name]
    metrics = json.loads((reproduced.root / "reports/evaluate/metrics.json").read_text())
    scores = metrics[name.removesuffix("-1")]
    for metric, value in scores["test"].items():
        assert run.data.metrics[f"test_{metric}"] == value
    assert run.data.metrics["best_val_accuracy"] == scores["val"]["accuracy"]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_holds_figures_tables_and_its_model(reproduced: "Checkout", name: str) -> None:
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
def test_a_run_says_which_data_code_and_seed_it_comes_from(
    reproduced: "Checkout", name: str
) -> None:
    run = by_name(reproduced, TRAINING)[name]
    model, data, seed = name.split("-")
    facts = json.loads((reproduced.root / f"reports/train/{name}/model.json").read_text())
    commit = reproduced.run("git", "rev-parse", "HEAD").stdout.strip()
    tags = run.data.tags
    assert (tags["model"], tags["data"], tags["seed"]) == (model, data, seed)
    assert (tags["git.commit"], tags["git.dirty"]) == (commit, "false")
    assert tags["key"] == facts["key"]
    assert facts["machine"] == {
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


def test_the_best_model_of_each_architecture_is_its_champion(reproduced: "Checkout") -> None:
    metrics = json.loads((reproduced.root / "reports/evaluate/metrics.json").read_text())
    found = by_name(reproduced, TRAINING)
    for model in MODELS:
        with store(reproduced) as client:
            version = client.get_model_version_by_alias(f"fashion-mnist-{model}", "champion")
        names = {run.info.run_id: name for name, run in found.items()}
        best = max(metrics[f"{model}-{data}"]["val"]["accuracy"] for data in DATA)
        chosen = names[version.run_id].removesuffix("-1")
        assert metrics[chosen]["val"]["accuracy"] == best


def test_the_store_names_no_absolute_place(reproduced: "Checkout") -> None:
    with contextlib.closing(sqlite3.connect(reproduced.root / "mlflow.db")) as database:
        script = "\n".join(database.iterdump())
    assert str(reproduced.root) not in script


LOAD = """
import sys, csv, json
import numpy as np, mlflow
sys.path.insert(0, "src")
from pathlib import Path
from sidebyside.data.npz import read_split
mlflow.set_tracking_uri(f"sqlite:///{Path.cwd()}/mlflow.db")
images = read_split(Path("data/processed/test.npz")).images
result = {}
for name, uri in json.loads(sys.argv[1]).items():
    rows = csv.DictReader(open(f"data/predictions/{name}.csv"))
    expected = np.array([[float(row[f"p{i}"]) for i in range(10)] for row in rows])
    given = mlflow.pyfunc.load_model(uri).predict(images)
    result[name] = float(np.abs(given - expected).max())
print(json.dumps(result))
"""


def test_a_logged_model_gives_the_probabilities_of_dvcs_model(reproduced: "Checkout") -> None:
    found = by_name(reproduced, TRAINING)
    uris = {name: f"runs:/{found[name].info.run_id}/{name}" for name in NAMES}
    uris["mlp-original-1"] = f"models:/{model_id(found['mlp-original-1'])}"
    output = reproduced.run("python", "-c", LOAD, json.dumps(uris)).stdout
    differences = json.loads(output.splitlines()[-1])
    assert set(differences) == set(NAMES)
    assert max(differences.values()) < 1e-5  # MLflow predicts in other batches


class Server:
    """A running `mlflow ui`."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, place: str, **query: str) -> bytes:
        url = f"{self.address}{place}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 (our own server)
            content: bytes = answer.read()
        return content

    def post(self, place: str, content: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(  # noqa: S310
            f"{self.address}{place}",
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.loads(answer.read())


@contextlib.contextmanager
def serve(checkout: "Checkout") -> Iterator[Server]:
    """Run `mlflow ui` as a user does, and give it once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = checkout.start("sh", "-c", f"exec mlflow ui --workers 1 --port {port} >ui.log 2>&1")
    server = Server(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                server.get("/health")
                break
            except OSError:
                assert process.poll() is None, "mlflow ui ended"
                assert time.monotonic() < deadline, "mlflow ui does not answer"
                time.sleep(0.2)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.system
def test_a_bare_mlflow_ui_shows_everything_in_a_moved_checkout(own: "Checkout") -> None:
    found = by_name(own, TRAINING)
    run = found["cnn-original-1"]
    # What is served comes from here, and not from where the checkout was before.
    (figure,) = own.root.glob(f"mlruns/*/{run.info.run_id}/artifacts/confusion.png")
    figure.write_bytes(b"the moved one")
    moved = type(own)(own.root.with_name("moved to"))
    own.root.rename(moved.root)
    before = sorted(path.name for path in moved.root.iterdir())
    with serve(moved) as server:
        answer = server.post(
            "/api/2.0/mlflow/runs/search",
            {"experiment_ids": [run.info.experiment_id], "max_results": 100},
        )
        assert {each["info"]["run_name"] for each in answer["runs"]} == set(found)
        listed = json.loads(server.get("/api/2.0/mlflow/artifacts/list", run_id=run.info.run_id))
        assert "confusion.png" in {file["path"] for file in listed["files"]}
        artifact = server.get("/get-artifact", run_uuid=run.info.run_id, path="confusion.png")
        assert artifact == b"the moved one"
        assert b"<html" in server.get("/")
    after = sorted(path.name for path in moved.root.iterdir())
    assert set(after) - set(before) <= {"ui.log", "mlflow.db-wal", "mlflow.db-shm"}


def test_a_stage_that_runs_again_leaves_one_run_and_the_same_bytes(own: "Checkout") -> None:
    results, names = own.results(), set(by_name(own, TRAINING))
    lines = own.run("dvc", "repro", "--force", "--single-item", "train@mlp-original-1").stdout
    assert stages_run(lines) == ["train@mlp-original-1"]
    assert own.results() == results
    assert set(by_name(own, TRAINING)) == names


def test_nothing_is_left_of_models_that_are_evaluated_no_more(own: "Checkout") -> None:
    figures, predictions = own.root / "reports/evaluate/figures", own.root / "data/predictions"
    assert {"cnn-original.png", "f1_change.png"} <= {path.name for path in figures.rglob("*.png")}
    own.edit({"train.models": ["mlp"], "train.data": ["original"]})
    own.stage("evaluate")
    report = (own.root / "reports/evaluate/report.md").read_text()
    left = {str(path.relative_to(figures.parent)) for path in figures.rglob("*") if path.is_file()}
    assert left == set(re.findall(r"\]\((figures/.*?)\)", report))
    assert "figures/confusion/mlp-original.png" in left
    assert [path.name for path in predictions.iterdir()] == ["mlp-original-1.csv"]


# Reproducible to the bit.


def test_everything_else_elsewhere_gives_the_same_bytes(
    reproductions: "Reproductions",
) -> None:
    here, elsewhere = reproductions.here.results(), reproductions.elsewhere.results()
    assert {name for name in here if here[name] != elsewhere.get(name)} == set()
    assert set(here) == set(elsewhere)


def test_outputs_name_no_place_and_no_run(reproductions: "Reproductions") -> None:
    for checkout in (reproductions.here, reproductions.elsewhere):
        ids = [run.info.run_id for kind in (TRAINING, SEARCH) for run in runs(checkout, kind)]
        assert len(ids) > 2
        for name in checkout.results():
            content = (checkout.root / name).read_bytes()
            for volatile in (str(checkout.root), *ids):
                assert volatile.encode() not in content, (name, volatile)


def test_a_second_reproduction_at_the_same_time_does_no_harm(own: "Checkout") -> None:
    own.edit({"train.budget.mlp": {"epochs": 3, "patience": 3}})
    command = ("dvc", "repro", "train@mlp-original-1")
    processes = [own.start(*command) for _ in range(2)]
    errors = [process.communicate()[1] for process in processes]
    statuses = [process.returncode for process in processes]
    assert 0 in statuses
    for status, error in zip(statuses, errors, strict=True):
        if status:  # turned away
            assert re.search("Unable to acquire lock|is busy|another process is already at", error)
    assert stages_run(own.run(*command).stdout) == []
    assert len(read_rows(own.root / "reports/train/mlp-original-1/history.csv")) == 3
    found = [run for run in runs(own, TRAINING) if run.data.params.get("epochs") == "3"]
    assert [run.info.status for run in found] == ["FINISHED"]


def test_a_training_that_dvc_could_not_record_is_not_repeated(own: "Checkout") -> None:
    own.edit({"train.budget.mlp": {"epochs": 3, "patience": 3}})
    own.stage("train", "mlp", "original", "1")  # as if DVC had been killed right afterwards
    model = (own.root / "models/mlp-original-1.keras").read_bytes()
    command = ("dvc", "repro", "--single-item", "train@mlp-original-1")
    done = own.run(*command)
    assert "mlp-original-1: done before, but not recorded by DVC" in done.stdout
    assert "epoch 1/3" not in done.stdout
    assert (own.root / "models/mlp-original-1.keras").read_bytes() == model


def test_a_stage_edited_while_it_runs_is_not_recorded(own: "Checkout") -> None:
    own.edit({"train.budget.mlp": {"epochs": 30, "patience": 30}})
    before = yaml.safe_load((own.root / "dvc.lock").read_text())["stages"]
    process = own.start("dvc", "repro", "train@mlp-original-1")
    assert process.stdout
    while "epoch 1/" not in process.stdout.readline():
        assert process.poll() is None
    with (own.root / "src/sidebyside/training/loop.py").open("a") as module:
        module.write("# edited\n")
    done = own.finish(process, fails=True)
    assert "src/sidebyside/training/loop.py changed while the stage ran" in done.stderr
    after = yaml.safe_load((own.root / "dvc.lock").read_text())["stages"]
    assert after["train@mlp-original-1"] == before["train@mlp-original-1"]


# The record of a run.


def test_every_run_is_complete(reproduced: "Checkout") -> None:
    output = reproduced.run(
        "python", "-m", "sidebyside.tracking.audit", environment={"PYTHONPATH": "src"}
    ).stdout
    count = len(runs(reproduced, TRAINING)) + len(runs(reproduced, SEARCH))
    assert output == f"{count} runs, {count} of them complete\n"


def test_a_run_that_lacks_its_commit_is_listed(own: "Checkout") -> None:
    run = by_name(own, TRAINING)["mlp-original-1"]
    with store(own) as client:
        client.delete_tag(run.info.run_id, "git.commit")
    done = own.run(
        "python", "-m", "sidebyside.tracking.audit", environment={"PYTHONPATH": "src"}, fails=True
    )
    assert done.stdout.splitlines()[0] == f"mlp-original-1 ({run.info.run_id}): no git.commit"
    assert done.stderr == "runs: error: 1 runs are not complete\n"


# The contract between dvc.yaml and what a stage really does, as recorded in the second run.


def leaves(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from leaves(part, f"{path}.{name}")
    else:
        yield path


def in_or_below(path: str, tops: list[str], separator: str) -> bool:
    return any(path == top or path.startswith(top + separator) for top in tops)


STAGES = ["download", "preprocess", "augment", "evaluate"]
STAGES += [f"tune@{model}" for model in MODELS] + [f"train@{name}" for name in NAMES]


@pytest.mark.parametrize("stage", STAGES)
def test_the_parameters_a_stage_lists_are_those_it_reads(
    reproductions: "Reproductions", stage: str
) -> None:
    lock = yaml.safe_load((reproductions.here.root / "dvc.lock").read_text())
    listed = list(lock["stages"][stage].get("params", {}).get("params.yaml", {}))
    content = reproductions.here.parameters()
    every = [leaf for name, value in content.items() for leaf in leaves(value, name)]
    record = json.loads((reproductions.records / f"{stage}.json").read_text())
    reads = list(content) if stage == "download" else record["reads"]  # it checks the whole file
    read = {leaf for leaf in every if in_or_below(leaf, reads, ".")}
    tracked = {leaf for leaf in every if in_or_below(leaf, listed, ".")}
    assert (sorted(read - tracked), sorted(tracked - read)) == ([], []), "missing, not read"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_opens_nothing_but_its_dependencies_and_outputs(
    reproductions: "Reproductions", stage: str
) -> None:
    lock = yaml.safe_load((reproductions.here.root / "dvc.lock").read_text())["stages"][stage]
    named = [entry["path"] for kind in ("deps", "outs") for entry in lock.get(kind, [])]
    record = json.loads((reproductions.records / f"{stage}.json").read_text())
    opened = [
        file
        for file in record["files"]
        if file.startswith(("data/", "models/", "reports/")) and "/." not in file
    ]
    named += ["data/local"] if stage == "download" else []
    assert [file for file in opened if not in_or_below(file, named, "/")] == []
    assert opened
    tests = [file for file in record["files"] if "t10k" in file or file.endswith("test.npz")]
    assert bool(tests) == (stage in ("download", "preprocess", "evaluate"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_loads_no_module_it_does_not_list(
    reproductions: "Reproductions", stage: str
) -> None:
    lock = yaml.safe_load((reproductions.here.root / "dvc.lock").read_text())["stages"][stage]
    listed = {entry["path"] for entry in lock["deps"]}
    record = json.loads((reproductions.records / f"{stage}.json").read_text())
    loaded = {name for name in record["modules"] if name.startswith("sidebyside.")}
    loaded.remove("sidebyside.reproducibility.perturb")  # which made that run one elsewhere
    assert {f"src/{name.replace('.', '/')}.py" for name in loaded} <= listed
    if stage in ("download", "preprocess", "augment"):
        assert not {"tensorflow", "keras", "mlflow", "sklearn"} & set(record["modules"])


# A third architecture.

RECORD = '''

class LinearHyperparameters(Hyperparameters):
    """A linear classifier."""


RECORDS["linear"] = LinearHyperparameters
'''
BUILDER = '''

def build_linear(h: Hyperparameters) -> keras.Model:
    """Return one dense layer."""
    pixels, x = _scaled_pixels()
    return _classifier(pixels, layers.Flatten(name="flatten")(x), "linear")


BUILDERS["linear"] = build_linear
'''


def test_a_third_architecture_is_a_record_a_builder_and_a_section(
    checkout_from: "Callable[..., Checkout]",
) -> None:
    checkout: Checkout = checkout_from()
    for module, addition in (("hyperparameters", RECORD), ("models", BUILDER)):
        with (checkout.root / f"src/fashion/{module}.py").open("a") as file:
            file.write(addition)
    space = checkout.parameters()["tune"]["models"]["mlp"]
    del space["hidden_units"], space["input_dropout"]
    space |= {"dropout": 0.0, "learning_rate": {"choice": [0.001, 0.002]}}
    checkout.edit(
        {
            "tune.search.trials": 9,
            "tune.models": {"linear": space},
            "train.budget.linear": {"epochs": 2, "patience": 2},
            "train.models": ["linear"],
            "train.data": ["original"],
        }
    )
    told = checkout.run("dvc", "repro").stdout
    assert {"tune@linear", "train@linear-original-1", "evaluate"} <= set(stages_run(told))
    assert "\nlinear trial 2/2: " in told  # there is nothing else to try
    metrics = json.loads((checkout.root / "reports/evaluate/metrics.json").read_text())
    assert list(metrics) == ["linear-original"]
    assert set(by_name(checkout, TRAINING)) == {"linear-original-1", "comparison"}
    facts = json.loads((checkout.root / "reports/train/linear-original-1/model.json").read_text())
    assert facts["parameters"] == 28 * 28 * 10 + 10
