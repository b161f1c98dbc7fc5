from pathlib import Path

from sidebyside.config.paths import ModelName, Paths
from sidebyside.core.files import write_text
from sidebyside.evaluation.dropped_models import remove_dropped_models

KEPT = [ModelName("mlp", "original", 1)]


def write(root: Path, *names: str) -> None:
    for name in names:
        write_text(root / name, name)


def left(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def outputs(name: str) -> list[str]:
    files = ("history.csv", "metrics.json", "model.json")
    return [f"models/{name}.keras", *(f"reports/train/{name}/{file}" for file in files)]


def search(model: str) -> list[str]:
    return [
        f"reports/tune/{model}/{file}"
        for file in ("hyperparameters.json", "search.json", "trials.csv")
    ]


def test_files_of_dropped_models_are_removed_and_named(tmp_path: Path) -> None:
    write(tmp_path, *outputs("mlp-original-1"), *search("mlp"))
    kept = left(tmp_path)
    for name in ("mlp-augmented-1", "mlp-original-2", "cnn-original-1"):
        write(tmp_path, *outputs(name))
    write(tmp_path, *search("cnn"))
    assert remove_dropped_models(Paths(tmp_path), KEPT) == [
        "models/cnn-original-1.keras",
        "models/mlp-augmented-1.keras",
        "models/mlp-original-2.keras",
        "reports/tune/cnn",
        "reports/train/cnn-original-1",
        "reports/train/mlp-augmented-1",
        "reports/train/mlp-original-2",
    ]
    assert left(tmp_path) == kept
    assert not (tmp_path / "reports/tune/cnn").exists()


def test_nothing_is_removed_if_every_model_is_named(tmp_path: Path) -> None:
    write(tmp_path, *outputs("mlp-original-1"), *search("mlp"))
    assert remove_dropped_models(Paths(tmp_path), KEPT) == []
    assert left(tmp_path) == {*outputs("mlp-original-1"), *search("mlp")}


def test_files_that_no_stage_writes_are_kept(tmp_path: Path) -> None:
    mine = {"models/my best.keras", "models/notes.md", "reports/train/notes/why.md"}
    mine.add("reports/tune/cnn/notes.md")
    write(tmp_path, *mine, *search("cnn"))
    assert remove_dropped_models(Paths(tmp_path), KEPT) == ["reports/tune/cnn"]
    assert left(tmp_path) == mine


def test_missing_folders_are_empty(tmp_path: Path) -> None:
    assert remove_dropped_models(Paths(tmp_path), KEPT) == []
