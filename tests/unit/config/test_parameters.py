from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidebyside.config.parameters import Parameters, read_parameters
from sidebyside.config.search_space import (
    Choice,
    FloatRange,
    IntRange,
    ListRange,
    parse_search_space,
    searched_hyperparameters,
)
from sidebyside.core.errors import UserError

SHIPPED = Path(__file__).parents[3] / "params.yaml"
MISSING = object()


def shipped() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    return content


def changed(key: str, value: Any) -> dict[str, Any]:
    """Return the shipped parameters with one key set, or without it."""
    content = shipped()
    *sections, last = key.split(".")
    section = content
    for name in sections:
        section = section[name]
    if value is MISSING:
        del section[last]
    else:
        section[last] = value
    return content


def read(folder: Path, content: object) -> Parameters:
    path = folder / "params.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return read_parameters(path)


def refusal(folder: Path, content: object) -> str:
    """Return the message with which the content is refused; it is one line and names the file."""
    with pytest.raises(UserError) as caught:
        read(folder, content)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("params.yaml")
    return message


def test_the_shipped_parameters_are_valid_and_every_space_can_be_searched() -> None:
    parameters = read_parameters(SHIPPED)
    assert parameters.seed >= 1
    for model in parameters.train.models:
        assert searched_hyperparameters(parse_search_space(model, parameters.tune.models[model]))


def test_parameters_cannot_be_changed_after_reading() -> None:
    parameters = read_parameters(SHIPPED)
    with pytest.raises(ValueError, match="frozen"):
        parameters.seed = 2


@pytest.mark.parametrize(
    "section",
    [
        "",
        "download.",
        "preprocess.",
        "augment.",
        "augment.transforms.",
        "tune.",
        "tune.search.",
        "tune.models.mlp.",
        "tune.models.cnn.",
        "train.",
        "train.budget.mlp.",
        "evaluate.",
    ],
)
def test_an_unknown_key_is_refused_everywhere(tmp_path: Path, section: str) -> None:
    message = refusal(tmp_path, changed(f"{section}epoch", 1))
    assert "epoch" in message
    assert "unknown key" in message
    for name in section.split(".")[:-1]:
        assert name in message


@pytest.mark.parametrize(
    "section", ["seed", "threads", "download", "preprocess", "augment", "tune", "train", "evaluate"]
)
def test_a_missing_section_is_named(tmp_path: Path, section: str) -> None:
    assert f"{section}: is missing" in refusal(tmp_path, changed(section, MISSING))


