import io
import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from sidebyside.models.architectures import to_builtin_layers
from sidebyside.models.inference import predict_probabilities
from sidebyside.models.loading import load_model
from sidebyside.models.saving import save_model, weights_digest
from tests.support.datasets import dataset
from tests.support.training import TINY, VAL, untrained


def test_equal_models_give_equal_files_without_times_and_paths(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"l2": 0.1, "dropout": 0.1}
    paths = [tmp_path / "a/m.keras", tmp_path / "another folder/n.keras"]
    for path in paths:
        save_model(path, untrained(**changes))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert [path.name for path in paths[0].parent.iterdir()] == ["m.keras"]
    with zipfile.ZipFile(io.BytesIO(paths[0].read_bytes())) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert json.loads(archive.read("metadata.json"))["date_saved"].startswith("1980")
    save_model(paths[1], untrained(seed=2, **changes))
    assert paths[0].read_bytes() != paths[1].read_bytes()


@pytest.mark.parametrize("model", TINY)
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_plain_keras_loads_a_saved_model_bit_for_bit(
    tmp_path: Path, model: str, precision: str, *, batch_norm: bool
) -> None:
    path = tmp_path / "m.keras"
    changes: dict[str, Any] = {"batch_norm": batch_norm, "activation": "gelu", "dropout": 0.1}
    network = untrained(model, precision=precision, **changes)
    save_model(path, to_builtin_layers(network))
    loaded = keras.saving.load_model(path)
    expected = predict_probabilities(network, VAL.images)
    assert np.array_equal(predict_probabilities(loaded, VAL.images), expected)
    assert (
        weights_digest(loaded)
        == weights_digest(load_model(path, dataset()))
        == weights_digest(network)
    )


def test_the_moving_statistics_of_batch_norm_are_part_of_the_weights_digest() -> None:
    network = untrained(batch_norm=True)
    before = weights_digest(network)
    mean = network.get_layer("hidden_1_norm").moving_mean
    mean.assign(mean + 1)
    assert weights_digest(network) != before


def test_a_loaded_model_is_saved_as_the_same_bytes(tmp_path: Path) -> None:
    network = to_builtin_layers(untrained())
    digest = save_model(tmp_path / "m.keras", network)
    network.save(tmp_path / "n.keras")  # with the current time
    assert save_model(tmp_path / "o.keras", load_model(tmp_path / "n.keras", dataset())) == digest
