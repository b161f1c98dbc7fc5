from typing import Any

import pytest

from sidebyside.config.search_space import (
    Choice,
    FloatRange,
    IntRange,
    ListRange,
    parse_search_space,
    searched_hyperparameters,
    without_flips,
)
from tests.support.datasets import dataset
from tests.support.hyperparameters import CNN, MLP


def refusal(model: str, values: dict[str, Any]) -> str:
    """Return why a search space is refused, in one line."""
    with pytest.raises(ValueError, match=r"^tune\.models") as caught:
        parse_search_space(model, values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_model_is_refused() -> None:
    assert (
        refusal("cn", CNN)
        == "tune.models: unknown model 'cn': choose from mlp, cnn, or add it as in docs/models.md"
    )


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
def test_a_malformed_or_invalid_range_is_refused(value: dict[str, Any], expected: str) -> None:
    message = refusal("mlp", MLP | {"dropout": value})
    assert message.startswith("tune.models.mlp.dropout")
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
def test_an_integer_needs_a_range_of_integers(value: dict[str, Any], expected: str) -> None:
    assert expected in refusal("mlp", MLP | {"batch_size": value})


def test_a_search_space_has_fixed_values_and_ranges() -> None:
    values = MLP | {
        "dropout": {"float": {"min": 0.1, "max": 0.5}},
        "batch_size": {"int": {"min": 32, "max": 128, "step": 32}},
        "hidden_units": {"choice": [[64], [64, 32]]},
        "learning_rate": 0.001,
    }
    space = parse_search_space("mlp", values)
    assert list(space) == list(values)
    searched = ["dropout", "batch_size", "hidden_units"]
    assert sorted(searched_hyperparameters(space)) == sorted(searched)
    assert space["learning_rate"] == 0.001
    assert isinstance(space["dropout"], FloatRange)
    assert isinstance(space["batch_size"], IntRange)
    assert isinstance(space["hidden_units"], Choice)
    assert space["hidden_units"].boundary_values() == [[64], [64, 32]]


UNITS = {"choice": [64, 32]}


def test_the_items_and_the_length_of_a_list_are_dimensions() -> None:
    units = {"list": {"items": [UNITS, {"int": {"min": 16, "max": 48, "step": 16}}], "shortest": 1}}
    values = MLP | {"hidden_units": units, "dropout": 0.1}
    units_range = parse_search_space("mlp", values)["hidden_units"]
    assert isinstance(units_range, ListRange)
    assert list(units_range.dimensions("u")) == ["u.length", "u.1", "u.2"]
    assert units_range.assemble("u", {"u.length": 1, "u.1": 64, "u.2": 48}) == [64]
    assert units_range.assemble("u", {"u.length": 2, "u.1": 64, "u.2": 48}) == [64, 48]
    assert list(units_range.boundary_values()) == [[64, 16], [64], [32, 16], [64, 48]]


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
def test_an_invalid_list_is_refused(value: dict[str, Any], expected: str) -> None:
    assert expected in refusal("mlp", MLP | {"hidden_units": {"list": value}})


def test_all_combinations_of_a_small_space_are_checked() -> None:
    # Each value is valid beside the first value of the other, but 7 with [3, 1] leaves no pixels.
    space = CNN | {
        "filters": [8, 8],
        "padding": "valid",
        "kernel_size": {"choice": [5, 7]},
        "convolutions": {"choice": [[1, 1], [3, 1]]},
    }
    parse_search_space("cnn", space)  # the images are not known
    parse_search_space("cnn", space, dataset(32, 32))
    with pytest.raises(
        ValueError, match=r"^tune\.models\.cnn\.filters: block 2 reduces the 28×28 "
    ):
        parse_search_space("cnn", space, dataset())
    parse_search_space("cnn", space | {"kernel_size": 5}, dataset())


def test_boundary_values_are_checked_against_the_images() -> None:
    space = MLP | {"shift": {"int": {"min": 0, "max": 5}}}
    parse_search_space("mlp", space, dataset(10, 10))
    with pytest.raises(ValueError, match=r"^tune\.models\.mlp\.shift: at most 4 for 9×10 pixels"):
        parse_search_space("mlp", space, dataset(9, 10))


@pytest.mark.parametrize("flip", [True, {"choice": [True, False]}])
def test_flips_are_off_if_a_mirror_image_may_belong_to_another_class(flip: Any) -> None:
    space, letters = MLP | {"flip": flip}, dataset().model_copy(update={"mirror": False})
    assert without_flips(space, dataset()) == space
    assert without_flips(space, letters) == MLP | {"flip": False}
    assert without_flips({"units": 3}, letters) == {"units": 3}  # off by default


def test_all_values_of_a_large_space_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidebyside.config.search_space.MAX_COMBINATIONS", 1)
    choices = {"activation": {"choice": ["relu", "gelu", "ReLU"]}, "dropout": {"choice": [0.1, 0]}}
    # The first keys vary last among the combinations.
    message = refusal("mlp", choices | {key: MLP[key] for key in MLP if key not in choices})
    assert message.startswith("tune.models.mlp.activation: ")
    assert message.endswith("'ReLU'")
