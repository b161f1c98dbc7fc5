"""Runs in real MLflow stores: local, moved, shared by processes, and out of reach."""

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from sidebyside.config.schemas import HISTORY_COLUMNS
from sidebyside.core.errors import UserError
from sidebyside.tracking import stages
from sidebyside.tracking.runs import Images, Run, open_run, reopen_run
from sidebyside.tracking.store import Store, open_store, store_root
from sidebyside.tracking.views import EXPERIMENTS, SEARCH, TRAINING, experiment_tags
from sidebyside.workflow import provenance

SOURCES = Path(__file__).parents[3] / "src"
PIXELS: Images = np.arange(8 * 28 * 28, dtype=np.uint32).reshape(8, 28, 28).astype(np.uint8)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without runs; making one takes two seconds, copying it none."""
    root = tmp_path_factory.mktemp("store")
    for experiment in (TRAINING, SEARCH):
        with open_run(root, experiment, "first", "first") as run:
            pass
        delete(root, run.run_id)
    return root


@pytest.fixture
def root(empty_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(empty_store, tmp_path / "a project"))


def client(root: Path) -> Any:
    import mlflow

    return mlflow.MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def delete(root: Path, run_id: str | None) -> None:
    client(root).delete_run(run_id)


def runs(root: Path, experiment: str = TRAINING) -> list[Any]:
    """All runs of an experiment, the oldest first."""
    store = client(root)
    found = store.get_experiment_by_name(experiment)
    order = ["attributes.start_time ASC"]
    return list(store.search_runs([found.experiment_id], order_by=order))


def steps(root: Path, run_id: str | None, metric: str) -> list[tuple[int, float]]:
    history = client(root).get_metric_history(run_id, metric)
    return [(point.step, point.value) for point in history]


def start(script: str, *arguments: object, **variables: str) -> subprocess.Popen[str]:
    """Start a script that has `root`, the tracking module and `go()`, which says it got there."""
    prelude = """
        import signal, sys, time
        from pathlib import Path
        from sidebyside.tracking import runs as tracking, store
        from sidebyside.workflow import command
        root = Path(sys.argv[1])
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs
        def go(): print("go", flush=True)
    """
    code = textwrap.dedent(prelude) + textwrap.dedent(script)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**clean, "PYTHONPATH": str(SOURCES), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_go(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n", process.communicate()


def tiny_model() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((28, 28), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


# Runs and keys


def test_a_run_holds_what_was_logged(root: Path) -> None:
    with open_run(
        root, TRAINING, "mlp-original-1", "k", tags={"model": "mlp"}, description="*Why*"
    ) as run:
        run.log_parameters({"hidden_units": [8, 4], "dropout": 0.5})
        run.log_metrics({"loss": 1.5, "val_accuracy": 0.5}, step=0)
        run.log_metrics({"test_accuracy": 0.75})
        run.log_figure("curves", b"\x89PNG")
        run.log_text("summary/layers.txt", "Dense\n")
        run.log_dataset("train", "ab" * 32, "training", {"images": 48000})
    (found,) = runs(root)
    assert found.info.run_name == "mlp-original-1"
    assert found.info.status == "FINISHED"
    assert found.data.params == {"hidden_units": "[8, 4]", "dropout": "0.5"}
    assert found.data.metrics == {"loss": 1.5, "val_accuracy": 0.5, "test_accuracy": 0.75}
    assert found.data.tags["key"] == "k"
    assert found.data.tags["model"] == "mlp"
    assert found.data.tags["mlflow.note.content"] == "*Why*"
    (dataset,) = found.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("train", "ab" * 8)
    assert {tag.key: tag.value for tag in dataset.tags} == {"mlflow.data.context": "training"}
    artifacts = root / found.info.artifact_uri
    assert (artifacts / "curves.png").read_bytes() == b"\x89PNG"
    assert (artifacts / "summary/layers.txt").read_text() == "Dense\n"


def test_a_new_store_holds_our_experiments_alone(root: Path) -> None:
    names = {experiment.name for experiment in client(root).search_experiments()}
    assert names == {TRAINING, SEARCH}


def test_an_experiments_description_leads_to_the_columns_that_matter(root: Path) -> None:
    found = client(root).get_experiment_by_name(TRAINING)
    address = f"#/experiments/{found.experiment_id}/runs?viewStateShareKey=columns"
    assert f"({address})" in found.tags["mlflow.note.content"]
    view = json.loads(found.tags["mlflow.sharedViewState.columns"])
    assert view["orderByKey"] == "metrics.`test_accuracy`"
    assert {"metrics.`test_accuracy`", "params.`model`", "params.`data`"} <= {
        *view["selectedColumns"]
    }


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_a_view(name: str) -> None:
    tags = experiment_tags(name, "7")
    assert "(#/experiments/7/runs" in tags["mlflow.note.content"]
    assert len(json.loads(tags["mlflow.sharedViewState.columns"])["selectedColumns"]) > 5


@pytest.mark.parametrize(
    ("name", "kind", "sections", "metrics"),
    [
        (TRAINING, "LINE", ["Curves"], {"val_accuracy", "val_loss", "accuracy", "loss"}),
        (
            SEARCH,
            "PARALLEL",
            ["Trials of the mlp", "Trials of the cnn"],
            {"best_val_accuracy"},
        ),
    ],
)
def test_a_view_has_the_curves_of_trainings_and_the_coordinates_of_trials(
    name: str, kind: str, sections: list[str], metrics: set[str]
) -> None:
    view = json.loads(experiment_tags(name, "7")["mlflow.sharedViewState.columns"])
    assert [section["name"] for section in view["compareRunSections"]] == sections
    charts = view["compareRunCharts"]
    assert {one["type"] for one in charts} == {kind}
    held = [section["uuid"] for section in view["compareRunSections"]]
    assert list(dict.fromkeys(one["metricSectionId"] for one in charts)) == held
    assert len({one["uuid"] for one in charts}) == len(charts)
    shown = [one.get("selectedMetrics", [one.get("metricKey")]) for one in charts]
    assert {metric for one in shown for metric in one} == metrics


def test_an_epoch_is_logged_by_one_call(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    batches: list[int] = []
    original = mlflow.MlflowClient.log_batch

    def counted(self: Any, run_id: str, metrics: Sequence[Any] = (), **others: Any) -> Any:
        batches.append(len(metrics))
        return original(self, run_id, metrics, **others)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", counted)
    history = [{"epoch": epoch, **dict.fromkeys(HISTORY_COLUMNS[1:], 0.5)} for epoch in (1, 2)]
    with open_run(root, TRAINING, "run", "k") as run:
        stages.log_epochs(run, history)
    assert batches == [len(HISTORY_COLUMNS) - 1] * 2


def test_artifact_locations_are_relative_and_the_working_directory_stays(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_text("a.txt", "a")
        assert Path.cwd() == elsewhere
    (found,) = runs(root)
    assert found.info.artifact_uri == f"mlruns/{TRAINING}/{found.info.run_id}/artifacts"
    assert not list(elsewhere.iterdir())


def test_a_complete_run_is_found_by_its_key_and_left_alone(root: Path) -> None:
    for value in (1.0, 2.0):
        with open_run(root, TRAINING, "run", "k") as run:
            run.log_metrics({"loss": value}, step=0)
            run.log_parameters({"dropout": value})
            run.log_text("a.txt", str(value))
    assert run.complete
    (found,) = runs(root)
    assert steps(root, found.info.run_id, "loss") == [(0, 1.0)]
    assert found.data.params == {"dropout": "1.0"}
    assert (root / found.info.artifact_uri / "a.txt").read_text() == "1.0"


def test_another_key_is_another_run(root: Path) -> None:
    for key in ("k1", "k2"):
        with open_run(root, TRAINING, "run", key) as run:
            assert not run.complete
    assert [found.data.tags["key"] for found in runs(root)] == ["k1", "k2"]


def test_a_failed_run_is_continued_and_its_metrics_are_not_logged_twice(root: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_run(root, TRAINING, "run", "k") as run:
        run.log_parameters({"dropout": 0.5})
        for epoch in range(2):
            run.log_metrics({"loss": float(epoch)}, step=epoch)
        raise ZeroDivisionError
    (found,) = runs(root)
    assert found.info.status == "FAILED"
    with open_run(root, TRAINING, "run", "k") as run:
        assert not run.complete
        assert client(root).get_run(run.run_id).info.status == "RUNNING"
        run.log_parameters({"dropout": 0.5})
        for epoch in range(3):
            run.log_metrics({"loss": float(epoch)}, step=epoch)
    (found,) = runs(root)
    assert found.info.status == "FINISHED"
    assert steps(root, found.info.run_id, "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_a_table_is_shown_as_one_and_not_doubled_by_a_second_run(root: Path) -> None:
    for _ in range(2):
        with contextlib.suppress(ZeroDivisionError), open_run(root, TRAINING, "run", "k") as run:
            run.log_table("confusion", ["actual", "Bag"], [["Bag", 7]])
            raise ZeroDivisionError
    (found,) = runs(root)
    content = json.loads((root / found.info.artifact_uri / "tables/confusion.json").read_text())
    assert content == {"columns": ["actual", "Bag"], "data": [["Bag", 7]]}
    listed = json.loads(found.data.tags["mlflow.loggedArtifacts"])
    assert listed == [{"path": "tables/confusion.json", "type": "table"}]


def test_long_and_many_values_fit_into_mlflow_limits(root: Path) -> None:
    with open_run(root, TRAINING, "run", "k", description="d" * 9000) as run:
        run.log_parameters({"long": "x" * 7000, **{f"p{i}": i for i in range(250)}})
        run.log_metrics({f"m{i}": i for i in range(1500)}, step=0)
    (found,) = runs(root)
    assert len(found.data.params) == 251
    assert found.data.params["long"] == "x" * 5999 + "…"
    assert len(found.data.metrics) == 1500
    assert len(found.data.tags["mlflow.note.content"]) == 8000


def test_a_child_belongs_to_its_parent_alone(root: Path) -> None:
    for parent in ("p1", "p2", "p1"):
        with open_run(root, SEARCH, parent, parent) as search:
            for trial in ("t1", "t2"):
                with search.child(trial, trial, tags={"trial": trial}) as run:
                    run.log_metrics({"val_accuracy": 0.5}, step=0)
    found = runs(root, SEARCH)
    ids = {
        each.data.tags["key"]: each.info.run_id for each in found if each.info.run_name[0] == "p"
    }
    below = [
        (each.data.tags["mlflow.parentRunId"], each.info.run_name)
        for each in found
        if each.info.run_name[0] == "t"
    ]
    assert sorted(below) == sorted((ids[p], t) for p in ("p1", "p2") for t in ("t1", "t2"))
    assert len({each.data.tags["machine.fingerprint"] for each in found}) == 1


def test_an_evaluation_adds_to_the_finished_run_once(root: Path) -> None:
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_metrics({"loss": 1.0}, step=0)
    for value in (0.5, 0.6):
        with reopen_run(root, TRAINING, "run", "k", evaluated="e1") as run:
            run.log_metrics({"test_accuracy": value})
    assert run.complete
    (found,) = runs(root)
    assert found.data.metrics == {"loss": 1.0, "test_accuracy": 0.5}
    with reopen_run(root, TRAINING, "run", "k", evaluated="e2") as run:  # evaluated differently
        run.log_metrics({"test_accuracy": 0.7})
    (found,) = runs(root)
    assert found.data.metrics["test_accuracy"] == 0.7
    assert found.info.status == "FINISHED"


def test_an_evaluation_that_fails_leaves_the_training_finished(root: Path) -> None:
    with open_run(root, TRAINING, "run", "k"):
        pass
    with (
        pytest.raises(ZeroDivisionError),
        reopen_run(root, TRAINING, "run", "k", evaluated="e"),
    ):
        raise ZeroDivisionError
    assert [found.info.status for found in runs(root)] == ["FINISHED"]
    with reopen_run(root, TRAINING, "run", "k", evaluated="e") as run:
        assert not run.complete
    assert [found.info.status for found in runs(root)] == ["FINISHED"]


@pytest.mark.parametrize("begun", [False, True])
def test_an_evaluation_waits_for_the_whole_training(
    root: Path, begun: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    if begun:
        with pytest.raises(ZeroDivisionError), open_run(root, TRAINING, "run", "k"):
            raise ZeroDivisionError
    with reopen_run(root, TRAINING, "run", "k", evaluated="e") as run:
        assert not run.complete
        run.log_metrics({"test_accuracy": 0.5})
    assert capfd.readouterr().err.splitlines() == [
        "not logged to MLflow: run: 1 metric; `make refill` logs it later"
    ]
    assert [found.info.status for found in runs(root)] == ["FAILED"] * begun
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_metrics({"loss": 1.0}, step=0)
    with reopen_run(root, TRAINING, "run", "k", evaluated="e") as run:
        run.log_metrics({"test_accuracy": 0.5})
    (found,) = runs(root)
    assert found.data.metrics == {"test_accuracy": 0.5, "loss": 1.0}
    assert found.info.status == "FINISHED"


def test_below_a_run_that_could_not_be_opened_no_trial_becomes_an_orphan(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: object, **options: object) -> None:
        raise ConnectionRefusedError

    store = open_store(root)
    with monkeypatch.context() as patch:
        patch.setattr(store.client, "search_runs", refused)
        with open_run(root, SEARCH, "search", "s") as search:
            assert search.run_id is None
            patch.undo()
            store.retry()  # it answers again
            with search.child("trial-1", "t") as trial:
                trial.log_metrics({"val_accuracy": 0.5}, step=0)
    assert runs(root, SEARCH) == []
    last = capfd.readouterr().err.splitlines()[-1]
    assert last == "not logged to MLflow: search: 1 metric; `make refill` logs it later"


@pytest.mark.parametrize("key", ["", "it's", "a b"])
def test_a_key_that_cannot_be_searched_for_is_refused(root: Path, key: str) -> None:
    with pytest.raises(ValueError, match="key"), open_run(root, TRAINING, "run", key):
        pass


def test_wrong_use_raises_and_is_no_outage(root: Path) -> None:
    import mlflow

    with (
        pytest.raises(mlflow.MlflowException, match="Invalid"),
        open_run(root, TRAINING, "run", "k") as run,
    ):
        run.log_metrics({"loss?": 1.0})
    with (
        pytest.raises(ValueError, match="could not convert"),
        open_run(root, TRAINING, "run", "k") as run,
    ):
        run.log_metrics({"loss": "low"})  # type: ignore[dict-item]


# Where the store is


def test_a_temporary_experiment_logs_into_the_real_project(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (root / "dvc.yaml").touch()
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.chdir(copy)
    with open_run(copy, TRAINING, "run", "k") as run:
        run.log_text("a.txt", "a")
    (found,) = runs(root)
    assert (root / found.info.artifact_uri / "a.txt").is_file()
    assert not list(copy.iterdir())


def test_a_root_that_is_no_dvc_project_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert store_root(tmp_path / "project") == tmp_path / "project"
    (tmp_path / "dvc.yaml").touch()
    assert store_root(tmp_path / "project") == tmp_path


def test_the_environment_names_another_store(
    root: Path, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(empty_store, tmp_path / "other"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other / 'mlflow.db'}")
    with open_run(root, TRAINING, "run", "k"):
        pass
    assert len(runs(other)) == 1
    assert not runs(root)


@pytest.mark.parametrize("name", ["is it?", "100%41"])
def test_a_place_that_mlflow_takes_for_another_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="move it to a place without"):
        open_store(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.timeout(20)  # MLflow itself tries a database for two minutes
@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("carrier-pigeon://user:secret@loft", "carrier-pigeon://loft"),
        ("http://user:secret@[::1", r"http://\[::1: Invalid IPv6 URL"),
        ("sqlite:////tmp", "sqlite:////tmp: /tmp cannot be a database file"),
        ("sqlite:////no/folder/x.db", "sqlite:////no/folder/x.db: .*cannot be a database file"),
    ],
)
def test_an_address_that_leads_nowhere_is_a_user_error(
    root: Path, monkeypatch: pytest.MonkeyPatch, address: str, message: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with (
        pytest.raises(UserError, match=f"MLFLOW_TRACKING_URI={message}") as caught,
        open_run(root, TRAINING, "run", "k"),
    ):
        pass
    assert "secret" not in str(caught.value)


@pytest.mark.slow
def test_processes_that_start_at_once_create_one_store(tmp_path: Path) -> None:
    script = """
        with tracking.open_run(root, store.TRAINING, "run", sys.argv[2]) as run:
            run.log_text("a.txt", "a")
    """
    processes = [start(script, tmp_path, f"k{i}") for i in range(2)]
    assert [process.communicate() for process in processes] == [("", "")] * 2  # and not a word
    assert sorted(found.data.tags["key"] for found in runs(tmp_path)) == ["k0", "k1"]
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        locations = database.execute("SELECT artifact_location FROM experiments").fetchall()
    assert sorted(locations) == [("mlruns/0",), (f"mlruns/{TRAINING}",)]


@pytest.mark.slow
def test_a_kill_while_the_store_is_created_does_no_harm(tmp_path: Path) -> None:
    script = """
        with tracking.open_run(root, store.TRAINING, "run", "k"):
            pass
    """
    process = start(script, tmp_path)
    while not (tmp_path / "mlruns/.new.db").exists():
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (tmp_path / "mlflow.db").exists()
    assert start(script, tmp_path).communicate() == ("", "")
    assert len(runs(tmp_path)) == 1


def test_importing_the_module_does_not_import_mlflow() -> None:
    code = "import sys, sidebyside.tracking.runs; sys.exit('mlflow' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_telemetry_is_off(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")  # the environment of `make install` sets it too
    with open_run(root, TRAINING, "run", "k"):
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


# Deleted by somebody in MLflow's pages


def test_a_deleted_experiment_is_restored(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = client(root)
    store.delete_experiment(store.get_experiment_by_name(TRAINING).experiment_id)
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_metrics({"loss": 1.0}, step=1)
    assert "experiment fashion-mnist had been deleted: restored" in capsys.readouterr().err
    assert "run" in [found.info.run_name for found in runs(root)]


def test_a_run_that_is_deleted_meanwhile_stops_nothing_and_is_logged_anew(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_metrics({"loss": 1.0}, step=1)
        delete(root, run.run_id)
        run.log_metrics({"loss": 0.5}, step=2)
    warning, missed = capsys.readouterr().err.splitlines()
    assert "going on without it" in warning
    assert missed == "not logged to MLflow: run: 1 metric; `make refill` logs it later"
    open_store(root).retry()
    with open_run(root, TRAINING, "run", "k") as again:
        again.log_metrics({"loss": 1.0}, step=1)
        again.log_metrics({"loss": 0.5}, step=2)
    assert again.run_id != run.run_id
    assert steps(root, again.run_id, "loss") == [(1, 1.0), (2, 0.5)]


# Ends


LOOP = """
    def main():
        with tracking.open_run(root, store.TRAINING, "run", "k") as run:
            for epoch in range(10_000):
                run.log_metrics({"loss": float(epoch)}, step=epoch)
                if epoch == 3:
                    go()
                time.sleep(0.02)
    command.run(main)
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, "KILLED"), (signal.SIGTERM, "KILLED")]
)
def test_a_stopped_run_is_marked_killed_at_once(
    root: Path, number: signal.Signals, status: str
) -> None:
    process = start(LOOP, root)
    wait_for_go(process)
    process.send_signal(number)
    before = time.monotonic()
    process.communicate(timeout=10)
    assert time.monotonic() - before < 2
    assert process.returncode == 128 + number
    assert [found.info.status for found in runs(root)] == [status]


