"""Invalid input is reported in one line and leaves earlier results unchanged."""

import contextlib
import io
import json
import os
import re
import runpy
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
import yaml

from sidebyside.config.parameters import Evaluate
from sidebyside.config.paths import ModelName, Paths
from sidebyside.config.result_files import TrainingScores
from sidebyside.core.errors import UserError
from sidebyside.data.splits import Split

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # before mlflow is imported
from tests.support.datasets import dataset

if TYPE_CHECKING:
    from tests.support.checkout import Checkout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
NAME = "mlp-original-1"


@pytest.fixture(scope="module")
def shared(reproduced: "Checkout", checkout_from: Callable[..., "Checkout"]) -> "Checkout":
    """The copy that `borrowed` lends."""
    return checkout_from(reproduced)


@pytest.fixture
def borrowed(reproduced: "Checkout", shared: "Checkout") -> Iterator["Checkout"]:
    """A checkout whose parameters and results a test may change; they are restored afterwards."""
    yield shared
    changed, expected = shared.results(), reproduced.results()
    for path in changed.keys() - expected.keys():
        (shared.root / path).unlink()
    different = [path for path, digest in expected.items() if changed.get(path) != digest]
    for path in ("params.yaml", *different):
        (shared.root / path).unlink(missing_ok=True)  # DVC may have made it read-only
        shutil.copy2(reproduced.root / path, shared.root / path)


@pytest.fixture
def unrecorded(borrowed: "Checkout") -> "Checkout":
    """A checkout without dvc.lock, so that stages do not see that a file was changed by hand."""
    (borrowed.root / "dvc.lock").unlink()
    return borrowed


def error_line(stderr: str, program: str) -> str:
    """Return the only line that a stage's script prints; DVC may add lines of its own."""
    assert "Traceback" not in stderr, stderr
    lines = [line for line in stderr.splitlines() if line.startswith(f"{program}: ")]
    assert len(lines) == 1, stderr
    return lines[0]


def run_in_process(checkout: "Checkout", script: str, *arguments: str) -> tuple[int, str]:
    """Run a stage's script in this process; return its exit status and standard error.

    Only for scripts that exit before they set up TensorFlow. Saves seconds per process.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    path = str(checkout.root / f"pipeline/{script}.py")
    errors = io.StringIO()
    try:
        with (
            patch.object(sys, "argv", [path, *arguments]),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(errors),
            pytest.raises(SystemExit) as leaving,
        ):
            runpy.run_path(path, run_name="__main__")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert isinstance(leaving.value.code, int)
    return leaving.value.code, errors.getvalue()


def refused(checkout: "Checkout", script: str, *arguments: str) -> str:
    """Run a stage's script in this process, which must fail, and return its error."""
    before = checkout.results()
    status, stderr = run_in_process(checkout, script, *arguments)
    return checked_error(checkout, script, before, status, stderr)


def failed(checkout: "Checkout", script: str, *arguments: str, **options: Any) -> str:
    """Run a stage as a command, which must fail, and return its error."""
    before = checkout.results()
    done = checkout.stage(script, *arguments, fails=True, **options)
    return checked_error(checkout, script, before, done.returncode, done.stderr)


def checked_error(
    checkout: "Checkout", script: str, before: Mapping[str, str], status: int, stderr: str
) -> str:
    assert status == 1
    assert checkout.results() == before
    line = error_line(stderr, script)
    assert stderr.strip() == line
    return line.removeprefix(f"{script}: error: ")


# Raw data


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.chmod(0o644)  # DVC may have made it read-only
    path.write_bytes(change(path.read_bytes()))


def at(position: int, content: bytes) -> Callable[[bytes], bytes]:
    return lambda old: old[:position] + content + old[position + len(content) :]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (IMAGES, lambda old: old[:-100], "313500 bytes of data, but the header announces 313600"),
        (IMAGES, lambda old: old + b"more", "313604 bytes of data, but the header"),
        (TEST_LABELS, lambda old: old[:5], "5 bytes, but an IDX header has 8"),
        (TEST_IMAGES, lambda old: b"", "0 bytes, but an IDX header has 16"),
        (IMAGES, at(0, struct.pack(">I", 0x802)), "magic number is 0x00000802"),
        (LABELS, at(0, b"<!DOCTYPE html>"), "magic number is 0x3c21444f"),
        (IMAGES, at(8, struct.pack(">2I", 56, 14)), "images are 56×14 pixels, expected 28×28"),
        (LABELS, at(8 + 17, b"\x0a"), "label 10 at 17 is outside 0–9"),
        (TEST_LABELS, at(8, b"\xff"), "label 255 at 0 is outside 0–9"),
        (LABELS, lambda old: old[:4] + struct.pack(">I", 399) + old[8:-1], "399 labels"),
    ],
)  # fmt: skip
def test_a_damaged_raw_file_is_refused(
    unrecorded: "Checkout", file: str, change: Callable[[bytes], bytes], message: str
) -> None:
    rewrite(unrecorded.root / "data/raw" / file, change)
    line = refused(unrecorded, "preprocess")
    assert file in line
    assert message in line


