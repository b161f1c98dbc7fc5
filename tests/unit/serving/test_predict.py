import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from sidebyside.config.dataset import read_dataset
from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import ModelName, Paths
from sidebyside.core.errors import UserError
from sidebyside.data.npz import read_split
from sidebyside.evaluation.predictions import read_predictions
from sidebyside.serving.picture import LIGHT
from sidebyside.serving.predict import best_models, probability_table
from tests.support.datasets import CLASS_NAMES

if TYPE_CHECKING:
    from tests.support.checkout import Checkout

PROJECT = Paths(Path(__file__).resolve().parents[3])


def test_the_most_probable_class_over_all_models_comes_first() -> None:
    mlp, cnn = np.full(10, 0.05, np.float32), np.full(10, 0.02, np.float32)
    mlp[3], mlp[6], cnn[6] = 0.35, 0.3, 0.82
    header, first, *_, last = probability_table(
        {"mlp-original-1": mlp, "cnn-augmented-1": cnn}, CLASS_NAMES
    ).splitlines()
    assert header.split() == ["mlp-original-1", "cnn-augmented-1"]
    assert first.split() == ["Shirt", "30.0%", "██████", "82.0%", "█" * 16]
    assert last.split() == ["prediction", "Dress", "Shirt"]


@pytest.mark.parametrize(("models", "bar"), [(1, 20), (2, 20), (4, 10), (7, 5)])
def test_the_bars_of_all_models_have_room_beside_each_other(models: int, bar: int) -> None:
    certain = {f"model_{number}-original-1": np.eye(2)[0] for number in range(models)}
    first = probability_table(certain, ["yes", "no"]).splitlines()[1]
    assert first.split() == ["yes", *(["100.0%", "█" * bar] * models)]


@pytest.mark.parametrize(("classes", "rows"), [(2, 2), (11, 11), (12, 11), (200, 11)])
def test_the_table_is_short_for_any_number_of_classes(classes: int, rows: int) -> None:
    probabilities = np.arange(classes, dtype=np.float32)
    probabilities /= probabilities.sum()
    names = [f"class {label}" for label in range(classes)]
    lines = probability_table({"cnn-original-1": probabilities}, names).splitlines()
    assert len(lines) == rows + 2
    assert lines[1].startswith(f"class {classes - 1} ")
    if classes > rows:
        rest = probabilities[: classes - 10].sum()
        assert lines[-2].split()[:3] == [f"{classes - 10}", "others", f"{rest:.1%}"]
    assert lines[-1].split() == ["prediction", "class", f"{classes - 1}"]


def test_class_names_of_any_script_are_escaped_shortened_and_aligned() -> None:
    names = ("\u732b", "a\x1b[2J\nb", "n" * 200, "\u202ecat", "e\u0301t\u00e9")
    probabilities = np.array([0.4, 0.3, 0.1, 0.1, 0.1], np.float32)
    _, *lines, _ = probability_table({"mlp-original-1": probabilities}, names).splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        *("\u732b", r"a\x1b[2J\nb", "n" * 29 + "\u2026", r"\u202ecat", names[4]),
    ]
    # The first name is one character of two columns, the last has one without a column.
    assert [line.index("%") for line in lines] == [
        lines[1].index("%") + shift for shift in (-1, 0, 0, 0, 1)
    ]


def test_the_model_with_the_best_validation_accuracy_represents_its_architecture(
    tmp_path: Path,
) -> None:
    scores = {
        "mlp-original": 0.91,
        "mlp-augmented": 0.9,
        "cnn-original": 0.93,
        "cnn-augmented": 0.94,
    }
    for name, score in scores.items():
        content = {"val_accuracy": score, "val_loss": 0.3, "best_epoch": 1, "epochs": 1}
        path = tmp_path / "reports/train" / f"{name}-1" / "metrics.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))
    trained = read_parameters(PROJECT.params).train
    assert best_models(Paths(tmp_path), trained) == [
        ModelName("mlp", "original", 1),
        ModelName("cnn", "augmented", 1),
    ]
    shutil.rmtree(tmp_path / "reports/train/cnn-original-1")
    with pytest.raises(UserError, match=r"cnn-original-1/metrics\.json is missing"):
        best_models(Paths(tmp_path), trained)


@pytest.mark.parametrize("name", ["`touch pwned`", "$(touch pwned)", '"; touch pwned; "', "a$b"])
def test_a_file_name_is_not_executed_as_a_command(tmp_path: Path, name: str) -> None:
    (tmp_path / "Makefile").write_text((PROJECT.root / "Makefile").read_text())
    arguments = tmp_path / "arguments"
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {arguments}\n')
    python.chmod(0o755)
    (tmp_path / ".venv/installed").touch()
    line = ["make", "--assume-old", ".venv/installed", "predict", f"IMAGE={name}"]
    subprocess.run(line, cwd=tmp_path, check=True, capture_output=True)
    assert arguments.read_text().splitlines() == ["-m", "sidebyside.serving.predict", "--", name]
    assert not (tmp_path / "pwned").exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_test_image_saved_as_a_picture_gets_the_recorded_probabilities(
    reproduced: "Checkout", tmp_path: Path
) -> None:
    paths = Paths(reproduced.root)
    picture = tmp_path / "a picture.png"
    images = read_split(paths.split("test"), read_dataset(paths.dataset)).images
    edges = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], 1)
    index = int(np.argmax(np.median(edges, 1) < LIGHT))  # the first one on a dark background
    Image.fromarray(255 - images[index]).save(picture)
    done = reproduced.run(
        *("python", "-m", "sidebyside.serving.predict", str(picture)),
        environment={
            "PYTHONPATH": "src",
            "PYTHONIOENCODING": "latin-1",
        },  # no █
    )
    first, _, header, *rows, _ = done.stdout.splitlines()
    assert first == f"{picture}: light background: inverted"
    assert done.stderr == ""
    for column, name in enumerate(header.split()):
        model, data, seed = name.split("-")
        expected = read_predictions(paths.predictions(ModelName(model, data, int(seed))), 10)
        for label, class_name in enumerate(CLASS_NAMES):
            (row,) = (row for row in rows if row.startswith(class_name))
            shown = [float(cell[:-1]) for cell in row.split() if cell.endswith("%")][column]
            assert shown == pytest.approx(100 * expected.probabilities[index, label], abs=0.06)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_unreadable_file_is_reported_in_one_line(reproduced: "Checkout", tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("not an image")
    for file, message in (("x.png", "is not a PNG"), ("y.png", "is missing")):
        done = reproduced.run(
            *("python", "-m", "sidebyside.serving.predict", str(tmp_path / file)),
            environment={"PYTHONPATH": "src"},
            fails=True,
        )
        assert done.returncode == 1
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
