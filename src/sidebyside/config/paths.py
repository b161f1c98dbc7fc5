"""The name and place of every file, under one root."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[3]  # the folder of params.yaml and dvc.yaml


class ModelName(NamedTuple):
    """Which trained model: its architecture, the data it was trained on, its seed."""

    model: str  # a key of hyperparameters.RECORDS
    data: str  # "original" or "augmented"
    seed: int

    def __str__(self) -> str:
        return f"{self.model}-{self.data}-{self.seed}"


@dataclass(frozen=True)
class Paths:
    """All files of one checkout; what stands here is relative to `root` and nowhere else."""

    root: Path

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def raw(self) -> Path:
        """Folder of the four unpacked IDX files."""
        return self.root / "data/raw"

    def split(self, name: str) -> Path:
        """`train`, `val` or `test` as preprocess leaves it."""
        return self.root / "data/processed" / f"{name}.npz"

    def training_data(self, data: str) -> Path:
        """What a model is trained on: `original` (the train split) or `augmented`."""
        return self.root / "data" / data / "train.npz"

    def report(self, stage: str) -> Path:
        """Folder of a stage's small results, kept in git."""
        return self.root / "reports" / stage

    def hyperparameters(self, model: str) -> Path:
        return self.report("tune") / model / "hyperparameters.json"

    def trial_histories(self, model: str) -> Path:
        """Every epoch of every trial of a search."""
        return self.root / "data/trials" / f"{model}.csv"

    def model(self, name: ModelName) -> Path:
        return self.root / "models" / f"{name}.keras"

    def training(self, name: ModelName) -> Path:
        """Folder with a model's history and validation scores."""
        return self.report("train") / str(name)

    def predictions(self, name: ModelName) -> Path:
        """Class probabilities of every test image."""
        return self.root / "data/predictions" / f"{name}.csv"