@pytest.mark.parametrize(
    "key",
    [
        "download.timeout",
        "preprocess.val_fraction",
        "augment.transforms.flip",
        "tune.search.strategy",
        "tune.models.mlp.hidden_units",
        "tune.models.cnn.filters",
        "train.seeds",
        "train.budget.mlp.patience",
        "evaluate.confidence",
    ],
)
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    message = refusal(tmp_path, changed(key, MISSING))
    assert key.rsplit(".", 1)[1] in message
    assert "is missing" in message


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        # the wrong type
        ("seed", "1", "integer"),
        ("seed", 1.5, "integer"),
        ("seed", True, "integer"),
        ("seed", None, "integer"),
        ("download.timeout", "20", "number"),
        ("augment.classes", ["2"], "integer"),
        ("augment.classes", 2, "list"),
        ("augment.transforms.rotation", "ten", "number"),
        ("tune.search.trials", 4.5, "integer"),
        ("tune.models.mlp.learning_rate", "small", "number"),
        ("tune.models.mlp.batch_norm", 1, "bool"),
        ("tune.models.mlp.hidden_units", 512, "list"),
        ("tune.models.mlp.hidden_units", ["512"], "integer"),
        ("train.seeds", ["1"], "integer"),
        ("train.monitor", 1, "val_accuracy"),
        ("evaluate", 3, "Evaluate"),
        # out of range
        ("seed", 0, "greater than or equal to 1"),
        ("seed", 2**31, "less than or equal to 2147483647"),
        ("threads", 0, "greater than or equal to 1"),
        ("threads", 257, "less than or equal to 256"),
        ("download.timeout", 0, "greater than 0"),
        ("download.timeout", 3601, "less than or equal to 3600"),
        ("download.timeout", float("nan"), "finite"),
        ("download.sources", [], "at least 1 item"),
        ("preprocess.val_fraction", 0, "greater than 0"),
        ("preprocess.val_fraction", 1, "less than 1"),
        ("augment.classes", [], "at least 1 item"),
        ("augment.classes", [10], "less than 10"),
        ("augment.classes", [-1], "greater than or equal to 0"),
        ("augment.copies", 0, "greater than or equal to 1"),
        ("augment.copies", 101, "less than or equal to 100"),
        ("augment.transforms.rotation", -1, "greater than or equal to 0"),
        ("augment.transforms.rotation", 181, "less than or equal to 180"),
        ("augment.transforms.zoom", -0.1, "greater than or equal to 0"),
        ("augment.transforms.zoom", 1, "less than 1"),
        ("augment.transforms.shift", -1, "greater than or equal to 0"),
        ("augment.transforms.shift", 14.5, "less than or equal to 14"),
        ("augment.transforms.flip", -0.1, "greater than or equal to 0"),
        ("augment.transforms.flip", 1.1, "less than or equal to 1"),
        ("tune.search.trials", 0, "greater than or equal to 1"),
        ("tune.search.trials", 100_001, "less than or equal to 100000"),
        ("tune.search.executions_per_trial", 0, "greater than or equal to 1"),
        ("tune.search.executions_per_trial", 101, "less than or equal to 100"),
        ("tune.search.epochs", 0, "greater than or equal to 1"),
        ("tune.search.epochs", 100_001, "less than or equal to 100000"),
        ("tune.search.patience", 0, "greater than or equal to 1"),
        ("tune.search.images", -1, "greater than or equal to 0"),
        ("tune.models.mlp.dropout", 0.95, "less than or equal to 0.9"),
        ("tune.models.mlp.learning_rate", 0, "greater than 0"),
        ("tune.models.mlp.learning_rate", float("inf"), "finite"),
        ("tune.models.mlp.hidden_units", [], "at least 1 item"),
        ("tune.models.mlp.hidden_units", [0], "greater than or equal to 1"),
        ("tune.models.cnn.shift", 15, "less than or equal to 14"),
        ("tune.models.cnn.label_smoothing", 1, "less than 1"),
        ("train.seeds", [], "at least 1 item"),
        ("train.models", [], "at least 1 item"),
        ("train.data", [], "at least 1 item"),
        ("train.seeds", [0], "greater than or equal to 1"),
        ("train.budget.mlp.epochs", 0, "greater than or equal to 1"),
        ("train.budget.mlp.epochs", 100_001, "less than or equal to 100000"),
        ("train.budget.mlp.patience", 0, "greater than or equal to 1"),
        ("evaluate.bootstrap_samples", 99, "greater than or equal to 100"),
        ("evaluate.bootstrap_samples", 1_000_001, "less than or equal to 1000000"),
        ("evaluate.confidence", 0.5, "greater than 0.5"),
        ("evaluate.confidence", 1, "less than 1"),
        ("evaluate.calibration_bins", 1, "greater than or equal to 2"),
        ("evaluate.calibration_bins", 1001, "less than or equal to 1000"),
        # unknown choices
        ("tune.search.strategy", "genetic", "'random', 'bayesian', 'hyperband' or 'grid'"),
        ("tune.search.objective", "accuracy", "'val_accuracy' or 'val_loss'"),
        ("tune.models.mlp.optimizer", "adamw", "'adam', 'sgd' or 'nesterov'"),
        ("tune.models.mlp.activation", "ReLU", "'relu', 'gelu', 'silu', 'elu' or 'tanh'"),
        ("tune.models.cnn.head", "max", "'flatten' or 'average'"),
        ("train.data", ["augmentd"], "'original' or 'augmented'"),
        ("tune.models.cnn.kernel_initializer", "zeros", "'glorot_uniform' or 'he_normal'"),
        ("train.monitor", "val_acc", "'val_accuracy' or 'val_loss'"),
        ("train.keep", "first", "'best' or 'last'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key_and_what_is_allowed(
    tmp_path: Path, key: str, value: object, allowed: str
) -> None:
    message = refusal(tmp_path, changed(key, value))
    assert key.rsplit(".", maxsplit=1)[-1] in message
    assert allowed in message
    scalar = value[0] if isinstance(value, list) and value else value
    if isinstance(scalar, (str, int, float)):
        assert repr(scalar) in message


