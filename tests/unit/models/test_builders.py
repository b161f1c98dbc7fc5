"""Errors of an architecture's builder, each in one line before anything is trained."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import pytest

import sidebyside.models
from sidebyside.config.hyperparameters import RECORDS, Hyperparameters
from sidebyside.core.errors import TrainingError, UserError
from sidebyside.models import builders
from sidebyside.models.builders import call_builder, find_builder
from tests.support.datasets import dataset
from tests.support.training import record_of

BuilderOf = Callable[[str], Path]


@pytest.fixture
def builder_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BuilderOf]:
    """Return a function that writes the module of architecture `own`: its code → its file."""
    file = tmp_path / "own_model.py"
    path = [*sidebyside.models.__path__, str(tmp_path)]
    monkeypatch.setattr(sidebyside.models, "__path__", path)
    monkeypatch.setattr(builders, "MODELS", tmp_path)
    monkeypatch.setattr(builders, "CHECKOUT", tmp_path)
    own = type("OwnHyperparameters", (Hyperparameters,), {"builder": "own_model:build"})
    monkeypatch.setitem(RECORDS, "own", own)

    def write(code: str) -> Path:
        file.write_text(code)
        return file

    yield write
    sys.modules.pop(f"{builders.__package__}.own_model", None)
    vars(sidebyside.models).pop("own_model", None)


def call() -> keras.Model:
    return call_builder("own", record_of(), dataset())


def test_every_architecture_has_a_builder() -> None:
    assert all(callable(find_builder(model)) for model in RECORDS)


def test_a_builder_gets_the_record_and_the_data_set(builder_of: BuilderOf) -> None:
    builder_of("def build(h, dataset):\n    return h.learning_rate, dataset.classes\n")
    assert call() == (record_of().learning_rate, 10)


def test_a_module_without_the_function_is_an_error(builder_of: BuilderOf) -> None:
    builder_of("def built(h, dataset): ...\n")
    with pytest.raises(
        UserError, match=r"^own cannot be built: own_model\.py has no function build$"
    ):
        find_builder("own")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_package\n", r":1: ModuleNotFoundError: No module named 'no_such_package'"),
        ("x = 1\ndef build(:\n", r":2: SyntaxError: invalid syntax .*"),
        ("x = 1\n\ny = undefined\n", r":3: NameError: name 'undefined' is not defined"),
    ],
)
def test_an_error_at_import_names_the_line(builder_of: BuilderOf, code: str, reason: str) -> None:
    builder_of(code)
    with pytest.raises(UserError, match=rf"^own cannot be built: own_model\.py{reason}$"):
        find_builder("own")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("    return h.filters\n", r":2: AttributeError: .* has no attribute 'filters'"),
        ("    raise ValueError('a\\nb')\n", r":2: ValueError: a"),
        ("    return 1 / 0\n", r":2: ZeroDivisionError: division by zero"),
    ],
)
def test_an_error_of_the_builder_names_the_line_and_fails_the_trial_only(
    builder_of: BuilderOf, code: str, reason: str
) -> None:
    builder_of(f"def build(h, dataset):\n{code}")
    with pytest.raises(TrainingError, match=rf"^own cannot be built: own_model\.py{reason}$"):
        call()


def test_an_error_of_keras_names_the_line_of_the_builder(builder_of: BuilderOf) -> None:
    builder_of(
        "from keras import Input, layers\n\n"
        "def build(h, dataset):\n"
        "    x = Input((8, 8, 1))\n"
        "    return layers.Conv2D(4, 9)(x)\n"
    )
    with pytest.raises(TrainingError, match=r"^own cannot be built: own_model\.py:5: Value"):
        call()


def test_running_out_of_memory_is_not_an_error_of_the_builder(builder_of: BuilderOf) -> None:
    builder_of("def build(h, dataset):\n    raise MemoryError\n")
    with pytest.raises(MemoryError):
        call()
