import json
from pathlib import Path
from typing import Any

import pytest

from sidebyside.config import hyperparameters
from sidebyside.config.hyperparameters import (
    RECORDS,
    Hyperparameters,
    check_records,
    parse_hyperparameters,
    per_layer,
    read_hyperparameters,
)
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_json
from tests.support.datasets import dataset
from tests.support.hyperparameters import CNN, MLP

VALID = {"mlp": MLP, "cnn": CNN}


@pytest.mark.parametrize("model", RECORDS)
def test_a_record_is_read_back_from_its_json_file(tmp_path: Path, model: str) -> None:
    record = parse_hyperparameters(model, VALID[model], "x")
    write_json(tmp_path / "h.json", record.model_dump(mode="json"))
    assert read_hyperparameters(model, tmp_path / "h.json") == record
    # The file contains exactly the given values.
    assert json.loads((tmp_path / "h.json").read_text()) == VALID[model]


@pytest.mark.parametrize("model", RECORDS)
def test_hyperparameters_of_training_have_defaults_and_others_are_required(model: str) -> None:
    own = RECORDS[model].model_fields.keys() - Hyperparameters.model_fields.keys()
    assert parse_hyperparameters(model, {name: VALID[model][name] for name in own}, "x")
    for name in own:
        values = {key: value for key, value in VALID[model].items() if key != name}
        with pytest.raises(UserError, match=f"^x: {name}: is missing$"):
            parse_hyperparameters(model, values, "x")