def test_swapped_raw_files_are_refused(unrecorded: "Checkout") -> None:
    folder = unrecorded.root / "data/raw"
    images = (folder / IMAGES).read_bytes()
    rewrite(folder / IMAGES, lambda old: (folder / LABELS).read_bytes())
    rewrite(folder / LABELS, lambda old: images)
    assert f"{IMAGES}: magic number is 0x00000801, expected 0x00000803" in refused(
        unrecorded, "preprocess"
    )


def test_test_labels_in_place_of_training_labels_are_refused(unrecorded: "Checkout") -> None:
    folder = unrecorded.root / "data/raw"
    rewrite(folder / LABELS, lambda old: (folder / TEST_LABELS).read_bytes())
    line = refused(unrecorded, "preprocess")
    assert "400 images" in line
    assert "100 labels" in line


def test_damaged_data_fails_the_dvc_stage_and_leaves_its_outputs(own: "Checkout") -> None:
    (own.root / "dvc.lock").unlink()  # or the damage would be seen before the stage reads it
    raw, split = own.root / "data/raw" / LABELS, own.root / "data/processed/val.npz"
    good = {path: path.read_bytes() for path in (raw, split)}
    rewrite(raw, at(8, b"\x0b"))
    before = own.results()
    done = own.run("dvc", "repro", "--single-item", "preprocess", fails=True)
    assert f"{LABELS}: label 11 at 0" in error_line(done.stderr, "preprocess")
    assert "failed to reproduce 'preprocess'" in done.stderr
    assert own.results() == before
    # The advice of the errors cures them.
    assert "label 11 at 0 is outside 0–9, the 10 classes: run `dvc repro download`" in done.stderr
    own.run("dvc", "repro", "download")
    assert raw.read_bytes() == good[raw]
    rewrite(split, lambda old: old[:-100])
    assert refused(own, "train", "mlp", "original", "1").endswith(": run `dvc repro`")
    own.run("dvc", "repro", "preprocess")
    assert split.read_bytes() == good[split]


# params.yaml

