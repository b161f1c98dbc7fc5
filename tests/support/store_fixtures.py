"""Real MLflow stores, copied from one that is created once."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidebyside.tracking.logged_models import Images
from sidebyside.tracking.runs import open_run, reopen_run
from sidebyside.tracking.store import open_store
from tests.support.datasets import FASHION_MNIST
from tests.support.stores import DIGESTS, REGISTERED, SEARCH, TRAINING


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without runs: creating one takes two seconds, copying it none."""
    root = tmp_path_factory.mktemp("store")
    store = open_store(root)
    for experiment in (TRAINING, SEARCH):
        store.require(partial(store.experiment, experiment))
    return root


@pytest.fixture
def root(empty_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(empty_store, tmp_path / "a project"))


@pytest.fixture(scope="session")
def pixels() -> Images:
    return np.arange(8 * 28 * 28, dtype=np.uint32).reshape(8, 28, 28).astype(np.uint8)


@pytest.fixture(scope="session")
def model() -> Any:
    import keras

    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((28, 28), dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


@pytest.fixture(scope="session")
def with_model(
    model: Any, pixels: Images, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A store with one trained model, evaluated and registered."""
    root = Path(shutil.copytree(empty_store, tmp_path_factory.mktemp("models") / "a project é"))
    with open_run(root, TRAINING, "mlp-original-1", "k", description="Small") as run:
        run.log_dataset("val", "ab" * 32, "validation", {"images": 12000})
        for epoch in range(3):
            run.log_metrics({"val_accuracy": epoch / 10}, step=epoch)
        run.log_model(model, FASHION_MNIST, pixels[:1], step=1)
    with reopen_run(root, TRAINING, "mlp-original-1", "k", evaluated="e") as run:
        run.log_dataset("test", "cd" * 32, "test", {"images": 10000})
        run.log_metrics({"test_accuracy": 0.9})
        for _ in range(2):
            run.register(REGISTERED["mlp"], 0.9, DIGESTS, "0.9 on validation")
    return root