@pytest.mark.parametrize(
    ("model", "change", "expected"),
    [
        ("mlp", {"units": 3}, "units: unknown key"),
        ("mlp", {"filters": [3]}, "filters: unknown key"),
        ("mlp", {"dropout": 1.0}, "dropout: Input should be less than or equal to 0.9, not 1.0"),
        ("mlp", {"dropout": "0.1"}, "dropout: Input should be a valid number, not '0.1'"),
        ("mlp", {"batch_size": 12.5}, "batch_size: Input should be a valid integer, not 12.5"),
        ("mlp", {"flip": 1}, "flip: Input should be a valid boolean, not 1"),
        ("mlp", {"hidden_units": []}, "hidden_units: "),
        ("mlp", {"hidden_units": [10, -1]}, "hidden_units.1: .* not -1"),
        ("mlp", {"learning_rate": 0}, "learning_rate: Input should be greater than 0, not 0"),
        ("mlp", {"learning_rate": float("nan")}, "learning_rate: .*finite"),
        ("mlp", {"optimizer": "rmsprop"}, "optimizer: .*'adam', 'sgd' or 'nesterov'.*'rmsprop'"),
        ("cnn", {"padding": "full"}, "padding: Input should be 'same' or 'valid', not 'full'"),
        ("cnn", {"kernel_size": 0}, "kernel_size: .* not 0"),
        ("cnn", {"kernel_size": [3, 8]}, "kernel_size.1: .* not 8"),
        ("cnn", {"kernel_size": [3]}, "kernel_size has 1 values for 2 blocks"),
        ("cnn", {"block_dropout": [0.1]}, "block_dropout has 1 values for 2 blocks"),
        ("cnn", {"block_dropout": []}, "block_dropout: .*at least 1 item"),
        ("mlp", {"hidden_units": [8, 8], "dropout": [0.1]}, "dropout has 1 values for 2 hidden"),
        ("mlp", {"hidden_units": [8], "dropout": [1.5]}, "dropout.0: .* not 1.5"),
        ("cnn", {"hidden_units": [3]}, "hidden_units: unknown key"),
        # both ends of each range
        ("mlp", {"dropout": -0.1}, "dropout: .* or equal to 0, not -0.1"),
        ("mlp", {"input_dropout": -0.1}, "input_dropout: .* or equal to 0, not -0.1"),
        ("mlp", {"input_dropout": 0.95}, "input_dropout: .* or equal to 0.9, not 0.95"),
        ("cnn", {"block_dropout": 0.95}, "block_dropout: .* or equal to 0.9, not 0.95"),
        ("mlp", {"l2": -0.1}, "l2: .* or equal to 0, not -0.1"),
        ("mlp", {"l2": 1.1}, "l2: .* or equal to 1, not 1.1"),
        ("mlp", {"learning_rate": 10.5}, "learning_rate: .* or equal to 10, not 10.5"),
        ("mlp", {"warmup_epochs": -1}, "warmup_epochs: .* or equal to 0, not -1"),
        ("mlp", {"warmup_epochs": 100.5}, "warmup_epochs: .* or equal to 100, not 100.5"),
        ("mlp", {"weight_decay": -0.1}, "weight_decay: .* or equal to 0, not -0.1"),
        ("mlp", {"weight_decay": 1.1}, "weight_decay: .* or equal to 1, not 1.1"),
        ("mlp", {"batch_size": 0}, "batch_size: .* or equal to 1, not 0"),
        ("mlp", {"batch_size": 8193}, "batch_size: .* or equal to 8192, not 8193"),
        ("mlp", {"label_smoothing": -0.1}, "label_smoothing: .* or equal to 0, not -0.1"),
        ("mlp", {"label_smoothing": 1.0}, "label_smoothing: .* less than 1, not 1.0"),
        ("mlp", {"shift": -1}, "shift: .* or equal to 0, not -1"),
        ("mlp", {"shift": 65}, "shift: .* or equal to 64, not 65"),
        ("mlp", {"cutout": -1}, "cutout: .* or equal to 0, not -1"),
        ("mlp", {"cutout": 129}, "cutout: .* or equal to 128, not 129"),
        ("mlp", {"weight_averaging": -0.1}, "weight_averaging: .* or equal to 0, not -0.1"),
        ("mlp", {"weight_averaging": 1.0}, "weight_averaging: .* less than 1, not 1.0"),
        ("mlp", {"hidden_units": [8193]}, "hidden_units.0: .* or equal to 8192, not 8193"),
        ("mlp", {"hidden_units": [8] * 17}, "hidden_units: .* at most 16 items"),
        ("cnn", {"filters": [0, 8]}, "filters.0: .* or equal to 1, not 0"),
        ("cnn", {"filters": [8193, 8]}, "filters.0: .* or equal to 8192, not 8193"),
        ("cnn", {"filters": [], "convolutions": []}, "filters: .* at least 1 item"),
        ("cnn", {"filters": [8] * 5, "convolutions": [1] * 5}, "filters: .* at most 4 items"),
        ("cnn", {"convolutions": []}, "convolutions: .* at least 1 item"),
        ("cnn", {"convolutions": [0, 1]}, "convolutions.0: .* or equal to 1, not 0"),
        ("cnn", {"convolutions": [9, 1]}, "convolutions.0: .* or equal to 8, not 9"),
        ("cnn", {"kernel_size": 8}, "kernel_size: .* or equal to 7, not 8"),
        ("cnn", {"dense_units": -1}, "dense_units: .* or equal to 0, not -1"),
        ("cnn", {"dense_units": 8193}, "dense_units: .* or equal to 8192, not 8193"),
        # unknown choices and wrong types
        ("mlp", {"activation": "ReLU"}, "activation: .*'relu', 'gelu', 'silu', 'elu' or 'tanh'"),
        ("mlp", {"kernel_initializer": "zeros"}, ".*'glorot_uniform' or 'he_normal', not 'zeros'"),
        ("cnn", {"head": "max"}, "head: .*'flatten' or 'average', not 'max'"),
        ("mlp", {"learning_rate": float("inf")}, "learning_rate: .*finite"),
        ("mlp", {"learning_rate": "small"}, "learning_rate: .*valid number, not 'small'"),
        ("mlp", {"hidden_units": 512}, "hidden_units: .*list"),
        ("mlp", {"hidden_units": ["512"]}, "hidden_units.0: .*integer, not '512'"),
        ("mlp", {"schedule": "linear"}, "schedule: .*'constant' or 'cosine', not 'linear'"),
        ("mlp", {"precision": "float16"}, "precision: .*'float32' or 'bfloat16', not 'float16'"),
        ("mlp", {"batch_norm": 1}, "batch_norm: Input should be a valid boolean, not 1"),
        ("cnn", {"pool_last": 1}, "pool_last: Input should be a valid boolean, not 1"),
    ],
)
def test_an_invalid_value_is_refused(model: str, change: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=f"^x: {expected}") as caught:
        parse_hyperparameters(model, VALID[model] | change, "x")
    assert "\n" not in str(caught.value)


def test_one_value_applies_to_all_layers_and_a_list_has_one_per_layer() -> None:
    assert per_layer(0.1, 3) == [0.1, 0.1, 0.1]
    assert per_layer((0.1, 0.2, 0.3), 2) == [0.1, 0.2]  # surplus items are ignored
    with pytest.raises(ValueError, match="dropout has 2 values for 3 layers"):
        per_layer((0.1, 0.2), 3, "dropout", "layers")


def test_values_per_layer_are_read_back_from_the_json_file(tmp_path: Path) -> None:
    values = CNN | {"kernel_size": [3, 5], "block_dropout": [0.1, 0.2], "dropout": 0.3}
    record = parse_hyperparameters("cnn", values, "x")
    write_json(tmp_path / "h.json", record.model_dump(mode="json"))
    assert read_hyperparameters("cnn", tmp_path / "h.json") == record
    assert record.model_dump(mode="json")["kernel_size"] == [3, 5]
    assert record.model_dump(mode="json")["dropout"] == 0.3


