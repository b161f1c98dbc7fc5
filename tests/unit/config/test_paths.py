from pathlib import Path

import pytest
import yaml

from sidebyside.config.paths import CHECKOUT, ModelName, Paths

NAME = ModelName("mlp", "augmented", 3)
PATHS = Paths(Path("/a folder"))


def test_the_name_of_a_model_contains_architecture_data_and_seed() -> None:
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
def test_every_path_is_below_the_root(path: Path) -> None:
    assert path.is_relative_to(PATHS.root)


def test_files_of_different_models_have_different_paths() -> None:
    names = [
        ModelName(model, data, seed)
        for model in ("mlp", "cnn")
        for data in ("original", "augmented")
        for seed in (1, 11)
    ]
    for path in (PATHS.model, PATHS.training, PATHS.predictions):
        assert len({path(name) for name in names}) == len(names)


def test_the_paths_are_outputs_in_dvc_yaml() -> None:
    stages = yaml.safe_load((CHECKOUT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

    def is_output_of(stage: str, path: Path) -> bool:
        """Return whether the file, or a folder that contains it, is an output of the stage."""
        outputs = {
            path
            for kind in ("outs", "metrics", "plots")
            for entry in stages[stage].get(kind, [])
            for path in (entry if isinstance(entry, dict) else [entry])
        }
        relative = path.relative_to(PATHS.root)
        return any(str(part) in outputs for part in (relative, *relative.parents))

    name = ModelName("${item.model}", "${item.data}", "${item.seed}")  # type: ignore[arg-type]
    assert is_output_of("download", PATHS.raw)
    for split in ("train", "val", "test"):
        assert is_output_of("preprocess", PATHS.split(split))
    assert is_output_of("preprocess", PATHS.training_data("original"))
    assert is_output_of("augment", PATHS.training_data("augmented"))
    assert is_output_of("tune", PATHS.hyperparameters("${item.model}"))
    assert is_output_of("train", PATHS.model(name))
    assert is_output_of("train", PATHS.training(name) / "history.csv")
    assert is_output_of("evaluate", PATHS.predictions(name))
    assert not is_output_of("evaluate", PATHS.model(name))
