import os
import shutil
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from sidebyside.core.fingerprint import machine_facts
from sidebyside.tracking.runs import open_child, open_run, reopen_run
from sidebyside.tracking.store import open_store
from sidebyside.tracking.views import training_experiment
from tests.support.datasets import FASHION_MNIST, dataset
from tests.support.stores import SEARCH, TRAINING, client_of, points_of, runs_of
from tests.support.tracking_process import PROJECT, start, wait_until_ready

# Keys.


def test_a_complete_run_is_found_by_its_key_and_does_not_change(root: Path) -> None:
    for value in (1.0, 2.0):
        with open_run(root, TRAINING, "run", "k") as run:
            run.log_metrics({"loss": value}, step=0)
            run.log_parameters({"dropout": value})
            run.log_text("a.txt", str(value))
    assert run.complete
    (found,) = runs_of(root)
    assert points_of(root, found.info.run_id, "loss") == [(0, 1.0)]
    assert found.data.params == {"dropout": "1.0"}
    assert (Path(found.info.artifact_uri) / "a.txt").read_text() == "1.0"


def test_another_key_is_another_run(root: Path) -> None:
    for key in ("k1", "k2"):
        with open_run(root, TRAINING, "run", key) as run:
            assert not run.complete
    assert [found.data.tags["key"] for found in runs_of(root)] == ["k1", "k2"]


def test_a_project_that_changes_its_data_set_and_back_keeps_both_apart(root: Path) -> None:
    digits = training_experiment(dataset(name="digits", title="Digits"))
    for experiment in (TRAINING, digits, TRAINING):
        with open_run(root, experiment, "run", experiment.name) as run:
            run.log_metrics({"loss": 1.0}, step=0)
    for experiment in (TRAINING, digits):
        (run,) = runs_of(root, experiment)
        assert run.data.tags["key"] == experiment.name
        assert f"/mlruns/{experiment.name}/" in run.info.artifact_uri
    names = set(open_store(root).project_experiments().values())
    assert names == {TRAINING.name, SEARCH.name, digits.name}


@pytest.mark.parametrize("key", ["", "it's", "a b"])
def test_an_invalid_key_is_refused(root: Path, key: str) -> None:
    with pytest.raises(ValueError, match="key"), open_run(root, TRAINING, "run", key):
        pass


