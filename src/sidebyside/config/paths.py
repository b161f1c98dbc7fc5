"""The paths of all files below the root of a checkout."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[3]  # the folder of params.yaml and dvc.yaml


class ModelName(NamedTuple):
    """A trained model, identified by architecture, training data and seed."""

    model: str  # a key of hyperparameters.RECORDS
    data: str  # "original" or "augmented"
    seed: int

    def __str__(self) -> str:
        return f"{self.model}-{self.data}-{self.seed}"


@dataclass(frozen=True)
class Paths:
    """Paths of the files in the checkout at `root`."""

    root: Path

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def raw(self) -> Path:
        """Folder of the four unpacked IDX files."""
        return self.root / "data/raw"

    def split(self, name: str) -> Path:
        """File of the `train`, `val` or `test` split, written by `preprocess`."""
        return self.root / "data/processed" / f"{name}.npz"

    @property
    def dataset(self) -> Path:
        """File of the data set's shape, class names and splits, written by `preprocess`."""
        return self.root / "data/processed/dataset.json"

    def training_data(self, data: str) -> Path:
        """Training images: `original` (the train split) or `augmented`."""
        return self.root / "data" / data / "train.npz"

    def report(self, stage: str) -> Path:
        """Folder of a stage's small outputs, which are kept in git."""
        return self.root / "reports" / stage

    def hyperparameters(self, model: str) -> Path:
        return self.report("tune") / model / "hyperparameters.json"

    def trial_histories(self, model: str) -> Path:
        """Training histories of all trials of a search."""
        return self.root / "data/trials" / f"{model}.csv"

    def model(self, name: ModelName) -> Path:
        return self.root / "models" / f"{name}.keras"

    def training(self, name: ModelName) -> Path:
        """Folder of a model's history and validation scores."""
        return self.report("train") / str(name)

    def predictions(self, name: ModelName) -> Path:
        """Predicted class probabilities of all test images."""
        return self.root / "data/predictions" / f"{name}.csv"