@pytest.mark.parametrize("key", ["train.models", "train.data", "train.seeds", "augment.classes"])
def test_repeated_entries_are_refused(tmp_path: Path, key: str) -> None:
    content = shipped()
    section, name = key.split(".")
    content[section][name] = [content[section][name][0]] * 2
    message = refusal(tmp_path, content)
    assert f"{name} must be distinct" in message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda content: content["train"].update(models=["mlp", "cn"]),
            "train: unknown model 'cn': choose from mlp, cnn",
        ),
        (
            lambda content: content["train"]["budget"].update(cn={"epochs": 1, "patience": 1}),
            "train: unknown model 'cn': choose from mlp, cnn",
        ),
        (
            lambda content: content["tune"]["models"].update(cn={}),
            "tune.models: unknown model 'cn': choose from mlp, cnn",
        ),
        (lambda content: content["train"]["budget"].pop("cnn"), "train: budget.cnn is missing"),
        (
            lambda content: content["tune"]["models"].pop("cnn"),
            "tune.models.cnn is missing, but train.models contains cnn",
        ),
        (
            lambda content: content["augment"]["transforms"].update(shear=1),
            "augment.transforms.shear: unknown key",
        ),
    ],
)
def test_an_unknown_or_missing_model_or_transform_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], expected: str
) -> None:
    content = shipped()
    change(content)
    assert refusal(tmp_path, content) == f"params.yaml: {expected}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({}, "exactly one of folder, url, debian"),
        ({"folder": "a", "url": "http://x"}, "exactly one of folder, url, debian"),
        ({"folder": ""}, "exactly one of folder, url, debian"),
        ({"url": "ftp://x"}, "must begin with http:// or https://, not 'ftp://x'"),
        ({"path": "a"}, "path: unknown key"),
    ],
)
def test_a_source_is_one_folder_url_or_package(
    tmp_path: Path, source: dict[str, str], expected: str
) -> None:
    message = refusal(tmp_path, changed("download.sources", [source]))
    assert "download.sources.0" in message
    assert expected in message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, "unknown range"),
        ({"choices": [1]}, "unknown range choices: give one of choice, int, float"),
        ({"choice": [0.1], "float": {"min": 0.1, "max": 0.2}}, "unknown range choice, float"),
        ({"choice": []}, "choice: List should have at least 1 item"),
        ({"choice": 0.1}, "choice"),
        ({"choice": [0.1, "a lot"]}, "not 'a lot'"),
        ({"choice": [0.1, 0.2, 0.1]}, "choice contains 0.1 twice"),
        ({"choice": [0.1, 0.95]}, "less than or equal to 0.9, not 0.95"),
        ({"choice": [0.95, 0.1]}, "less than or equal to 0.9, not 0.95"),
        ({"float": {"min": 0.1}}, "max: is missing"),
        ({"float": {"min": 0.3, "max": 0.1}}, "min 0.3 is greater than max 0.1"),
        ({"float": {"min": 0.0, "max": 0.1, "log": True}}, "log requires min greater than 0"),
        ({"float": {"min": 0.1, "max": 0.5, "log": True, "step": 0.1}}, "and no step"),
        ({"float": {"min": 0.1, "max": 0.5, "step": 0}}, "greater than 0"),
        ({"float": {"min": "small", "max": 0.1}}, "number, not 'small'"),
        ({"float": {"min": 0.1, "max": 0.95}}, "less than or equal to 0.9, not 0.95"),
        ({"float": {"min": -0.1, "max": 0.5}}, "greater than or equal to 0, not -0.1"),
        ({"float": [0.1, 0.2]}, "float"),
        ({"float": {"min": 0.1, "max": 0.2, "steps": 3}}, "steps: unknown key"),
    ],
)
def test_a_malformed_or_impossible_range_is_refused(
    tmp_path: Path, value: dict[str, Any], expected: str
) -> None:
    message = refusal(tmp_path, changed("tune.models.mlp.dropout", value))
    assert "models.mlp" in message
    assert "dropout" in message
    assert expected in message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"int": {"min": 1.5, "max": 3}}, "integer"),
        ({"int": {"min": 3, "max": 1}}, "min 3 is greater than max 1"),
        ({"int": {"min": 1, "max": 3, "step": 0}}, "greater than or equal to 1"),
        ({"int": {"min": 0, "max": 64}}, "batch_size: Input should be greater than or equal to 1"),
        ({"float": {"min": 32.5, "max": 64}}, "integer"),
    ],
)
def test_a_whole_number_is_searched_in_whole_numbers(
    tmp_path: Path, value: dict[str, Any], expected: str
) -> None:
    assert expected in refusal(tmp_path, changed("tune.models.mlp.batch_size", value))


def test_a_space_holds_fixed_values_and_ranges() -> None:
    values = shipped()["tune"]["models"]["mlp"] | {
        "dropout": {"float": {"min": 0.1, "max": 0.5}},
        "batch_size": {"int": {"min": 32, "max": 128, "step": 32}},
        "hidden_units": {"choice": [[64], [64, 32]]},
        "learning_rate": 0.001,
    }
    space = parse_search_space("mlp", values)
    assert list(space) == list(values)
    assert space["learning_rate"] == 0.001
    assert isinstance(space["dropout"], FloatRange)
    assert isinstance(space["batch_size"], IntRange)
    assert isinstance(space["hidden_units"], Choice)
    assert space["hidden_units"].boundary_values() == [[64], [64, 32]]