BAD_PARAMETERS: Mapping[str, tuple[str, Any, str]] = {
    # problem: key, value, message
    "unknown key": (
        "augment.transforms.sheer", 3, "augment.transforms.sheer: unknown key"),
    "wrong type": (
        "augment.copies", "two",
        "augment.copies: Input should be a valid integer, not 'two'"),
    "fraction out of range": (
        "preprocess.val_fraction", 1.0,
        "preprocess.val_fraction: Input should be less than 1, not 1.0"),
    "class out of range": (
        "augment.classes", [2, 10],
        "augment.classes.0: Input should be a valid string, not 2;"),
    "epochs out of range": (
        "train.budget.cnn.epochs", 0,
        "train.budget.cnn.epochs: Input should be greater than or equal to 1, not 0"),
    "seed 0": ("seed", 0, "seed: Input should be greater than or equal to 1, not 0"),
    "unknown strategy": (
        "tune.search.strategy", "genetic",
        "tune.search.strategy: Input should be 'random', 'bayesian', 'hyperband' or 'grid', not "
        "'genetic'"),
    "unknown hyperparameter": (
        "tune.models.mlp.droput", 0.1, "tune.models.mlp.droput: unknown key"),
    "impossible end of a range": (
        "tune.models.cnn.dropout", {"float": {"min": 0.1, "max": 1.5}},
        "tune.models.cnn.dropout: Input should be less than or equal to 0.9, not 1.5"),
    "unknown range": (
        "tune.models.cnn.dropout", {"chioce": [0.1]},
        "tune.models.cnn.dropout: unknown range chioce: give one of choice, int, float"),
    "words for a number": (
        "evaluate.confidence", "ninety",
        "evaluate.confidence: Input should be a valid number, not 'ninety'"),
    "unknown section": ("trian", {"seeds": [1]}, "trian: unknown key"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_PARAMETERS)
def test_an_invalid_parameter_is_refused_by_the_first_stage(
    borrowed: "Checkout", case: str
) -> None:
    key, value, message = BAD_PARAMETERS[case]
    borrowed.edit({key: value})
    assert refused(borrowed, "download").startswith(f"params.yaml: {message}")


def test_an_invalid_parameter_leaves_all_outputs_of_dvc(own: "Checkout") -> None:
    own.edit({"augment.copies": "two"})
    before = own.results()
    done = own.run("dvc", "repro", fails=True)  # which removes and restores outputs itself
    assert "params.yaml: augment.copies" in error_line(done.stderr, "download")
    assert own.results() == before


@pytest.mark.parametrize(
    "script",
    ["download", "preprocess", "augment", "tune mlp", "train mlp original 1", "evaluate"],
)
def test_every_script_refuses_invalid_parameters(borrowed: "Checkout", script: str) -> None:
    borrowed.edit({"threads": 0})
    line = failed(borrowed, *script.split())
    assert line.startswith("params.yaml: threads: Input should be greater than or equal to 1")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("trian", {"seeds": [1]}, "trian: unknown key"),
        ("train.models", ["mlp", "cn"], "unknown model 'cn': choose from mlp, cnn"),
        ("train.data", ["original", "double"], "train.data.1: Input should be 'original'"),
        ("train.seeds", [1, 1], "seeds must be distinct"),
        ("train.budget.cn", {"epochs": 1, "patience": 1}, "unknown model 'cn'"),
        ("tune.models.cn", {"dropout": 0.1}, "unknown model 'cn'"),
        ("tune.models.mlp.activation", {"choice": ["relu", "rleu"]}, "not 'rleu'"),
        ("tune.models.cnn.learning_rate", "small", "not 'small'"),
        ("augment.transforms.rotation", 400, "less than or equal to 180, not 400"),
        ("augment.transforms", {"rotation": 1}, "augment.transforms.zoom: is missing"),
        ("augment.classes", [], "augment.classes"),
        ("dataset", "fashion", "dataset: unknown data set: choose from digits, fashion-mnist"),
        ("threads", 0, "threads: Input should be greater than or equal to 1, not 0"),
        ("evaluate", None, "evaluate"),
    ],
)
def test_an_error_in_any_section_is_refused(
    borrowed: "Checkout", key: str, value: Any, message: str
) -> None:
    borrowed.edit({key: value})
    line = refused(borrowed, "augment")
    assert line.startswith("params.yaml: ")
    assert message in line


def test_a_model_without_a_search_space_is_named(borrowed: "Checkout") -> None:
    spaces = yaml.safe_load((borrowed.root / "params.yaml").read_text())["tune"]["models"]
    borrowed.edit({"train.models": ["mlp"], "tune.models": {"mlp": spaces["mlp"]}})
    assert refused(borrowed, "tune", "cnn") == "params.yaml: tune.models.cnn is missing"


def test_a_model_without_a_budget_is_named(borrowed: "Checkout") -> None:
    budget = borrowed.parameters()["train"]["budget"]
    borrowed.edit({"train.models": ["mlp"], "train.budget": {"mlp": budget["mlp"]}})
    line = refused(borrowed, "train", "cnn", "original", "1")
    assert line == "params.yaml: train.budget.cnn is missing"


def test_dvc_refuses_an_unknown_model(own: "Checkout") -> None:
    own.edit({"train.models": ["mlp", "cn"]})
    before = own.results()
    done = own.run("dvc", "repro", fails=True)
    assert re.search(r"\bcn\b", done.stderr)
    assert "Traceback" not in done.stderr
    assert own.results() == before