def test_a_failed_run_is_resumed_and_its_metrics_are_not_logged_twice(root: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_run(root, TRAINING, "run", "k") as run:
        run.log_parameters({"dropout": 0.5})
        for epoch in range(2):
            run.log_metrics({"loss": float(epoch)}, step=epoch)
        raise ZeroDivisionError
    (found,) = runs_of(root)
    assert found.info.status == "FAILED"
    with open_run(root, TRAINING, "run", "k") as run:
        assert not run.complete
        assert client_of(root).get_run(found.info.run_id).info.status == "RUNNING"
        run.log_parameters({"dropout": 0.5})
        for epoch in range(3):
            run.log_metrics({"loss": float(epoch)}, step=epoch)
    (found,) = runs_of(root)
    assert found.info.status == "FINISHED"
    assert points_of(root, found.info.run_id, "loss") == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_a_run_that_is_deleted_while_it_is_logged_is_logged_again_later(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_metrics({"loss": 1.0}, step=1)
        assert run.run_id
        client_of(root).delete_run(run.run_id)
        run.log_metrics({"loss": 0.5}, step=2)
    warning, missed = capsys.readouterr().err.splitlines()
    assert "continuing without it" in warning
    assert missed == "not logged to MLflow: run: 1 metric; `make backfill` logs it later"
    open_store(root).retry()
    with open_run(root, TRAINING, "run", "k") as again:
        again.log_metrics({"loss": 1.0}, step=1)
        again.log_metrics({"loss": 0.5}, step=2)
    assert again.run_id != run.run_id
    assert points_of(root, again.run_id, "loss") == [(1, 1.0), (2, 0.5)]


# Children.


def test_a_child_belongs_to_its_parent_alone(root: Path) -> None:
    for parent in ("p1", "p2", "p1"):
        with open_run(root, SEARCH, parent, parent) as search:
            for trial in ("t1", "t2"):
                with open_child(search, trial, trial, tags={"trial": trial}) as run:
                    run.log_metrics({"val_accuracy": 0.5}, step=0)
    found = runs_of(root, SEARCH)
    ids = {
        each.data.tags["key"]: each.info.run_id for each in found if each.info.run_name[0] == "p"
    }
    children = [
        (each.data.tags["mlflow.parentRunId"], each.info.run_name)
        for each in found
        if each.info.run_name[0] == "t"
    ]
    assert sorted(children) == sorted((ids[p], t) for p in ("p1", "p2") for t in ("t1", "t2"))
    assert len({each.data.tags["machine.fingerprint"] for each in found}) == 1


def test_a_run_that_could_not_be_opened_gets_no_children(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: object, **options: object) -> None:
        raise ConnectionRefusedError

    store = open_store(root)
    store.require(lambda: None)
    with monkeypatch.context() as patch:
        patch.setattr(store.client, "search_runs", refused)
        with open_run(root, SEARCH, "search", "s") as search:
            assert search.run_id is None
            patch.undo()
            store.retry()  # it responds again
            with open_child(search, "trial-1", "t") as trial:
                trial.log_metrics({"val_accuracy": 0.5}, step=0)
    assert runs_of(root, SEARCH) == []
    last = capfd.readouterr().err.splitlines()[-1]
    assert last == "not logged to MLflow: search: 1 metric; `make backfill` logs it later"


# Evaluations.


def test_an_evaluation_adds_to_the_complete_run_once(root: Path) -> None:
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_metrics({"loss": 1.0}, step=0)
    for value in (0.5, 0.6):
        with reopen_run(root, TRAINING, "run", "k", evaluated="e1") as run:
            run.log_metrics({"test_accuracy": value})
    assert run.complete
    (found,) = runs_of(root)
    assert found.data.metrics == {"loss": 1.0, "test_accuracy": 0.5}
    with reopen_run(root, TRAINING, "run", "k", evaluated="e2") as run:
        run.log_metrics({"test_accuracy": 0.7})
    (found,) = runs_of(root)
    assert found.data.metrics["test_accuracy"] == 0.7
    assert found.info.status == "FINISHED"


def test_a_failed_evaluation_does_not_change_the_status_of_the_training(root: Path) -> None:
    with open_run(root, TRAINING, "run", "k"):
        pass
    with pytest.raises(ZeroDivisionError), reopen_run(root, TRAINING, "run", "k", evaluated="e"):
        raise ZeroDivisionError
    assert [found.info.status for found in runs_of(root)] == ["FINISHED"]
    with reopen_run(root, TRAINING, "run", "k", evaluated="e") as run:
        assert not run.complete
    assert [found.info.status for found in runs_of(root)] == ["FINISHED"]


@pytest.mark.parametrize("started", [False, True])
def test_an_evaluation_is_not_logged_before_the_whole_training(
    root: Path, started: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    if started:
        with pytest.raises(ZeroDivisionError), open_run(root, TRAINING, "run", "k"):
            raise ZeroDivisionError
    with reopen_run(root, TRAINING, "run", "k", evaluated="e") as run:
        assert not run.complete
        run.log_metrics({"test_accuracy": 0.5})
    assert capfd.readouterr().err.splitlines() == [
        "not logged to MLflow: run: 1 metric; `make backfill` logs it later"
    ]
    assert [found.info.status for found in runs_of(root)] == ["FAILED"] * started
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_metrics({"loss": 1.0}, step=0)
    with reopen_run(root, TRAINING, "run", "k", evaluated="e") as run:
        run.log_metrics({"test_accuracy": 0.5})
    (found,) = runs_of(root)
    assert found.data.metrics == {"test_accuracy": 0.5, "loss": 1.0}
    assert found.info.status == "FINISHED"


# Read back before a run is marked as complete.


def log_all(root: Path, epochs: int = 3) -> None:
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_parameters({"dropout": 0.5})
        run.log_dataset("train", "ab" * 32, "training", {"images": 9})
        for epoch in range(epochs):
            run.log_metrics({"loss": float(epoch)}, step=epoch)
        run.log_metrics({"test_accuracy": 0.5})
        run.log_table("confusion", ["actual"], [["Bag"]])
        run.log_figure("curves", b"\x89PNG")


def is_marked(root: Path) -> bool:
    (found,) = runs_of(root)
    return "logged" in found.data.tags


@pytest.mark.parametrize(
    ("method", "missing"),
    [
        ("log_batch", "1 parameter, 4 metrics"),
        ("log_inputs", "1 dataset"),
        ("log_artifacts", "1 table, 1 figure"),
    ],
)
def test_a_run_whose_entries_are_lost_is_not_marked_as_complete(
    root: Path,
    method: str,
    missing: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import mlflow

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, method, lambda *_, **__: None)
        log_all(root)
    assert capsys.readouterr().err == (
        f"not logged to MLflow: run: {missing}; `make backfill` logs it later\n"
    )
    assert not is_marked(root)
    log_all(root)
    assert is_marked(root)


def test_a_curve_with_a_hole_is_not_marked_as_complete(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    original = mlflow.MlflowClient.log_batch

    def lossy(self: Any, run_id: str, metrics: Any = (), **others: Any) -> None:
        kept = [each for each in metrics if each.step != 1]
        original(self, run_id, metrics=kept, **others)

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "log_batch", lossy)
        log_all(root)
    assert "run: 1 metric;" in capsys.readouterr().err
    assert not is_marked(root)


def test_an_altered_artifact_is_not_marked_as_complete(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_text("folder/a.txt", "text")
        (found,) = runs_of(root)
        (Path(found.info.artifact_uri) / "folder/a.txt").write_text("te")
    assert "run: 1 text;" in capsys.readouterr().err
    assert not is_marked(root)


def test_a_lost_model_is_not_marked_as_complete(
    root: Path, model: Any, pixels: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_model(model, FASHION_MNIST, pixels[:1], step=1)
        shutil.rmtree(root / "mlruns" / TRAINING.name / "models")
    assert "run: 1 model;" in capsys.readouterr().err
    assert not is_marked(root)


def test_values_that_are_not_finite_are_read_back(root: Path) -> None:
    with open_run(root, TRAINING, "run", "k") as run:
        for epoch, value in enumerate((float("nan"), float("inf"), -float("inf"))):
            run.log_metrics({"loss": value}, step=epoch)
    assert is_marked(root)


def test_logging_does_not_happen_in_the_background(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    with open_run(root, TRAINING, "run", "k") as run:
        for epoch in range(20):
            run.log_metrics({"loss": float(epoch)}, step=epoch)
            assert len(points_of(root, run.run_id, "loss")) == epoch + 1
    assert is_marked(root)
    assert client_of(root).get_run(str(run.run_id)).info.status == "FINISHED"


# Interruptions.


LOOP = """
    def main():
        with open_run(root, TRAINING, "run", "k") as run:
            for epoch in range(10_000):
                run.log_metrics({"loss": float(epoch)}, step=epoch)
                if epoch == 3:
                    ready()
                time.sleep(0.02)
    command.run(main)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_marked_killed_at_once(root: Path, number: signal.Signals) -> None:
    process = start(LOOP, root)
    wait_until_ready(process)
    process.send_signal(number)
    before = time.monotonic()
    process.communicate(timeout=10)
    assert time.monotonic() - before < 2
    assert process.returncode == 128 + number
    assert [found.info.status for found in runs_of(root)] == ["KILLED"]


def test_a_run_is_resumed_after_kill_9(root: Path) -> None:
    process = start(LOOP, root)
    wait_until_ready(process)
    process.kill()
    process.communicate()
    (dead,) = runs_of(root)
    assert dead.info.status == "RUNNING"
    with open_run(root, TRAINING, "run", "k") as run:
        for epoch in range(100):
            run.log_metrics({"loss": float(epoch)}, step=epoch)
    (found,) = runs_of(root)
    assert found.info.run_id == dead.info.run_id
    assert found.info.status == "FINISHED"
    logged = [step for step, _ in points_of(root, found.info.run_id, "loss")]
    assert logged == list(range(100))


# Tags.


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    command = ["git", *identity, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_tags_record_stage_commit_machine_and_locks(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("code.py", "dvc.lock"):
        (root / name).write_text("1")
    (root / "dvc.yaml").write_text("stages: {s: {cmd: ''}}")
    git(root, "init", "--quiet")
    git(root, "add", "code.py", "dvc.lock", "dvc.yaml")
    git(root, "commit", "--quiet", "--message", "first")
    monkeypatch.setenv("DVC_STAGE", "train@mlp-original-1")
    (root / "code.py").write_text("2")
    (root / "requirements.lock").write_text("a==1")
    with open_run(root, TRAINING, "run", "k", tags={"seed": 2}):
        pass
    (found,) = runs_of(root)
    tags = found.data.tags
    assert tags["stage"] == "train@mlp-original-1"
    assert tags["git.commit"] == git(root, "rev-parse", "HEAD")
    assert tags["git.dirty"] == "true"
    assert tags["seed"] == "2"
    assert tags["machine.fingerprint"] == machine_facts()["fingerprint"]
    for lock in ("requirements.lock", "dvc.lock"):
        assert tags[lock] == sha256((root / lock).read_bytes()).hexdigest()


def test_a_given_machine_replaces_every_fact_of_this_one(root: Path) -> None:
    with open_run(root, TRAINING, "run", "k", tags={"machine.fingerprint": "unknown"}):
        pass
    (found,) = runs_of(root)
    machine = {name: value for name, value in found.data.tags.items() if "machine." in name}
    assert machine == {"machine.fingerprint": "unknown"}


# Folders.


def test_a_temporary_experiment_logs_to_the_original_project(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (root / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.chdir(copy)
    with open_run(copy, TRAINING, "run", "k") as run:
        run.log_text("a.txt", "a")
    (found,) = runs_of(root)
    assert (Path(found.info.artifact_uri) / "a.txt").is_file()
    assert Path(found.info.artifact_uri).is_relative_to(root)
    assert not list(copy.iterdir())


def test_the_store_of_the_environment_is_used(
    root: Path, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(empty_store, tmp_path / "other"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other / 'mlflow.db'}")
    with open_run(root, TRAINING, "run", "k"):
        pass
    assert len(runs_of(other)) == 1
    assert not runs_of(root)


def test_importing_the_module_does_not_import_mlflow() -> None:
    code = "import sys, sidebyside.tracking.runs; sys.exit('mlflow' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