@pytest.fixture
def interrupting() -> Iterator[None]:
    """Let SIGTERM, too, raise an error where the program stands, as it does in a command."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("interrupting")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("local", "done"), [(True, ["first", "last"]), (False, ["first"])])
def test_a_signal_waits_for_a_change_of_the_own_store_and_not_for_a_servers(
    root: Path, number: signal.Signals, *, local: bool, done: list[str]
) -> None:
    store = Store(f"sqlite:///{root}/mlflow.db" if local else "http://127.0.0.1:9", root, local)
    found = []

    def change() -> None:
        found.append("first")
        signal.raise_signal(number)
        found.append("last")

    with pytest.raises(KeyboardInterrupt):
        store.attempt(change)
    assert found == done
    assert signal.getsignal(number) is signal.default_int_handler


def test_a_run_cut_off_by_kill_9_is_continued(root: Path) -> None:
    process = start(LOOP, root)
    wait_for_go(process)
    process.kill()
    process.communicate()
    (dead,) = runs(root)
    assert dead.info.status == "RUNNING"
    with open_run(root, TRAINING, "run", "k") as run:
        for epoch in range(100):
            run.log_metrics({"loss": float(epoch)}, step=epoch)
    (found,) = runs(root)
    assert found.info.run_id == dead.info.run_id
    assert found.info.status == "FINISHED"
    logged = [step for step, _ in steps(root, found.info.run_id, "loss")]
    assert logged == list(range(100))


# Stores out of reach


def log_a_little(run: Run) -> None:
    for epoch in range(3):
        run.log_metrics({"loss": 1.0, "accuracy": 0.5}, step=epoch)
    run.log_figure("curves", b"")
    with run.child("trial", "t") as trial:
        trial.log_metrics({"loss": 1.0}, step=0)


def test_an_unreachable_server_is_named_once_and_nothing_waits_for_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    before = time.monotonic()
    with open_run(root, TRAINING, "run", "k1") as run:
        log_a_little(run)
        assert run.run_id is None
    assert time.monotonic() - before < 15
    before = time.monotonic()
    with reopen_run(root, TRAINING, "run", "k2", evaluated="e") as run:
        run.log_parameters({"dropout": 1})
        run.register("fashion-mnist-mlp", 0.9)
    assert time.monotonic() - before < 0.5
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == [
        "warning: MLflow at http://127.0.0.1:9 fails (Connection refused): going on without it",
        "not logged to MLflow: run: 7 metrics, 1 figure; `make refill` logs it later",
        "not logged to MLflow: run: 1 parameter, 1 champion; `make refill` logs it later",
    ]


def test_a_server_that_never_answers_is_given_up(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with open_run(root, TRAINING, "run", "k") as run:
            log_a_little(run)
    first, *_ = capfd.readouterr().err.splitlines()
    assert first == f"warning: MLflow at {address} fails (no answer in time): going on without it"


class Overloaded(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(503)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base's)
        pass


def test_a_server_that_answers_errors_is_given_up(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with HTTPServer(("127.0.0.1", 0), Overloaded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with open_run(root, TRAINING, "run", "k") as run:
            log_a_little(run)
        server.shutdown()
    first, *_ = capfd.readouterr().err.splitlines()
    assert first == f"warning: MLflow at {address} fails (it answers 503): going on without it"


def test_a_store_that_another_process_creates_for_ever_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sidebyside.tracking.store.LOCK_TIMEOUT", 0)
    (tmp_path / "mlruns").mkdir()
    with (tmp_path / "mlruns/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open_run(tmp_path, TRAINING, "run", "k") as run:
            log_a_little(run)
    first, *_ = capfd.readouterr().err.splitlines()
    assert "mlflow.db fails (another process holds its lock): going on without it" in first


@pytest.mark.slow
@pytest.mark.system  # MLflow waits for 20 s
def test_a_locked_store_is_a_warning(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_metrics({"loss": 1.0}, step=0)
        with contextlib.closing(sqlite3.connect(root / "mlflow.db")) as other:
            other.execute("BEGIN EXCLUSIVE")
            run.log_metrics({"loss": 1.0, "accuracy": 0.5}, step=1)
    place = root / "mlflow.db"
    assert capfd.readouterr().err.splitlines() == [
        f"warning: MLflow at {place} fails (database is locked): going on without it",
        "not logged to MLflow: run: 2 metrics; `make refill` logs it later",
    ]
    assert [found.info.status for found in runs(root)] == ["RUNNING"]  # to be continued


def test_a_store_that_is_no_database_is_a_warning(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (root / "mlflow.db").write_bytes(b"not a database" * 1000)
    with open_run(root, TRAINING, "run", "k") as run:
        log_a_little(run)
    first, last = capfd.readouterr().err.splitlines()
    assert "file is not a database" in first
    assert last == "not logged to MLflow: run: 7 metrics, 1 figure; `make refill` logs it later"


def test_a_store_that_cannot_be_created_is_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mlruns").write_text("a file")
    with open_run(tmp_path, TRAINING, "run", "k") as run:
        log_a_little(run)
    first, last = capfd.readouterr().err.splitlines()
    assert "File exists" in first
    assert last == "not logged to MLflow: run: 7 metrics, 1 figure; `make refill` logs it later"


@pytest.mark.slow
def test_a_full_disk_is_a_warning(root: Path) -> None:
    script = """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_100_000, 1_100_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with tracking.open_run(root, store.TRAINING, "run", "k") as run:
            run.log_figure("curves", bytes(2_000_000))
            run.log_metrics({"loss": 1.0}, step=0)
        go()
    """
    process = start(script, root)
    output, errors = process.communicate()
    assert output == "go\n"
    first, last = errors.splitlines()
    assert "(File too large): going on without it" in first
    assert last == "not logged to MLflow: run: 1 figure, 1 metric; `make refill` logs it later"


# Models


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model()


@pytest.fixture(scope="module")
def with_model(model: Any, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one trained model, evaluated and registered."""
    root = Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("models") / "a project é"))
    with open_run(root, TRAINING, "mlp-original-1", "k", description="Small") as run:
        run.log_dataset("val", "ab" * 32, "validation", {"images": 12000})
        for epoch in range(3):
            run.log_metrics({"val_accuracy": epoch / 10}, step=epoch)
        run.log_model(model, PIXELS[:1], step=1)
    with reopen_run(root, TRAINING, "mlp-original-1", "k", evaluated="e") as run:
        run.log_dataset("test", "cd" * 32, "test", {"images": 10000})
        run.log_metrics({"test_accuracy": 0.9})
        for _ in range(2):
            run.register("fashion-mnist-mlp", 0.9, "0.9 on validation")
    return root


