from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidebyside.config.parameters import Parameters, read_parameters
from sidebyside.config.paths import CHECKOUT
from sidebyside.config.search_space import parse_search_space, searched_hyperparameters
from sidebyside.core.errors import UserError

SHIPPED = CHECKOUT / "params.yaml"
MISSING = object()


def shipped() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    return content


def changed(key: str, value: Any) -> dict[str, Any]:
    """Return the shipped parameters with one key changed, or removed if it is MISSING."""
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
    """Return why the content is refused, in one line that begins with the name of the file."""
    with pytest.raises(UserError) as caught:
        read(folder, content)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("params.yaml")
    return message


def test_the_shipped_parameters_are_valid_and_search_every_model() -> None:
    parameters = read_parameters(SHIPPED)
    assert parameters.seed >= 1
    for model in parameters.train.models:
        assert searched_hyperparameters(parse_search_space(model, parameters.tune.models[model]))


def test_parameters_are_frozen() -> None:
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
def test_an_unknown_key_is_refused_in_every_section(tmp_path: Path, section: str) -> None:
    message = refusal(tmp_path, changed(f"{section}epoch", 1))
    assert "epoch" in message
    assert "unknown key" in message
    for name in section.split(".")[:-1]:
        assert name in message


@pytest.mark.parametrize(
    "section",
    ["seed", "threads", "parts", "download", "preprocess", "augment", "tune", "train", "evaluate"],
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
        # wrong types
        ("seed", "1", "integer"),
        ("seed", 1.5, "integer"),
        ("seed", True, "integer"),
        ("seed", None, "integer"),
        ("download.timeout", "20", "number"),
        ("augment.classes", [2], "string"),
        ("augment.classes", 2, "list"),
        ("augment.classes", "all", "'default'"),
        ("augment.transforms.rotation", "ten", "number"),
        ("tune.search.trials", 4.5, "integer"),
        ("train.seeds", ["1"], "integer"),
        ("train.monitor", 1, "val_accuracy"),
        ("evaluate", 3, "Evaluate"),
        # out of range
        ("seed", 0, "greater than or equal to 1"),
        ("seed", 2**31, "less than or equal to 2147483647"),
        ("threads", 0, "greater than or equal to 1"),
        ("threads", 257, "less than or equal to 256"),
        ("parts", 0, "greater than or equal to 1"),
        ("parts", 65, "less than or equal to 64"),
        ("download.timeout", 0, "greater than 0"),
        ("download.timeout", 3601, "less than or equal to 3600"),
        ("download.timeout", float("nan"), "finite"),
        ("preprocess.val_fraction", 0, "greater than 0"),
        ("preprocess.val_fraction", 1, "less than 1"),
        ("augment.classes", [], "at least 1 item"),
        ("augment.copies", 0, "greater than or equal to 1"),
        ("augment.copies", 101, "less than or equal to 100"),
        ("augment.transforms.rotation", -1, "greater than or equal to 0"),
        ("augment.transforms.rotation", 181, "less than or equal to 180"),
        ("augment.transforms.zoom", -0.1, "greater than or equal to 0"),
        ("augment.transforms.zoom", 1, "less than 1"),
        ("augment.transforms.shift", -1, "greater than or equal to 0"),
        ("augment.transforms.shift", 64.5, "less than or equal to 64"),
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
        ("tune.models.cnn.shift", 65, "less than or equal to 64"),
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
        ("train.data", ["augmentd"], "'original' or 'augmented'"),
        ("train.monitor", "val_acc", "'val_accuracy' or 'val_loss'"),
        ("train.keep", "first", "'best' or 'last'"),
    ],
)
def test_an_invalid_value_is_refused_with_its_key_and_the_allowed_values(
    tmp_path: Path, key: str, value: object, allowed: str
) -> None:
    message = refusal(tmp_path, changed(key, value))
    assert key.rsplit(".", maxsplit=1)[-1] in message
    assert allowed in message
    scalar = value[0] if isinstance(value, list) and value else value
    if isinstance(scalar, (str, int, float)):
        assert repr(scalar) in message


