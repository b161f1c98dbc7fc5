"""The user's own pictures: all stages, from a folder of JPEGs to the report and a prediction."""

import csv
import json
from collections.abc import Callable

import pytest

from tests.support.checkout import Checkout
from tests.support.pictures import PHOTOS, write_photos

DATASET = {
    "name": "photos",
    "title": "Photos",
    "format": "pictures",
    "path": "data/local/photos",
    "size": [24, 32],
    "channels": 3,
    "resize": "crop",
}


@pytest.fixture(scope="module")
def checkout(checkout_from: Callable[..., Checkout]) -> Checkout:
    """A checkout in which the pipeline has run on a folder of photographs."""
    made = checkout_from()
    write_photos(made.root / "data/local/photos")
    made.edit({"dataset": DATASET, "train.data": ["original", "augmented"]})
    made.run("dvc", "repro")
    return made


def test_every_stage_takes_shape_and_classes_from_the_pictures(checkout: Checkout) -> None:
    record = json.loads((checkout.root / "data/processed/dataset.json").read_text())
    assert (record["height"], record["width"], record["channels"]) == (24, 32, 3)
    assert record["class_names"] == sorted(PHOTOS)
    assert record["preparation"] == "crop"
    with (checkout.root / "reports/preprocess/classes.csv").open(newline="") as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    for name, pictures in PHOTOS.items():
        counts = [int(rows[name][split]) for split in ("train", "val", "test")]
        assert sum(counts) == pictures
        assert min(counts) >= 1
    for name in ("mlp-original", "cnn-augmented"):
        metrics = json.loads((checkout.root / "reports/evaluate/metrics.json").read_text())
        assert 0 <= metrics[name]["test"]["accuracy"] <= 1


def test_the_reports_name_the_data_set_and_its_classes(checkout: Checkout) -> None:
    data = (checkout.root / "reports/preprocess/report.md").read_text()
    assert data.startswith("# Photos: the data\n")
    assert "| JPEG | RGB | no | 80 | " in data
    report = (checkout.root / "reports/evaluate/report.md").read_text()
    assert report.startswith("# Photos: ")
    assert "лес" in report
    for text in (data, report):
        assert "Fashion" not in text
        assert "cloth" not in text


def test_a_picture_of_the_user_is_classified(checkout: Checkout) -> None:
    picture = "data/local/photos/red/photo 1.jpg"
    done = checkout.run(
        "python", "-m", "sidebyside.serving.predict", "--", picture,
        environment={"PYTHONPATH": "src"},
    )  # fmt: skip
    assert "cropped to 32×24 pixels" in done.stdout
    assert "лес" in done.stdout


def test_a_changed_picture_reruns_what_follows_from_it(checkout: Checkout) -> None:
    assert "didn't change, skipping" in checkout.run("dvc", "repro", "preprocess").stdout
    bad = checkout.root / "data/local/photos/red/x.jpg"
    before = checkout.results()
    bad.write_bytes(b"x")
    done = checkout.run("dvc", "repro", "preprocess", fails=True)
    assert "data/local/photos/red/x.jpg is not a PNG, JPEG" in done.stderr
    assert "Traceback" not in done.stderr
    after = checkout.results()
    changed = {name for name in before if before[name] != after.get(name)} - {"dvc.lock"}
    assert not changed
    checkout.edit({"dataset.unreadable": "skip"})
    checkout.run("dvc", "repro", "preprocess")
    skipped = (checkout.root / "reports/preprocess/unreadable.csv").read_text()
    assert "red/x.jpg" in skipped
    bad.unlink()