@pytest.mark.parametrize("convolutions", [[1], [1, 1, 1]])
def test_a_cnn_needs_as_many_convolutions_as_filters(convolutions: list[int]) -> None:
    with pytest.raises(UserError, match=r"convolutions"):
        parse_hyperparameters("cnn", CNN | {"convolutions": convolutions}, "x")


@pytest.mark.parametrize(
    "change",
    [
        {"filters": [8, 8, 8, 8], "convolutions": [1, 1, 1, 1], "pool_last": True},
        {"kernel_size": 7, "convolutions": [4, 2]},
        {"filters": [8], "convolutions": [5], "kernel_size": 7},
    ],
)
def test_a_cnn_that_reduces_the_image_to_nothing_is_refused(change: dict[str, Any]) -> None:
    record = parse_hyperparameters("cnn", CNN | {"padding": "valid"} | change, "x")
    with pytest.raises(ValueError, match=r"^filters: block . reduces the 28×40 pixels to none"):
        record.require_fit(dataset(28, 40))
    record.require_fit(dataset(128, 128, 3))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"shift": 5}, "shift: at most 4 for 8×48 pixels, not 5"),
        ({"cutout": 9}, "cutout: at most 8 for 8×48 pixels, not 9"),
        ({"flip": True}, "flip: must be false, as the data set has `mirror: false`"),
    ],
)
@pytest.mark.parametrize("model", RECORDS)
def test_a_value_that_is_impossible_for_the_images_is_refused(
    tmp_path: Path, model: str, change: dict[str, Any], expected: str
) -> None:
    letters = dataset(8, 48).model_copy(update={"mirror": False})
    possible = VALID[model] | {"flip": False, "shift": 4, "cutout": 8}
    write_json(tmp_path / "possible.json", possible)
    read_hyperparameters(model, tmp_path / "possible.json", letters)
    write_json(tmp_path / "h.json", possible | change)
    with pytest.raises(UserError, match=rf"/h\.json: {expected}$"):
        read_hyperparameters(model, tmp_path / "h.json", letters)


def test_an_unknown_model_is_refused_with_the_known_models() -> None:
    with pytest.raises(
        UserError, match=r"^x: unknown model 'cn': choose from mlp, cnn, or add it "
    ):
        parse_hyperparameters("cn", CNN, "x")


def test_the_record_of_another_model_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "h.json", MLP)
    with pytest.raises(UserError, match=r"h\.json: hidden_units: unknown key: "):
        read_hyperparameters("cnn", tmp_path / "h.json")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "is not valid JSON"),
        ("", "is not valid JSON"),
        ("[1]", "expected a JSON object of hyperparameters"),
        ("null", "expected a JSON object of hyperparameters"),
        ("{}", "is missing"),
    ],
)
def test_a_file_without_a_record_is_refused(tmp_path: Path, content: str, expected: str) -> None:
    path = tmp_path / "h.json"
    path.write_text(content)
    with pytest.raises(UserError, match=expected) as caught:
        read_hyperparameters("mlp", path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"h\.json is missing"):
        read_hyperparameters("mlp", tmp_path / "h.json")


def test_an_architecture_is_added_by_an_entry_in_records(monkeypatch: pytest.MonkeyPatch) -> None:
    class Linear(Hyperparameters):
        pass

    monkeypatch.setitem(hyperparameters.RECORDS, "linear", Linear)
    assert parse_hyperparameters("linear", {"shift": 1}, "x") == Linear(shift=1)


@pytest.mark.parametrize(
    ("name", "record", "reason"),
    [
        ("res net", {"builder": "layers:build"}, "must start with a letter and"),
        ("net.2", {"builder": "layers:build"}, "must start with a letter and"),
        ("small-cnn", {"builder": "layers:build"}, "letters, digits and underscores$"),
        ("2net", {"builder": "layers:build"}, "must start with a letter and"),
        ("own", {}, r'Own lacks its builder: .* builder = "own:build"'),
        ("own", {"builder": "own:build"}, "does not name a file in src/sidebyside/models and"),
        ("own", {"builder": "layers"}, "does not name a file in src/sidebyside/models and"),
        ("own", {"builder": "no.own:build"}, "does not name a file in src/sidebyside/models and"),
        ("own", {"builder": ":build"}, "does not name a file in src/sidebyside/models and"),
    ],
)
def test_a_record_without_a_valid_name_and_builder_is_refused(
    name: str, record: dict[str, str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECORDS, name, type("Own", (Hyperparameters,), record))
    with pytest.raises(UserError, match=rf"hyperparameters\.py: RECORDS\['{name}'\].*{reason}"):
        check_records()


def test_the_records_of_all_architectures_are_valid() -> None:
    check_records()
