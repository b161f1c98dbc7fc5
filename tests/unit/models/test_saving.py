import functools
import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from sidebyside.core.errors import UserError
from sidebyside.models.architectures import to_builtin_layers
from sidebyside.models.inference import predict_probabilities
from sidebyside.models.saving import load_model, save_model, weights_digest
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
    assert weights_digest(loaded) == weights_digest(load_model(path)) == weights_digest(network)


def test_the_moving_statistics_of_batch_norm_are_part_of_the_weights_digest() -> None:
    network = untrained(batch_norm=True)
    before = weights_digest(network)
    mean = network.get_layer("hidden_1_norm").moving_mean
    mean.assign(mean + 1)
    assert weights_digest(network) != before


def test_a_missing_model_names_the_command_that_trains_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"m\.keras is missing: run `dvc repro train`"):
        load_model(tmp_path / "m.keras")


def test_a_folder_in_place_of_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a folder; expected a \.keras file"):
        load_model(tmp_path)


def test_a_model_with_another_input_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(10)]).save(path)
    message = r"m\.keras is a model for other data: it maps \(None, 4\) to \(None, 10\), expected"
    with pytest.raises(UserError, match=message):
        load_model(path)


@functools.cache
def content() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "m.keras", untrained())
        return (Path(folder) / "m.keras").read_bytes()


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "another archive", "weights"])
def test_a_damaged_model_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "m.keras"
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("metadata.json", "{}")
    half = len(content()) // 2
    path.write_bytes(
        {
            "empty": b"",
            "text": b"no model",
            "truncated": content()[:half],
            "another archive": other.getvalue(),
            "weights": content()[:half] + bytes([content()[half] ^ 255]) + content()[half + 1 :],
        }[damage]
    )
    with pytest.raises(UserError, match=r"m\.keras is not a valid Keras model: .") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