@pytest.mark.slow
def test_a_model_loads_and_predicts_alike_after_the_checkout_has_moved(
    with_model: Path, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    moved = tmp_path / "moved"
    shutil.copytree(with_model, moved)
    hidden = with_model.rename(with_model.with_name("hidden"))
    try:
        monkeypatch.chdir(moved)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{moved / 'mlflow.db'}")
        loaded = mlflow.pyfunc.load_model("models:/fashion-mnist-mlp@champion")
        predicted = loaded.predict(PIXELS)
        assert (predicted == model.predict(PIXELS, batch_size=32, verbose=0)).all()
        assert predicted.dtype == np.float32
        inputs, outputs = loaded.metadata.signature.inputs, loaded.metadata.signature.outputs
        assert (inputs.inputs[0].type, inputs.inputs[0].shape) == (np.uint8, (-1, 28, 28))
        assert (outputs.inputs[0].type, outputs.inputs[0].shape) == (np.float32, (-1, 10))
        assert (loaded.input_example == PIXELS[:1]).all()
    finally:
        hidden.rename(with_model)


@pytest.mark.slow
def test_a_model_names_its_pinned_needs(with_model: Path) -> None:
    (run,) = runs(with_model)
    (output,) = run.outputs.model_outputs
    (file,) = with_model.glob(f"mlruns/*/models/{output.model_id}/artifacts/requirements.txt")
    needs = dict(line.split("==") for line in file.read_text().split())
    assert set(needs) == {"mlflow", "tensorflow", "keras", "numpy"}


@pytest.mark.slow
def test_a_model_shows_the_scores_of_its_epoch_and_of_the_test(with_model: Path) -> None:
    (run,) = runs(with_model)
    (output,) = run.outputs.model_outputs
    logged = client(with_model).get_logged_model(output.model_id)
    assert (logged.name, logged.status.value) == ("mlp-original-1", "READY")
    assert logged.tags["mlflow.note.content"] == "Small"
    assert {m.key: (m.value, m.dataset_name, m.dataset_digest) for m in logged.metrics} == {
        "val_accuracy": (0.1, "val", "ab" * 8),
        "test_accuracy": (0.9, "test", "cd" * 8),
    }
    assert steps(with_model, run.info.run_id, "val_accuracy") == [(0, 0.0), (1, 0.1), (2, 0.2)]


@pytest.mark.slow
def test_a_continued_run_gets_no_second_model(root: Path, model: Any) -> None:
    for _ in range(2):
        with contextlib.suppress(ZeroDivisionError), open_run(root, TRAINING, "run", "k") as run:
            run.log_model(model, PIXELS[:1], step=0)
            raise ZeroDivisionError
    (found,) = runs(root)
    assert len(found.outputs.model_outputs) == 1
    assert len(list(root.glob("mlruns/*/models/*"))) == 1


@pytest.mark.slow
def test_a_champion_is_registered_once_and_dethroned_only_by_a_model_as_good(
    with_model: Path, model: Any
) -> None:
    name = "fashion-mnist-mlp"
    store = client(with_model)
    (version,) = store.search_model_versions(f"name = '{name}'")
    assert version.description == "0.9 on validation"
    with open_run(with_model, TRAINING, "mlp-original-2", "k2") as run:
        run.log_model(model, PIXELS[:1], step=0)
        run.register(name, 0.89)
        assert store.get_model_version_by_alias(name, "champion").version == version.version
        run.register(name, 0.9)
    dethroned = store.get_model_version_by_alias(name, "champion")
    assert dethroned.run_id == run.run_id
    # What somebody made of the score in MLflow's pages, no number, is below every score.
    store.set_model_version_tag(name, dethroned.version, "val_accuracy", "90 %")
    with reopen_run(with_model, TRAINING, "mlp-original-1", "k", evaluated="e") as run:
        assert run.complete
        run.register(name, 0.92, "again")  # works on a complete run too
    assert store.get_model_version_by_alias(name, "champion").version == version.version
    assert len(store.search_model_versions(f"name = '{name}'")) == 2
    store.delete_run(run_id_of(with_model, "k2"))


def run_id_of(root: Path, key: str) -> str:
    return str(next(found.info.run_id for found in runs(root) if found.data.tags["key"] == key))


# A real server


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """An MLflow server that keeps artifacts itself."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    address = f"http://127.0.0.1:{port}"
    quiet = subprocess.DEVNULL
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = subprocess.Popen(
        command, env=environment, cwd=folder, stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(OSError):
                requests.get(f"{address}/health", timeout=1).raise_for_status()
                break
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield address, process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.system
def test_a_real_server_gets_everything_and_may_die(
    empty_store: Path,
    model: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import mlflow

    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(empty_store / "mlflow.db", folder)
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        database.execute("UPDATE experiments SET name = name || '-old'")
    project = tmp_path / "project"
    project.mkdir()
    with server(folder) as (address, process):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with open_run(project, TRAINING, "run", "k") as run:
            run.log_metrics({"loss": 1.0}, step=0)
            run.log_table("confusion", ["actual"], [["Bag"]])
            run.log_model(model, PIXELS[:1], step=0)
            run.register("fashion-mnist-mlp", 0.9)
        loaded = mlflow.pyfunc.load_model("models:/fashion-mnist-mlp@champion")
        expected = model.predict(PIXELS, batch_size=32, verbose=0)
        assert (loaded.predict(PIXELS) == expected).all()
        assert list((folder / "artifacts").rglob("confusion.json"))
        assert not list(project.iterdir())
        capfd.readouterr()  # loading from a server shows progress bars
        with open_run(project, TRAINING, "run", "k2") as run:
            run.log_metrics({"loss": 1.0}, step=0)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            before = time.monotonic()
            run.log_metrics({"loss": 1.0}, step=1)
            run.log_model(model, PIXELS[:1], step=1)
            assert time.monotonic() - before < 15
    warning, lost = capfd.readouterr().err.splitlines()
    # The reason depends on how far the dying server had come with the connection.
    assert warning.startswith(f"warning: MLflow at {address} fails (")
    assert warning.endswith("): going on without it")
    assert lost == "not logged to MLflow: run: 1 metric, 1 model; `make refill` logs it later"


# Provenance

TRACKED = ("code.py", "replications/params.yaml")
RECORDED = ("dvc.lock", "reports/scores.json", "replications/results/scores.csv")


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    command = ["git", *identity, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "reports").mkdir(parents=True)
    (folder / "replications/results").mkdir(parents=True)
    for name in (*TRACKED, *RECORDED):
        (folder / name).write_text("1")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def test_the_commit_is_named(repository: Path) -> None:
    assert provenance.source(repository) == (git(repository, "rev-parse", "HEAD"), False)


@pytest.mark.parametrize(
    ("name", "dirty"),
    [*((name, True) for name in TRACKED), *((name, False) for name in (*RECORDED, "new.py"))],
)
def test_only_a_change_of_tracked_sources_makes_a_checkout_dirty(
    repository: Path, name: str, dirty: bool
) -> None:
    (repository / name).write_text("2")
    assert provenance.source(repository).dirty is dirty


def test_a_folder_without_git_has_no_commit(tmp_path: Path) -> None:
    assert provenance.source(tmp_path) == ("unknown", False)


def test_the_fingerprint_follows_threads_and_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    first = provenance.machine(threads=2)
    assert first == provenance.machine(threads=2)
    assert first["threads"] == "2"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    prints = {
        first["fingerprint"],
        provenance.machine(threads=2)["fingerprint"],
        provenance.machine(threads=4)["fingerprint"],
    }
    assert len(prints) == 3


def test_the_fingerprint_follows_the_processor_and_the_libraries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def print_of(facts: dict[str, str], version: str) -> str:
        monkeypatch.setattr(provenance, "_processor_facts", lambda: facts)
        monkeypatch.setattr(metadata, "version", lambda name: version)
        return provenance.machine()["fingerprint"]

    first = print_of({"flags": "fma avx2"}, "1.0")
    assert first == print_of({"flags": "avx2 fma"}, "1.0")  # in another order
    others = [
        print_of({"flags": "fma"}, "1.0"),
        print_of({"Features": "neon"}, "1.0"),  # as ARM has it
        print_of({"flags": "fma avx2"}, "1.1"),
    ]
    assert len({first, *others}) == 4


def test_a_run_says_where_it_comes_from(
    repository: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(empty_store, repository, dirs_exist_ok=True)
    monkeypatch.setenv("DVC_STAGE", "train@mlp-original-1")
    (repository / "code.py").write_text("2")
    (repository / "requirements.lock").write_text("a==1")
    with open_run(repository, TRAINING, "run", "k", tags={"seed": 2}):
        pass
    (found,) = runs(repository)
    tags = found.data.tags
    assert tags["stage"] == "train@mlp-original-1"
    assert tags["git.commit"] == git(repository, "rev-parse", "HEAD")
    assert tags["git.dirty"] == "true"
    assert tags["seed"] == "2"
    assert tags["machine.fingerprint"] == provenance.machine()["fingerprint"]
    lock = repository / "requirements.lock"
    assert tags["requirements.lock"] == hashlib.sha256(lock.read_bytes()).hexdigest()
    data = repository / "dvc.lock"
    assert tags["dvc.lock"] == hashlib.sha256(data.read_bytes()).hexdigest()


def test_locks_are_those_that_are_there(tmp_path: Path) -> None:
    assert provenance.locks(tmp_path) == {}
    (tmp_path / "dvc.lock").write_text("x")
    assert provenance.locks(tmp_path) == {"dvc.lock": hashlib.sha256(b"x").hexdigest()}


def test_a_failed_store_is_left_alone_ever_longer_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, asked = [0.0], list[float]()
    store = Store(f"sqlite:///{tmp_path}/mlflow.db", tmp_path, local=True)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def fails() -> None:
        asked.append(now[0])
        raise ConnectionRefusedError

    def ask(start: int, end: int) -> None:
        for second in range(start, end, 10):
            now[0] = float(second)
            store.attempt(fails)

    ask(0, 3000)
    pauses = [after - before for before, after in itertools.pairwise(asked)]
    assert pauses[:6] == [30, 60, 120, 240, 480, 600]
    store.retry()
    assert store.attempt(lambda: "an answer") == "an answer"
    asked.clear()
    ask(3000, 3050)
    assert asked == [3000, 3030]
