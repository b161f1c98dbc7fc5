"""The models of docs/models.md for images of several shapes and numbers of classes."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import sidebyside.models
from sidebyside.config import hyperparameters
from sidebyside.config.hyperparameters import RECORDS, Hyperparameters, parse_hyperparameters
from sidebyside.models import architectures
from tests.support.datasets import dataset
from tests.support.models_page import MODELS, PAGE, blocks

VALUES: dict[str, dict[str, Any]] = {
    "logistic": {"l2": 0.1},
    "residual": {"filters": 4, "blocks": 2},
}
NAMES = tuple(f"class {label}" for label in range(200))


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the page's models to the running process, as long as the test."""
    folders = [*sidebyside.models.__path__, str(tmp_path)]
    monkeypatch.setattr(sidebyside.models, "__path__", folders)
    for model in MODELS:
        record, builder, _ = blocks(model)
        added = dict(vars(hyperparameters), RECORDS={})
        exec(compile(record.code, record.file, "exec"), added)  # noqa: S102  # of the project
        monkeypatch.setitem(RECORDS, model, added["RECORDS"][model])
        name = added["RECORDS"][model].__name__
        monkeypatch.setattr(hyperparameters, name, added[name], raising=False)
        (tmp_path / Path(builder.file).name).write_text(builder.code)
        monkeypatch.delitem(sys.modules, f"sidebyside.models.{model}", raising=False)


@pytest.mark.parametrize(
    ("shape", "classes", "parameters"),
    [
        ((8, 8, 1), 2, {"logistic": 130, "residual": 1370}),
        ((32, 48, 3), 200, {"logistic": 921_800, "residual": 3224}),
    ],
)
@pytest.mark.usefixtures("page")
def test_the_models_of_the_page_fit_any_data_set(
    shape: tuple[int, int, int], classes: int, parameters: dict[str, int]
) -> None:
    data = dataset(*shape, NAMES[:classes])
    for model in MODELS:
        record = parse_hyperparameters(model, VALUES[model], "test")
        network = architectures.build(model, record, data, 1)
        assert network.count_params() == parameters[model]
        assert network.output.shape == (None, classes)


def test_the_page_has_the_default_of_every_hyperparameter_of_training() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", PAGE.read_text(), re.M))
    defaults = {name: field.default for name, field in Hyperparameters.model_fields.items()}
    assert {name: yaml.safe_load(value) for name, value in rows.items()} == defaults
    assert list(rows) == list(defaults)