def test_parameters_that_are_not_yaml_are_refused(borrowed: "Checkout") -> None:
    with (borrowed.root / "params.yaml").open("a") as file:
        file.write("train: [\n")
    line = refused(borrowed, "augment")
    assert line.startswith("params.yaml is not valid YAML: ")
    assert "line" in line


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("train", ("cn", "original", "1"), "invalid choice: 'cn' (choose from "),
        ("train", ("mlp", "both", "1"), "invalid choice: 'both'"),
        ("train", ("mlp", "original", "one"), "'one' is not a whole number from 1"),
        ("train", ("mlp", "original", "-5"), "'-5' is not a whole number from 1"),
        ("train", ("mlp", "original", "0"), "'0' is not a whole number from 1"),
        ("tune", ("cn",), "invalid choice: 'cn' (choose from "),
        ("augment", ("twice",), "unrecognized arguments: twice"),
    ],
)
def test_an_invalid_command_line_exits_with_status_2(
    borrowed: "Checkout", script: str, arguments: tuple[str, ...], message: str
) -> None:
    status, stderr = run_in_process(borrowed, script, *arguments)
    assert status == 2
    assert message in stderr


# Files from earlier stages


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": None}, "activation: is missing"),
        ({"dropout": 1.5}, "dropout: Input should be less than or equal to 0.9, not 1.5"),
        ({"optimizer": "adagrad"}, "not 'adagrad'"),
        ({"batch_size": "large"}, "batch_size: Input should be a valid integer, not 'large'"),
        ({"hidden_units": []}, "hidden_units"),
        ({"filters": [8]}, "filters: unknown key"),
    ],
)
def test_invalid_hyperparameters_are_refused(
    unrecorded: "Checkout", change: Mapping[str, Any], message: str
) -> None:
    path = unrecorded.root / "reports/tune/mlp/hyperparameters.json"
    content = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    line = refused(unrecorded, "train", "mlp", "original", "1")
    assert "reports/tune/mlp/hyperparameters.json" in line
    assert message in line


def test_hyperparameters_that_are_not_json_are_refused(unrecorded: "Checkout") -> None:
    (unrecorded.root / "reports/tune/mlp/hyperparameters.json").write_text("{")
    line = refused(unrecorded, "train", "mlp", "original", "1")
    assert "reports/tune/mlp/hyperparameters.json is not valid JSON" in line


@pytest.mark.parametrize(
    ("script", "file"),
    [
        ("preprocess", f"data/raw/{LABELS}"),
        ("augment", "data/processed/train.npz"),
        ("tune mlp", "data/processed/val.npz"),
        ("train mlp original 1", "reports/tune/mlp/hyperparameters.json"),
        ("train mlp original 1", "data/original/train.npz"),
        ("train mlp augmented 1", "data/augmented/train.npz"),
        ("train mlp original 1", "data/processed/val.npz"),
        ("evaluate", "data/processed/test.npz"),
        ("evaluate", f"models/{NAME}.keras"),
        ("evaluate", f"reports/train/{NAME}/history.csv"),
        ("evaluate", f"reports/train/{NAME}/metrics.json"),
        ("evaluate", "reports/tune/mlp/trials.csv"),
        ("evaluate", "reports/preprocess/classes.csv"),
    ],
)
def test_a_missing_input_is_named(unrecorded: "Checkout", script: str, file: str) -> None:
    (unrecorded.root / file).unlink()
    line = refused(unrecorded, *script.split())
    assert f"{file} is missing" in line


@pytest.mark.parametrize(
    ("script", "file"),
    [
        ("augment", "data/processed/train.npz"),
        ("train mlp original 1", "data/processed/val.npz"),
        ("evaluate", f"models/{NAME}.keras"),
    ],
)
def test_a_truncated_input_is_named(unrecorded: "Checkout", script: str, file: str) -> None:
    rewrite(unrecorded.root / file, lambda old: old[: len(old) // 2])
    assert file in refused(unrecorded, *script.split())


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (f"reports/train/{NAME}/history.csv", lambda old: old[:40], "history.csv has no column"),
        (f"reports/train/{NAME}/history.csv", lambda old: old.replace(b"0.", b"nan,"), "cells"),
        (f"reports/train/{NAME}/metrics.json", lambda old: b"{}", "val_accuracy: is missing"),
        (f"reports/train/{NAME}/model.json", lambda old: b"[]", "model.json: "),
        ("reports/tune/mlp/trials.csv", lambda old: b"\xff", "trials.csv is not a valid CSV file"),
        ("reports/preprocess/classes.csv", lambda old: old[:30], "classes.csv"),
        ("reports/augment/summary.json", lambda old: b'{"classes": {}}', "expected T-shirt/top"),
        ("reports/tune/mlp/hyperparameters.json", lambda old: b"{}", "dropout: is missing"),
    ],
)  # fmt: skip
def test_a_damaged_file_of_an_earlier_stage_is_named(
    unrecorded: "Checkout", file: str, change: Callable[[bytes], bytes], message: str
) -> None:
    rewrite(unrecorded.root / file, change)
    line = refused(unrecorded, "evaluate")
    assert file in line
    assert message in line


