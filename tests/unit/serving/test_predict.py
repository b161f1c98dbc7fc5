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
from sidebyside.serving import prediction_report
from sidebyside.serving.out_of_distribution import Distance
from sidebyside.serving.picture import LIGHT, Picture
from sidebyside.serving.predict import best_models, distances, list_files, read_pictures
from sidebyside.serving.prediction_report import (
    Classified,
    Unreadable,
    csv_table,
    likeness,
    picture_table,
    prediction_page,
    probability_table,
)
from tests.support import pictures
from tests.support.datasets import CLASS_NAMES, FASHION_MNIST

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


NEAR, FAR = Distance(0.11, 0.16), Distance(0.5, 0.16)


def classified(file: str, label: int, distance: Distance | None = NEAR) -> Classified:
    probabilities = np.full(10, 0.02, np.float32)
    probabilities[label] = 0.82
    picture = Picture(np.zeros((28, 28), np.uint8), ("trimmed",), np.zeros((20, 30, 3), np.uint8))
    return Classified(file, picture, {"mlp-original-1": probabilities}, distance)


def test_many_pictures_have_a_row_each_on_a_terminal() -> None:
    header, *rows = picture_table(
        [classified("a.png", 0), classified("bb.png", 8, FAR), classified("c.png", 8, None)],
        CLASS_NAMES,
    ).splitlines()
    assert header.split() == ["mlp-original-1", "training", "data"]
    assert [row.split() for row in rows] == [
        ["a.png", "T-shirt/top", "82.0%"],
        ["bb.png", "Bag", "82.0%", "unlike"],
        ["c.png", "Bag", "82.0%"],
    ]


@pytest.mark.parametrize(("distance", "verdict"), [(NEAR, "looks like"), (FAR, "is unlike")])
def test_the_distance_to_the_training_data_is_stated_with_its_limit(
    distance: Distance, verdict: str
) -> None:
    assert likeness(distance) == (
        f"The picture {verdict} the training data: its distance to the nearest training image is"
        f" {distance.value:.3f}, that of 95% of the validation images at most 0.160."
    )


def test_without_the_training_data_a_prediction_needs_no_distance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    assert list(distances(Paths(tmp_path), FASHION_MNIST, images)) == [None, None]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("predict: not compared with the training data: ")
    assert line.endswith("train.npz is missing: run `dvc repro`")


def test_the_table_has_a_row_per_model_and_per_unreadable_file() -> None:
    all_three: list[Classified | Unreadable] = [
        classified("a.png", 8),
        classified("b.png", 8, None),
        Unreadable("x.png", "x.png is damaged"),
    ]
    header, (row, other, unreadable) = csv_table(all_three, CLASS_NAMES)
    assert header[:4] == ["picture", "model", "prediction", "probability"]
    assert header[4:7] == ["distance", "distance_limit", "p(T-shirt/top)"]
    assert row[:3] == ["a.png", "mlp-original-1", "Bag"]
    assert row[3] == row[header.index("p(Bag)")] == pytest.approx(0.82)
    assert (row[4:6], other[4:6]) == ([*NEAR], ["", ""])
    assert unreadable == ["x.png", *(15 * [""]), "x.png is damaged"]
    assert len(header) == len(row) == len(other) == len(unreadable)


def test_the_page_shows_each_picture_beside_its_image_and_escapes_its_name() -> None:
    one = classified("<b>.png", 8)
    page = prediction_page([one, classified("<b>.png", 8, FAR)], CLASS_NAMES)
    assert page.count("<img ") == 2
    assert "<b>" not in page
    assert "&lt;b&gt;.png, and the image made of it" in page
    assert "Preparation: trimmed." in page
    assert page.count(">82.0 %<") == 2
    assert page.count(">unlike<") == 1
    for distance in (NEAR, FAR):
        assert page.count(likeness(distance)) == 1


def test_the_page_names_pictures_below_their_common_folder() -> None:
    files = ["/photos/2026/a.png", "/photos/2026/b/c.png"]
    page = prediction_page([classified(file, 0) for file in files], CLASS_NAMES)
    assert "/photos" not in page
    assert ">a.png<" in page
    assert ">b/c.png<" in page
    assert ">a.png<" in prediction_page([classified(files[0], 0)], CLASS_NAMES)


def test_the_page_shows_a_limited_number_of_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_report, "PICTURES", 2)
    page = prediction_page([classified(f"{n}.png", n) for n in range(3)], CLASS_NAMES)
    assert page.count("<img ") == 2
    assert "The first 2 are shown below." in page
    assert "2.png" in page  # in the table of all pictures


def test_folders_and_patterns_stand_for_their_files_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photos/b.png", "photos/a.jpg", "photos/more/c.gif", "photos/.hidden", "d[1].png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path("photos/Thumbs.db").touch()
    Path("empty").mkdir()
    names = ["photos/a.jpg", "photos/b.png", "photos/more/c.gif"]
    for given, expected in {
        "photos": names,
        "photos/*.jpg": names[:1],
        f"{tmp_path}/photos/*.jpg": [f"{tmp_path}/photos/a.jpg"],
        "d[1].png": ["d[1].png"],
        "missing-*.png": ["missing-*.png"],  # reading it gives the error
    }.items():
        assert list_files([Path(given)]) == [Path(name) for name in expected]
    assert list_files([Path("photos/b.png"), Path("photos")]) == [
        Path(name) for name in (names[1], names[0], names[2])
    ]
    with pytest.raises(UserError, match=r"^empty is a folder without pictures$"):
        list_files([Path("empty")])


def test_a_bad_file_does_not_stop_the_others_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, other = (tmp_path / name for name in ("a.png", "b\x1b.png", "c.png"))
    good.write_bytes(pictures.SAMPLES["PNG"])
    bad.write_bytes(b"shirt")
    other.write_bytes(pictures.SAMPLES["GIF"])
    read, reasons = read_pictures([good, bad, other], FASHION_MNIST)
    assert list(read) == [good, other]
    assert list(reasons) == [bad]
    assert "b\\x1b.png is not a PNG" in reasons[bad]
    assert capsys.readouterr().err == f"predict: error: {reasons[bad]}\n"
    with pytest.raises(UserError, match=r"^none of 2 pictures can be read: see above$"):
        read_pictures([bad, tmp_path / "d.png"], FASHION_MNIST)


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
    first, _, header, *rows, _, _, unlike, _, page, table = done.stdout.splitlines()
    assert first == f"{picture}: light background: inverted"
    assert done.stderr == ""
    assert unlike.startswith("The picture ")
    assert page.endswith(": .state/predict/predictions.html")
    assert table.endswith(": .state/predict/predictions.csv")
    assert (reproduced.root / ".state/predict/predictions.html").stat().st_size > 1000
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