UNITS = {"choice": [64, 32]}


def test_a_list_is_searched_item_by_item() -> None:
    units = {"list": {"items": [UNITS, {"int": {"min": 16, "max": 48, "step": 16}}], "shortest": 1}}
    values = shipped()["tune"]["models"]["mlp"] | {"hidden_units": units, "dropout": 0.1}
    found = parse_search_space("mlp", values)["hidden_units"]
    assert isinstance(found, ListRange)
    assert list(found.dimensions("u")) == ["u.length", "u.1", "u.2"]
    assert found.assemble("u", {"u.length": 1, "u.1": 64, "u.2": 48}) == [64]
    assert found.assemble("u", {"u.length": 2, "u.1": 64, "u.2": 48}) == [64, 48]
    assert list(found.boundary_values()) == [[64, 16], [64], [32, 16], [64, 48]]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"items": []}, "hidden_units.list.items: "),
        ({"items": [UNITS], "shortest": 2}, "shortest 2 exceeds the number of items, 1"),
        ({"items": [UNITS], "shortest": 0}, "greater than or equal to 1"),
        ({"items": [UNITS] * 17}, "hidden_units.list.items: "),
        (
            {"items": [{"choice": [0]}]},
            "hidden_units.0: Input should be greater than or equal to 1",
        ),
        ({"items": [UNITS, {"choice": [8, 0]}]}, "hidden_units.1: Input should be greater"),
        ({"items": UNITS}, "items"),
        ({}, "items: is missing"),
    ],
)
def test_an_impossible_list_is_refused(
    tmp_path: Path, value: dict[str, Any], expected: str
) -> None:
    assert expected in refusal(tmp_path, changed("tune.models.mlp.hidden_units", {"list": value}))


@pytest.mark.parametrize("content", ["seed: [1", "a: b: c", "\tseed: 1"])
def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path, content: str) -> None:
    assert "is not valid YAML" in refusal(tmp_path, content)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not valid YAML"):
        read_parameters(path)


@pytest.mark.parametrize("content", ["", "- 1", "seed"])
def test_a_file_without_sections_is_refused(tmp_path: Path, content: str) -> None:
    assert "dictionary" in refusal(tmp_path, content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params\.yaml is missing"):
        read_parameters(tmp_path / "params.yaml")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    content = changed("seed", 0)
    content["threads"] = 0
    message = refusal(tmp_path, content)
    assert "seed" in message
    assert "threads" in message


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(SHIPPED.read_text() + "\nseed: 2\n")
    with pytest.raises(UserError, match=r'found duplicate key "seed" with value "2".* in line '):
        read_parameters(path)


def test_all_combinations_of_a_small_space_are_tried(tmp_path: Path) -> None:
    # Each value is possible beside the first of the other, but 7 and [3, 1] leave no pixel.
    space = {"kernel_size": {"choice": [5, 7]}, "padding": "valid", "filters": [8, 8]}
    content = changed("tune.models.cnn.convolutions", {"choice": [[1, 1], [3, 1]]})
    content["tune"]["models"]["cnn"] |= space
    assert "block 2 reduces the 28×28 pixels to none" in refusal(tmp_path, content)
    content["tune"]["models"]["cnn"]["kernel_size"] = 5
    read(tmp_path, content)


def test_every_value_of_a_space_with_too_many_combinations_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sidebyside.config.search_space.MAX_COMBINATIONS", 1)
    choices = {"activation": {"choice": ["relu", "gelu", "ReLU"]}, "dropout": {"choice": [0.1, 0]}}
    # The combinations change the first key last.
    values = choices | {
        name: value
        for name, value in shipped()["tune"]["models"]["mlp"].items()
        if name not in choices
    }
    with pytest.raises(ValueError, match=r"^tune\.models\.mlp\.activation: .*'ReLU'$"):
        parse_search_space("mlp", values)


@pytest.mark.parametrize("kind", ["folder", "url", "debian"])
@pytest.mark.parametrize("text", ["a\nb", "a\x1b[2Jb", "\x00"])
def test_a_source_is_printable_text(tmp_path: Path, kind: str, text: str) -> None:
    message = refusal(tmp_path, changed("download.sources", [{kind: text}]))
    assert f"download.sources.0.{kind}: must be printable text" in message


def test_a_long_value_is_cut_in_the_message(tmp_path: Path) -> None:
    message = refusal(tmp_path, changed("tune.search.strategy", "x" * 100_000))
    assert "xxx…" in message
    assert len(message) < 400


def test_one_wrong_item_is_told_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, changed("train.seeds", [0]))
    assert message.count("train.seeds") == 1