def test_a_model_in_place_of_another_is_refused(unrecorded: "Checkout") -> None:
    other = (unrecorded.root / "models/mlp-augmented-1.keras").read_bytes()
    rewrite(unrecorded.root / f"models/{NAME}.keras", lambda old: other)
    line = refused(unrecorded, "evaluate")
    assert f"{NAME}.keras is not the model that reports/train/{NAME} describes" in line
    assert f"dvc repro --force --single-item train@{NAME}" in line


def test_a_model_of_other_data_is_refused(unrecorded: "Checkout") -> None:
    record = Paths(unrecorded.root).dataset
    content = json.loads(record.read_text())
    content["splits"]["val"]["sha256"] = "ab" * 32
    record.write_text(json.dumps(content))
    line = refused(unrecorded, "evaluate")
    assert f"reports/train/{NAME}/model.json: these results come from other data" in line


def test_a_model_that_does_not_return_probabilities_is_named(
    tmp_path: Path, splits: Mapping[str, Split]
) -> None:
    import keras

    from pipeline.evaluate import evaluate
    from sidebyside.models.saving import save_model

    paths, name = Paths(tmp_path), ModelName("mlp", "original", 1)
    # Its outputs for a black image, which are checked on loading, are probabilities.
    dense = keras.layers.Dense(10, bias_initializer=keras.initializers.Constant(0.1))
    layers = [keras.Input((28, 28), dtype="uint8"), keras.layers.Flatten(), dense]
    save_model(paths.model(name), keras.Sequential(layers))
    settings = Evaluate(bootstrap_samples=100, confidence=0.95, calibration_bins=5)
    trained = TrainingScores(val_accuracy=0.9, val_loss=0.3, best_epoch=1, epochs=1)
    with pytest.raises(UserError, match=rf"/{NAME}\.keras: ") as caught:
        evaluate(paths, settings, name, trained, splits["val"], splits["test"], dataset(), [])
    assert "\n" not in str(caught.value)


def test_classes_that_the_data_set_lacks_cannot_be_augmented(unrecorded: "Checkout") -> None:
    unrecorded.edit({"augment.classes": ["Hat"]})
    assert "augment.classes: Fashion-MNIST has no class 'Hat'" in refused(unrecorded, "augment")


def test_a_folder_in_place_of_a_result_leaves_all_results_unchanged(own: "Checkout") -> None:
    path = own.root / "reports/augment/summary.json"
    path.unlink()
    path.mkdir()
    own.edit({"augment.copies": 2})
    line = refused(own, "augment")
    assert "summary.json" in line
    assert "Is a directory" in line


# A full disk


@pytest.mark.parametrize("script", ["preprocess", "augment"])
def test_a_file_beyond_the_size_limit_leaves_the_old_file(own: "Checkout", script: str) -> None:
    own.edit({"preprocess.val_fraction": 0.4, "augment.copies": 2})
    line = failed(own, script, file_size=2)
    assert "File too large" in line
    assert ".npz" in line


def test_a_model_that_cannot_be_written_leaves_the_old_model(own: "Checkout") -> None:
    own.edit({"train.budget.mlp.epochs": 3})
    before = own.results()
    done = own.stage("train", "mlp", "original", "1", fails=True,
                     file_size=40)  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("train: error: ")]
    assert "File too large" in line
    assert own.results() == before


