"""DVC: the stages that a change affects, metrics, plots, experiments and interrupted runs."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import sidebyside
from sidebyside.core.files import md5, read_json, write_json
from tests.support.checkout import Checkout
from tests.support.dvc_project import change
from tests.support.pipeline import (
    DATA,
    KEYS,
    MODELS,
    NAMES,
    STAGES,
    TRAINING,
    by_name,
    read_rows,
    runs,
    stages_run,
    store,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def ancestors(checkout: Checkout) -> dict[str, set[str]]:
    """Return stage → the stages on which it depends, directly or through other stages."""
    graph = checkout.run("dvc", "dag", "--dot").stdout
    edges = re.findall(r'"(.+?)" -> "(.+?)";', graph)

    def above(stage: str) -> set[str]:
        direct = {first for first, second in edges if second == stage}
        return direct.union(*map(above, direct))

    return {stage: above(stage) for _, stage in edges}


def test_a_second_repro_runs_no_stage(reproduced: Checkout) -> None:
    output = reproduced.run("dvc", "repro").stdout
    assert stages_run(output) == []
    assert "up to date" in output


def test_another_seed_gives_another_model(own: Checkout) -> None:
    own.stage("train", "mlp", "original", "2")
    first, second = (
        read_json(own.root / f"reports/train/mlp-original-{seed}/model.json") for seed in (1, 2)
    )
    assert first["settings"] == second["settings"]
    assert first["weights_sha256"] != second["weights_sha256"]


def test_a_cnn_hyperparameter_changes_no_mlp_stage(own: Checkout) -> None:
    own.edit({"tune.models.cnn.dropout": 0.25, "train.budget.cnn.epochs": 3})
    run = stages_run(own.run("dvc", "repro", "--dry").stdout)
    assert {"tune@cnn", "train@cnn-original-1", "train@cnn-augmented-1"} <= set(run)
    assert not [stage for stage in run if "mlp" in stage or stage in ("preprocess", "augment")]
    # A dry run does not decide about later stages, so check the graph too.
    above = ancestors(own)
    for name in ("mlp-original-1", "mlp-augmented-1"):
        assert "tune@mlp" in above[f"train@{name}"]
        assert "tune@cnn" not in above[f"train@{name}"]


def test_augmentation_changes_no_training_on_original_data(own: Checkout) -> None:
    own.edit({"augment.copies": 2})
    assert stages_run(own.run("dvc", "repro", "--dry").stdout)[:2] == ["download", "augment"]
    above = ancestors(own)
    for name in NAMES:
        assert ("augment" in above[f"train@{name}"]) == ("augmented" in name)
    for model in MODELS:
        assert "augment" not in above[f"tune@{model}"]


def test_only_stages_that_read_a_changed_part_of_the_description_are_outdated(
    own: Checkout,
) -> None:
    path = own.root / "data/processed/dataset.json"
    record = read_json(path)

    def outdated(changes: Mapping[str, Any]) -> set[str]:
        path.unlink()
        write_json(path, {**record, **changes})
        return set(json.loads(own.run("dvc", "status", "--json").stdout))

    assert outdated({"licence": "CC0", "title": "Clothes"}) == {"preprocess", "evaluate"}
    assert outdated({"mirror": False}) == set(STAGES) - {"download"}
    train = ("dvc", "repro", "--single-item", "train@mlp-original-1")
    error = own.run(*train, fails=True).stderr
    assert "train: error: data/processed/dataset.json is not as dvc.lock records it" in error
    assert outdated({}) == set()


def test_dvc_shows_the_validation_accuracy_of_every_model(committed: Checkout) -> None:
    shown = json.loads(committed.run("dvc", "metrics", "show", "--json").stdout)
    (files,) = [content["data"] for content in shown.values()]
    (scores,) = [content["data"] for content in files.values()]
    assert list(scores) == KEYS
    assert all(isinstance(score, float) for score in scores.values())


def test_dvc_shows_the_graph(committed: Checkout) -> None:
    graph = committed.run("dvc", "dag", "--mermaid").stdout
    assert all(f"train@{name}" in graph for name in NAMES)


def test_dvc_shows_what_changed_in_the_parameters(committed: Checkout) -> None:
    before = (committed.root / "params.yaml").read_bytes()
    try:
        committed.edit({"train.budget.cnn.epochs": 7})
        difference = committed.run("dvc", "params", "diff").stdout
    finally:
        (committed.root / "params.yaml").write_bytes(before)
    assert re.search(r"params.yaml\s+train.budget.cnn.epochs\s+2\s+7", difference)


def test_dvc_plots_every_model_without_a_network(committed: Checkout) -> None:
    committed.run("dvc", "plots", "show", "--out", "dvc_plots")
    html = (committed.root / "dvc_plots/index.html").read_text(encoding="utf-8")
    assert all(f'"{key}"' in html for key in KEYS)
    assert "vegaEmbed" in html
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", html)


def test_an_experiment_in_a_temporary_folder_logs_to_the_projects_store(
    experiment: Checkout,
) -> None:
    found = by_name(experiment, TRAINING)
    assert set(found) == {*NAMES, "comparison", "comparison (probe)"}  # no model is trained again
    newest = found["comparison (probe)"]
    assert newest.data.tags["dvc.experiment"] == "probe"
    assert newest.data.params["bootstrap_samples"] == "300"
    assert not list((experiment.root / ".dvc/tmp/exps").rglob("mlflow.db"))
    with store(experiment) as client:
        logged = {file.path for file in client.list_artifacts(newest.info.run_id)}
    assert {"accuracy.png", "report.html"} <= logged


def test_an_experiment_leaves_the_workspace_unchanged(experiment: Checkout) -> None:
    assert experiment.run("git", "status", "--porcelain").stdout == ""


def test_the_table_of_experiments_fits_a_terminal(experiment: Checkout) -> None:
    *_, command = experiment.run(
        "make", "--no-print-directory", "--dry-run", "experiments"
    ).stdout.split("\ndvc ")
    table = experiment.run("sh", "-c", f"dvc {command}", environment={"COLUMNS": "120"}).stdout
    (titles,) = [line for line in table.splitlines() if "Experiment" in line]
    assert [titles.split()[0], *sorted(titles.split()[1:])] == [
        "Experiment", *sorted([*KEYS, "evaluate.bootstrap_samples"])
    ]  # fmt: skip
    assert "[probe]" in table
    assert "test" not in table


def test_a_repeated_stage_gives_the_same_bytes_and_one_run(own: Checkout) -> None:
    results, names = own.results(), set(by_name(own, TRAINING))
    lines = own.run("dvc", "repro", "--force", "--single-item", "train@mlp-original-1").stdout
    assert stages_run(lines) == ["train@mlp-original-1"]
    assert own.results() == results
    assert set(by_name(own, TRAINING)) == names


def test_two_reproductions_at_the_same_time_do_not_conflict(own: Checkout) -> None:
    own.edit({"train.budget.mlp": {"epochs": 3, "patience": 3}})
    command = ("dvc", "repro", "train@mlp-original-1")
    processes = [own.start(*command) for _ in range(2)]
    errors = [process.communicate()[1] for process in processes]
    statuses = [process.returncode for process in processes]
    assert 0 in statuses
    for status, error in zip(statuses, errors, strict=True):
        if status:  # refused
            assert re.search("Unable to acquire lock|is busy|is already running", error)
    assert stages_run(own.run(*command).stdout) == []
    assert len(read_rows(own.root / "reports/train/mlp-original-1/history.csv")) == 3
    found = [run for run in runs(own, TRAINING) if run.data.params.get("epochs") == "3"]
    assert [run.info.status for run in found] == ["FINISHED"]


def test_a_training_not_recorded_by_dvc_is_not_repeated(own: Checkout) -> None:
    own.edit({"train.budget.mlp": {"epochs": 3, "patience": 3}})
    own.stage("train", "mlp", "original", "1")  # as if DVC had been killed right afterwards
    model = (own.root / "models/mlp-original-1.keras").read_bytes()
    command = ("dvc", "repro", "--single-item", "train@mlp-original-1")
    done = own.run(*command)
    assert "mlp-original-1: already done, but not recorded by DVC" in done.stdout
    assert "epoch 1/3" not in done.stdout
    assert (own.root / "models/mlp-original-1.keras").read_bytes() == model


def test_a_stage_edited_while_it_runs_is_not_recorded(own: Checkout) -> None:
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


def test_an_edit_of_code_that_decides_no_bytes_leaves_every_stage_up_to_date(
    own: Checkout,
) -> None:
    def edit(package: str) -> None:
        for module in (own.root / "src/sidebyside" / package).glob("*.py"):
            with module.open("a") as file:
                file.write("# edited\n")

    for package in sidebyside.DECIDES_NO_BYTES:
        edit(package)
    assert own.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."
    edit("reporting")
    changed = own.run("dvc", "status").stdout
    assert {line[:-1] for line in changed.splitlines() if re.match(r"\w", line)} == {
        "preprocess",
        "augment",
        "evaluate",
    }


def test_a_damaged_input_that_dvc_takes_for_intact_is_not_trained_on(own: Checkout) -> None:
    data = own.root / "data/processed/val.npz"
    digest = md5(data)
    damaged = own.root / f".dvc/cache/files/md5/{digest[:2]}/{digest[2:]}"
    change(damaged, protected=True)
    data.unlink()
    own.run("dvc", "checkout", str(data))
    assert own.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."
    own.edit({"train.budget.mlp": {"epochs": 3, "patience": 3}})
    model = own.root / "models/mlp-original-1.keras"
    before, train = md5(model), ("dvc", "repro", "train@mlp-original-1")
    error = own.run(*train, fails=True).stderr
    assert "train: error: data/processed/val.npz is not as dvc.lock records it" in error
    assert md5(model) == before
    own.run("sh", "-c", re.findall("`(rm .*?)`", error)[0])
    assert stages_run(own.run(*train).stdout) == ["preprocess", "train@mlp-original-1"]
    assert md5(data) == digest


def test_a_model_changed_behind_dvc_is_neither_evaluated_nor_used(
    own: Checkout, tmp_path: Path
) -> None:
    for path in ("models/{}.keras", "reports/train/{}/model.json"):  # they agree with each other
        first, second = (own.root / path.format(f"cnn-{kind}-1") for kind in DATA)
        contents = first.read_bytes(), second.read_bytes()
        for file, content in zip((second, first), contents, strict=True):
            file.unlink()
            file.write_bytes(content)
    picture = tmp_path / "picture.png"
    image = Image.new("L", (28, 28))
    image.paste(255, (8, 8, 20, 20))
    image.save(picture)
    for done in (
        own.stage("evaluate", fails=True),
        own.run(
            *("python", "-m", "sidebyside.serving.predict", str(picture)),
            environment={"PYTHONPATH": "src"},
            fails=True,
        ),
    ):
        assert re.search(r"models/cnn-\w+-1.keras is not as dvc.lock records it", done.stderr)


def test_a_model_changed_by_hand_is_trained_again_with_a_note_on_how_to_restore_it(
    own: Checkout,
) -> None:
    model = own.root / "models/mlp-original-1.keras"
    before = md5(model)
    change(model)
    output = own.run("dvc", "repro").stdout
    assert (
        "note: models/mlp-original-1.keras is not as dvc.lock records it:"
        " `dvc checkout --force models/mlp-original-1.keras` restores it\n"
    ) in output
    assert stages_run(output) == ["train@mlp-original-1"]
    assert md5(model) == before
