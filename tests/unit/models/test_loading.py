"""Model files are refused before they run code, read other files or take more memory than needed.

The files are made of a valid one, whose configuration, weights or archive is changed.
"""

import functools
import io
import json
import os
import resource
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from sidebyside.core.errors import UserError
from sidebyside.models import loading
from sidebyside.models.architectures import to_builtin_layers
from sidebyside.models.inference import predict_probabilities
from sidebyside.models.loading import load_model
from sidebyside.models.saving import save_model
from tests.support.datasets import dataset
from tests.support.training import VAL, untrained

Config = dict[str, Any]
KERNEL = "layers/dense/vars/0"


@functools.cache
def content() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "m.keras", to_builtin_layers(untrained()))
        return (Path(folder) / "m.keras").read_bytes()


def members() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path: Path, changed: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in changed.items():
            archive.writestr(name, data)
    return path


def with_config(path: Path, change: Callable[[Config], object]) -> Path:
    """Write the model with its configuration changed in place."""
    config = json.loads(members()["config.json"])
    change(config)
    return written(path, members() | {"config.json": json.dumps(config).encode()})


def with_weights(path: Path, change: Callable[[h5py.File], object]) -> Path:
    """Write the model with its HDF5 file changed in place."""
    buffer = io.BytesIO(members()["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        change(file)
    return written(path, members() | {"model.weights.h5": buffer.getvalue()})


def layer(config: Config, name: str) -> Config:
    """Return a layer's part of a configuration."""
    return next(one for one in config["config"]["layers"] if one["config"]["name"] == name)


def refusal(path: Path) -> str:
    """Return why a model is refused, in one line that names the file."""
    with pytest.raises(UserError) as caught:
        load_model(path, dataset())
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    assert message.startswith(f"{path} ")
    return message.removeprefix(f"{path} ")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.keras"


def test_a_model_is_loaded_bit_for_bit(path: Path) -> None:
    written(path, members())
    expected = predict_probabilities(untrained(), VAL.images)
    assert np.array_equal(predict_probabilities(load_model(path, dataset()), VAL.images), expected)


def test_a_compiled_model_is_loaded_without_its_optimizer(path: Path) -> None:
    model = to_builtin_layers(untrained())
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    model.save(path)
    assert not load_model(path, dataset()).compiled


# Files in place of a model


def test_a_missing_model_names_the_command_that_trains_it(path: Path) -> None:
    assert refusal(path) == "is missing: run `dvc repro train`"


def test_a_folder_in_place_of_a_model_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "is a folder; expected a .keras file"


def test_a_pipe_in_place_of_a_model_is_refused_without_waiting(path: Path) -> None:
    os.mkfifo(path)
    assert "is not a regular file" in refusal(path)


def test_a_larger_file_than_any_model_is_refused_without_reading_it(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse
    assert "larger than 4 GiB" in refusal(path)


def damaged() -> dict[str, bytes]:
    half, other = len(content()) // 2, io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("metadata.json", "{}")
    with h5py.File(legacy := io.BytesIO(), "w") as file:
        file.attrs["model_config"] = "{}"
    return {
        "empty": b"",
        "text": b"no model",
        "truncated": content()[:half],
        "another archive": other.getvalue(),
        "weights": content()[:half] + bytes([content()[half] ^ 255]) + content()[half + 1 :],
        "legacy HDF5": legacy.getvalue(),
    }


@pytest.mark.parametrize("damage", damaged())
def test_a_damaged_model_is_refused(path: Path, damage: str) -> None:
    path.write_bytes(damaged()[damage])
    assert refusal(path).startswith("is not a valid Keras model: ")


# Archives


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "extra", ["../escaped", "/absolute", "assets/file", "model.weights.npz", "config.json", "a/"]
)
def test_an_archive_with_other_members_is_refused(path: Path, extra: str) -> None:
    written(path, members())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(extra, b"{}")
    assert "expected the members config.json, metadata.json, model.weights.h5 only" in refusal(path)
    assert [file.name for file in path.parent.iterdir()] == ["m.keras"]


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_a_compressed_archive_is_refused_without_decompressing_it(path: Path, name: str) -> None:
    bomb = members() | {name: members()[name] + bytes(50_000_000)}
    written(path, bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1_000_000
    assert peak_increase(lambda: refusal(path)) < 20_000_000


def peak_increase(action: Callable[[], object]) -> int:
    """Return by how many bytes an action increases the process's peak memory, at most."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    action()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


# Configurations


def lambda_layer(config: Config) -> None:
    function = {"class_name": "__lambda__", "config": {"value": ["4wA=", None, None]}}
    layer(config, "flatten").update(class_name="Lambda", config={"function": function})


def another_module(config: Config) -> None:
    layer(config, "flatten").update(module="os", class_name="system", registered_name="system")


def registered_class(config: Config) -> None:
    layer(config, "flatten").update(module=None, registered_name="tests>Registered")


def disguised_class(config: Config) -> None:
    layer(config, "flatten").update(registered_name="tests>Registered")


def file_reader(config: Config) -> None:
    layer(config, "flatten").update(class_name="StringLookup", config={"vocabulary": "/etc/passwd"})


def function(config: Config) -> None:
    named = {"class_name": "function", "module": "os", "config": "system", "registered_name": None}
    layer(config, "logits")["config"]["activation"] = named


def wrapped_layer(config: Config) -> None:
    inner = {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/"}}
    layer(config, "logits")["config"]["kernel_initializer"] = inner


def module_of_another_type(config: Config) -> None:
    layer(config, "flatten").update(module=["os"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda_layer, "keras.layers.Lambda"),
        (another_module, "os.system"),
        (registered_class, "Flatten"),
        (disguised_class, "keras.layers.Flatten"),
        (file_reader, "keras.layers.StringLookup"),
        (function, "os.function"),
        (wrapped_layer, "keras.layers.TFSMLayer"),
    ],
)
def test_a_model_of_other_layers_than_the_known_ones_is_refused(
    path: Path, change: Callable[[Config], object], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Registered(keras.layers.Flatten):  # type: ignore[misc]  # untyped
        def __init__(self, **_: Any) -> None:
            pytest.fail("code was run")

    monkeypatch.setitem(keras.saving.get_custom_objects(), "tests>Registered", Registered)
    message = refusal(with_config(path, change))
    assert f"{named} is not among the LAYERS that models may have" in message


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.clear(),
        lambda config: config["config"]["layers"].clear(),
        lambda config: config["config"]["layers"].append(1),
        lambda config: layer(config, "logits")["config"].update(units=-1),
        lambda config: layer(config, "logits")["config"].update(units="ten"),
        lambda config: layer(config, "logits")["config"].update(activation="os.system"),
        module_of_another_type,
    ],
)
def test_a_malformed_configuration_is_refused(
    path: Path, change: Callable[[Config], object]
) -> None:
    assert refusal(with_config(path, change)).startswith("is not a valid Keras model: ")


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b"", b"[]", b"1", b" " * (loading.MAX_CONFIG_BYTES + 1)]
)
def test_a_configuration_that_is_not_a_json_object_is_refused(path: Path, text: bytes) -> None:
    written(path, members() | {"config.json": text})
    assert refusal(path).startswith("is not a valid Keras model: ")


@pytest.mark.parametrize("name", ["hidden_1", "logits"])
def test_a_model_larger_than_its_weights_is_refused_before_memory_is_taken(
    path: Path, name: str
) -> None:
    with_config(path, lambda config: layer(config, name)["config"].update(units=200_000))
    assert peak_increase(lambda: refusal(path)) < 100_000_000
    # Keras must not allocate the variables later either.
    assert peak_increase(lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])) < 1e8


# Weights


def external_data(file: h5py.File) -> None:
    shape = file[KERNEL].shape
    del file[KERNEL]
    file.create_dataset(KERNEL, shape, "<f4", external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)])


def external_link(file: h5py.File) -> None:
    del file[KERNEL]
    file[KERNEL] = h5py.ExternalLink("/tmp/other.h5", "/x")  # noqa: S108  # not opened


def soft_link(file: h5py.File) -> None:
    del file[KERNEL]
    file[KERNEL] = h5py.SoftLink("/layers/dense_1/vars/0")


def virtual_data(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(file[KERNEL].shape, "<f4")
    del file[KERNEL]
    file.create_virtual_dataset(KERNEL, layout)


def unstored_data(file: h5py.File) -> None:
    del file[KERNEL]
    file.create_dataset(KERNEL, (10**6, 10**6), "<f4")


def chunked_data(file: h5py.File) -> None:
    del file[KERNEL]
    file.create_dataset(KERNEL, (10**6, 10**6), "<f4", chunks=(100, 100), compression="gzip")


def text_data(file: h5py.File) -> None:
    del file[KERNEL]
    file[KERNEL] = "text"


@pytest.mark.parametrize(
    "change",
    [external_data, external_link, soft_link, virtual_data, unstored_data, chunked_data, text_data],
)
def test_weights_that_are_not_numbers_in_the_file_itself_are_refused(
    path: Path, change: Callable[[h5py.File], object]
) -> None:
    assert "weight layers/dense/vars/0 is" in refusal(with_weights(path, change))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [KERNEL, "layers/dense_1/vars/1"])
def test_a_weight_that_is_not_finite_is_refused(path: Path, name: str, value: float) -> None:
    def change(file: h5py.File) -> None:
        file[name][-1] = value

    assert f"weight {name} has values that are not finite" in refusal(with_weights(path, change))


def group_in_itself(file: h5py.File) -> None:
    file["layers/again"] = file["layers"]


def many_paths_to_one_group(file: h5py.File) -> None:
    for level in range(40):
        group = file.create_group(f"level_{level}")
        group["a"] = group["b"] = file[f"level_{level - 1}"] if level else file["layers"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("change", [group_in_itself, many_paths_to_one_group])
def test_a_group_with_several_names_is_read_once(
    path: Path, change: Callable[[h5py.File], object]
) -> None:
    load_model(with_weights(path, change), dataset())


def shorter(file: h5py.File) -> None:
    values = file[KERNEL][()]
    del file[KERNEL]
    file[KERNEL] = values[:-1]


def absent(file: h5py.File) -> None:
    del file[KERNEL]


@pytest.mark.parametrize("change", [shorter, absent])
def test_weights_that_do_not_fit_the_layers_are_refused(
    path: Path, change: Callable[[h5py.File], object]
) -> None:
    assert refusal(with_weights(path, change)).startswith("is not a valid Keras model: ")


# Models for other data


def model(shape: tuple[int, ...], dtype: str, classes: int, activation: str) -> keras.Model:
    inputs = keras.Input(shape, dtype=dtype)
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, keras.layers.Dense(classes, activation)(x))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (((4,), "uint8", 10, "softmax"), "its input is uint8 (None, 4), expected uint8 (None, 28"),
        (((32, 32, 3), "uint8", 10, "softmax"), "its input is uint8 (None, 32, 32, 3), expected"),
        (((28, 28), "float32", 10, "softmax"), "its input is float32 (None, 28, 28), expected"),
        (((28, 28), "uint8", 7, "softmax"), "its output is float32 (None, 7), expected float32"),
    ],
)
def test_a_model_for_other_images_or_classes_is_refused(
    path: Path, other: Any, reason: str
) -> None:
    model(*other).save(path)
    assert f"is a model for other data: {reason}" in refusal(path)


def test_a_model_whose_outputs_are_not_probabilities_is_refused(path: Path) -> None:
    network = model((28, 28), "uint8", 10, "linear")
    network.save(path)
    assert "its outputs are not probabilities" in refusal(path)


def test_a_model_with_more_outputs_per_layer_than_memory_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "MAX_LAYER_VALUES", 783)
    assert "at most 783 are allowed" in refusal(written(path, members()))