def on_a_small_disk(
    checkout: "Checkout", folder: str, kilobytes: int, command: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command in a mount namespace in which a folder is on a small disk."""
    script = (
        f"set -e; mkdir -p {folder}; cp -a {folder} .kept;"
        f" mount -t tmpfs -o size={kilobytes}k tmpfs {folder}; cp -a .kept/. {folder}/;"
        f" status=0; PYTHONPATH=src {command} || status=$?;"
        f" rm -rf .after; cp -a {folder} .after; exit $status"
    )
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return checkout.run("unshare", "--mount", *user, "sh", "-c", script, fails=True, forked=False)


def can_mount() -> bool:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    with contextlib.suppress(OSError):
        done = subprocess.run(
            ["unshare", "--mount", *user, "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0
    return False


needs_mount = pytest.mark.skipif(not can_mount(), reason="no permission to mount a small disk")


@needs_mount
@pytest.mark.parametrize(
    ("folder", "script"), [("data/processed", "preprocess"), (".state", "train mlp original 1")]
)
def test_a_full_disk_is_named_and_leaves_the_old_files(
    own: "Checkout", folder: str, script: str
) -> None:
    own.edit({"train.budget.mlp.epochs": 3, "preprocess.val_fraction": 0.4})
    before = own.results()
    path = own.root / folder
    used = sum(-(-file.stat().st_size // 4096) * 4 for file in path.rglob("*") if file.is_file())
    program, *arguments = script.split()
    command = f"python pipeline/{program}.py {' '.join(arguments)}"
    done = on_a_small_disk(own, folder, used + 8, command)
    assert done.returncode == 1
    line = error_line(done.stderr, program)
    assert "No space left on device: free some space" in line
    assert folder in line
    # Also compare the final content of the small disk.
    assert own.results() == before
    kept = {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    after = {
        file.name: file.read_bytes()
        for file in (own.root / ".after").rglob("*")
        if file.is_file() and file.name != "lock"
    }
    assert kept == after or folder == ".state"


# A tracking server


def test_an_unsupported_tracking_address_is_refused(borrowed: "Checkout") -> None:
    address = {"MLFLOW_TRACKING_URI": "ftp://example.com"}
    line = failed(borrowed, "train", "mlp", "original", "1", environment=address)
    assert "MLFLOW_TRACKING_URI=ftp://example.com" in line


# Ctrl-C and kill


def interrupt(
    checkout: "Checkout", command: tuple[str, ...], pattern: str, number: signal.Signals
) -> tuple[int, float, str]:
    """Start a stage, send it a signal at a line of its output; return status, seconds, stderr."""
    process = checkout.start_stage(*command)
    assert process.stdout
    while line := process.stdout.readline():
        if re.search(pattern, line):
            break
    else:
        pytest.fail(f"no line {pattern}: {checkout.finish(process, fails=True).stderr}")
    sent = time.monotonic()
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    return process.returncode, time.monotonic() - sent, stderr


def statuses(checkout: "Checkout", name: str) -> list[str]:
    import mlflow

    with contextlib.chdir(checkout.root):
        client = mlflow.MlflowClient(f"sqlite:///{checkout.root}/mlflow.db")
        found = client.search_runs(
            [each.experiment_id for each in client.search_experiments()],
            f"attributes.run_name = '{name}'",
        )
    return [run.info.status for run in found]


# All stages handle signals with the same code, so one stage is tested with each signal.


def test_an_interrupted_training_resumes_to_the_same_result(
    reproduced: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    reference, stopped = checkout_from(reproduced), checkout_from(reproduced)
    for checkout in (reference, stopped):
        checkout.edit({"train.budget.mlp": {"epochs": 25, "patience": 25}})
    before = stopped.results()
    stage = ("train", "mlp", "original", "3")
    whole = reference.start_stage(*stage)
    code, seconds, stderr = interrupt(stopped, stage, r"epoch 2/", signal.SIGINT)
    assert code == 130
    assert stderr.strip() == "train: interrupted; run the same command again to resume"
    assert seconds < 3
    assert statuses(stopped, "mlp-original-3") == ["KILLED"]
    assert stopped.results() == before
    assert "epoch 1/" not in stopped.stage(*stage).stdout
    reference.finish(whole)
    assert stopped.results() == reference.results()
    assert statuses(stopped, "mlp-original-3") == ["FINISHED"]


def test_a_terminated_search_resumes_to_the_same_result(own: "Checkout") -> None:
    before = own.results()
    own.forget_runs()
    code, seconds, stderr = interrupt(own, ("tune", "mlp"), r"trial 1/2", signal.SIGTERM)
    assert code == 143
    assert stderr.strip() == "tune: terminated; run the same command again to resume"
    assert seconds < 3
    assert statuses(own, "search-mlp") == ["KILLED"]
    assert own.results() == before
    own.stage("tune", "mlp")
    assert own.results() == before
    for name in ("search-mlp", "mlp-trial-1", "mlp-trial-2"):
        assert statuses(own, name) == ["FINISHED"]
