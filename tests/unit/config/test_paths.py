from pathlib import Path

import pytest
import yaml

from sidebyside.config.paths import ModelName, Paths

CHECKOUT = Path(__file__).parents[3]
NAME = ModelName("mlp", "augmented", 3)
PATHS = Paths(Path("/a folder"))


def test_a_models_name_says_architecture_data_and_seed() -> None:
    assert str(NAME) == "mlp-augmented-3"


@pytest.mark.parametrize(
    "path",
    [
        PATHS.params,
        PATHS.raw,
        PATHS.split("val"),
        PATHS.training_data("original"),
        PATHS.report("augment"),
        PATHS.hyperparameters("cnn"),
        PATHS.model(NAME),
        PATHS.training(NAME),
        PATHS.predictions(NAME),
    ],
)
def test_every_file_lies_under_the_root(path: Path) -> None:
    assert path.is_relative_to(PATHS.root)


def test_files_of_different_models_do_not_meet() -> None:
    names = [
        ModelName(model, data, seed)
        for model in ("mlp", "cnn")
        for data in ("original", "augmented")
        for seed in (1, 11)
    ]
    for place in (PATHS.model, PATHS.training, PATHS.predictions):
        assert len({place(name) for name in names}) == len(names)


def test_the_graph_names_the_same_places() -> None:
    stages = yaml.safe_load((CHECKOUT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

    def makes(stage: str, path: Path) -> bool:
        """Say whether the file, or a folder it lies in, is an output of the stage."""
        outputs = {
            place
            for kind in ("outs", "metrics", "plots")
            for entry in stages[stage].get(kind, [])
            for place in (entry if isinstance(entry, dict) else [entry])
        }
        relative = path.relative_to(PATHS.root)
        return any(str(place) in outputs for place in (relative, *relative.parents))

    name = ModelName("${item.model}", "${item.data}", "${item.seed}")  # type: ignore[arg-type]
    assert makes("download", PATHS.raw)
    for split in ("train", "val", "test"):
        assert makes("preprocess", PATHS.split(split))
    assert makes("preprocess", PATHS.training_data("original"))
    assert makes("augment", PATHS.training_data("augmented"))
    assert makes("tune", PATHS.hyperparameters("${item.model}"))
    assert makes("train", PATHS.model(name))
    assert makes("train", PATHS.training(name) / "history.csv")
    assert makes("evaluate", PATHS.predictions(name))
    assert not makes("evaluate", PATHS.model(name))