@pytest.mark.parametrize("key", ["train.models", "train.data", "train.seeds"])
def test_duplicate_entries_are_refused(tmp_path: Path, key: str) -> None:
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
            "train: unknown model 'cn': choose from mlp, cnn, or add it as in docs/models.md",
        ),
        (
            lambda content: content["train"]["budget"].update(cn={"epochs": 1, "patience": 1}),
            "train: unknown model 'cn': choose from mlp, cnn, or add it as in docs/models.md",
        ),
        (
            lambda content: content["tune"]["models"].update(cn={}),
            "tune.models: unknown model 'cn': choose from mlp, cnn, or add it as in docs/models.md",
        ),
        (lambda content: content["train"]["budget"].pop("cnn"), "train: budget.cnn is missing"),
        (
            lambda content: content["tune"]["models"].pop("cnn"),
            "tune.models.cnn is missing, but train.models contains cnn",
        ),
        (
            lambda content: content["augment"]["transforms"].update(shear=1),
            "augment.transforms.shear: unknown key: choose from rotation, zoom, shift, flip",
        ),
    ],
)
def test_an_unknown_or_missing_model_or_transform_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], expected: str
) -> None:
    content = shipped()
    change(content)
    assert refusal(tmp_path, content) == f"params.yaml: {expected}"


@pytest.mark.parametrize("content", ["seed: [1", "a: b: c", "\tseed: 1"])
def test_a_file_that_is_not_yaml_is_refused(tmp_path: Path, content: str) -> None:
    assert "is not valid YAML" in refusal(tmp_path, content)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
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


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    content = changed("seed", 0)
    content["threads"] = 0
    message = refusal(tmp_path, content)
    assert "seed" in message
    assert "threads" in message


def test_a_duplicate_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(SHIPPED.read_text() + "\nseed: 2\n")
    with pytest.raises(UserError, match=r'found duplicate key "seed" with value "2".* in line '):
        read_parameters(path)


def test_a_long_value_is_shortened_in_the_message(tmp_path: Path) -> None:
    message = refusal(tmp_path, changed("tune.search.strategy", "x" * 100_000))
    assert "xxx…" in message
    assert len(message) < 400


def test_an_invalid_item_is_reported_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, changed("train.seeds", [0]))
    assert message.count("train.seeds") == 1


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("seed: 1", "seed: 1e999", "seed: Input should be a valid integer, not inf"),
        ("seed: 1", f"seed: {'9' * 5000}", "value has 5000 digits in line 15"),
        ("timeout: 20", f"timeout: {'9' * 400}", "a number of 1329 bits is too large"),
        ("timeout: 20", "timeout: .inf", "download.timeout: Input should be a finite number"),
        ("val_fraction: 0.2", "val_fraction: .nan", "preprocess.val_fraction: Input should be"),
        ("val_fraction: 0.2", "val_fraction: ٠.٢", "should be a valid number, not '٠.٢'"),
        ("seed: 1", "seed: ١٢", "seed: Input should be a valid integer, not '١٢'"),
        ("seed: 1", "seed: yes", "seed: Input should be a valid integer, not 'yes'"),
        ("seed: 1", "seed:\t1", r"found character '\t' that cannot start any token in line 15"),
        ("seed: 1", "seed: !!python/name:os.system", "could not determine a constructor"),
        ("seed: 1", "x: &x [*x]", "a value contains itself in line 15"),
    ],
)  # fmt: skip
def test_a_value_that_is_not_a_plain_number_is_refused(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    assert reason in refusal(tmp_path, SHIPPED.read_text().replace(old, new, 1))


def test_many_problems_are_counted_in_the_message(tmp_path: Path) -> None:
    message = refusal(tmp_path, changed("train.seeds", [0] * 500))
    assert message.endswith("; and 490 more")
