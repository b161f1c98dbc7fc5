"""The content of params.yaml, and its validation."""

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidebyside.config.paths import CHECKOUT
from sidebyside.core.errors import UserError
from sidebyside.core.seeding import derive_seed
from sidebyside.models.tensorflow_setup import configure
from study.plan import Plan, read_plan, read_studied_dataset
from tests.support import replicating
from tests.support.datasets import FASHION_MNIST, dataset

configure(threads=2)

import keras  # noqa: E402  # TensorFlow must be configured before anything loads it

from sidebyside.models import architectures  # noqa: E402

PARAMS = CHECKOUT / "replications/params.yaml"
PLAN = read_plan(PARAMS)


@functools.cache
def partial_plan() -> dict[str, Any]:
    """Return a part of the plan; parsing all of it is slow."""
    content: dict[str, Any] = yaml.safe_load(PARAMS.read_text())
    kept = ("1-dropout", "1-no-dropout", "2-mlp", "2-cnn", "3-tyler", "5-hyperband", "5-found")
    replicating.keep(content, *kept)
    return content


def changed(tmp_path: Path, key: str, value: object) -> Path:
    """Write a plan with one changed value, given by its path with slashes."""
    content = copy.deepcopy(partial_plan())
    *parents, last = key.split("/")
    section: Any = content
    for part in parents:
        section = section[int(part) if isinstance(section, list) else part]
    if value is None:
        del section[last]
    else:
        section[int(last) if isinstance(section, list) else last] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


# The rows of the grid are the two final MLPs with other optimizers.
@pytest.mark.parametrize("name", [name for name in PLAN.models if "-grid-" not in name])
def test_a_printed_number_of_parameters_is_that_of_the_model(name: str) -> None:
    part = PLAN.models[name]
    printed = {m: v for one in part.published for m, v in one.values.items()}.get("parameters")
    record = PLAN.record(name, Path("nowhere"))
    model = architectures.build(part.model, record, dataset(), seed=1)
    assert isinstance(model, keras.Model)
    if printed:
        assert model.count_params() == int(printed)


def test_every_printed_number_of_parameters_belongs_to_a_model() -> None:
    printed = [
        v for p in PLAN.models.values() for o in p.published for v in [o.values.get("parameters")]
    ]
    assert sorted(filter(None, printed)) == ["241546"] * 3 + ["269322", "335114"]


def test_the_grid_has_every_row_of_both_tables() -> None:
    rows = {name: part for name, part in PLAN.models.items() if name.startswith("4-grid-")}
    settings = {
        (len(h["hidden_units"]), h["optimizer"], h["learning_rate"], h["batch_size"])
        for h in (row.hyperparameters for row in rows.values())
    }
    rates = {"adam": (0.001, 0.0001), "sgd": (0.1, 0.01)}
    assert settings == {
        (layers, optimizer, rate, batch)
        for layers in (2, 3)
        for optimizer in rates
        for rate in rates[optimizer]
        for batch in (128, 256, 512)
    }
    assert len(rows) == len(settings)


def test_a_final_model_has_five_seeds_or_for_a_cnn_three() -> None:
    for name, part in PLAN.models.items():
        if not name.startswith("4-grid-"):
            assert len(part.seeds) == (3 if part.model == "cnn" else 5), name


def test_a_winner_has_five_seeds_or_for_a_cnn_one() -> None:
    for name, part in PLAN.winners.items():
        assert len(part.seeds) == (1 if part.model == "cnn" else 5), name


def test_the_winning_cnn_is_trained_exactly_as_its_trial() -> None:
    part = PLAN.winners["2-cnn-found"]
    searched = PLAN.searches[part.search].search
    assert part.seeds == (derive_seed(PLAN.seed, "trial", 0),)
    assert (part.changes, part.data, searched.executions_per_trial) == ({}, "original", 1)
    settings = (part.training.epochs, part.training.patience, part.training.monitor)
    assert settings == (searched.epochs, searched.patience, searched.objective)
    assert part.training.keep == "best"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", 0, "seed"),
        ("threads", None, "threads: is missing"),
        ("confidence", 1, "less than 1"),
        ("more", 1, "more: unknown key"),
        ("systems/1/title", "", "systems.1.title"),
        ("searches/2-mlp/system", "6", "2-mlp: unknown system '6'"),
        ("searches/2-mlp/model", "rnn", "unknown model 'rnn'"),
        ("searches/2-mlp/space/learning_rate", {"choice": [-1.0]}, "learning_rate"),
        ("searches/2-mlp/search/strategy", "luck", "'random', 'bayesian'"),
        ("searches/2-mlp/source", None, "2-mlp.source: is missing"),
        ("searches/2-mlp/printed", ["2-mlp-found"], "printed: unknown mlp '2-mlp-found'"),
        ("models/3-tyler/system", "7", "3-tyler: unknown system '7'"),
        ("models/3-tyler/seeds", [], "at least 1 item"),
        ("models/3-tyler/data", "augmentd", "'original' or 'augmented'"),
        ("models/3-tyler/training/monitor", "loss", "'val_accuracy' or 'val_loss'"),
        ("models/3-tyler/training/keep", "first", "'best' or 'last'"),
        ("models/3-tyler/hyperparameters/dropout", 0.95, "less than or equal to 0.9"),
        ("models/3-tyler/hyperparameters/dropout", None, "dropout: is missing"),
        ("searches/2-mlp/printed", ["2-cnn"], "printed: unknown mlp '2-cnn'"),
        ("models/3-tyler/seeds", [1, 2, 1], "seeds are not distinct: 1, 2, 1"),
        ("models/3-tyler/source", "", "models.3-tyler.source"),
        ("models/3-tyler/published/0/values", {"accuracy": "0.9"}, "test_accuracy"),
        ("models/3-tyler/published/0/values", {"test_accuracy": "90 %"}, "pattern"),
        ("models/3-tyler/published/0/values", {"f1": "0.9 0.9"}, "f1 has 2 values, expected 10"),
        ("models/3-tyler/published/0/values", {"test_loss": "0.9 0.9"}, "2 values, expected 1"),
        ("winners/5-found/search", "5-luck", "unknown search '5-luck'"),
        ("winners/3-tyler", yaml.safe_load("{}"), "winners.3-tyler"),
        ("winners/5-found/system", "8", "5-found: unknown system '8'"),
        (
            "winners/5-found/search",
            "2-cnn",
            "winners.5-found.model: 2-cnn searches 'cnn', not 'mlp'",
        ),
        (
            "claims/0/system",
            "9",
            "claim 'The model without dropout has a lower accuracy': unknown system",
        ),
        ("lowest/0/system", "9", "unknown system '9'"),
        ("claims/0/second", "1-nothing", "unknown model '1-nothing'"),
        ("claims/0/first", "1-nothing", "unknown model '1-nothing'"),
        ("claims/0/metric", "accuracy", "claims.0.metric"),
        ("claims/0/direction", "better", "'higher' or 'lower'"),
        ("lowest/0/model", "2-rnn", "unknown model '2-rnn'"),
        ("lowest/0/classes", ["Hat"], "'Shirt'"),
        ("lowest/0/classes", [], "at least 1 item"),
        ("lowest/0/metric", "loss", "'recall'"),
    ],
)
def test_an_invalid_value_is_refused_and_its_key_named(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    with pytest.raises(UserError, match=r"params\.yaml") as refusal:
        read_plan(changed(tmp_path, key, value))
    assert message in str(refusal.value)


def test_a_name_of_both_a_model_and_a_winner_is_refused(tmp_path: Path) -> None:
    winner = yaml.safe_load(PARAMS.read_text())["winners"]["5-found"]
    with pytest.raises(UserError, match="3-tyler is in both models and winners: rename one"):
        read_plan(changed(tmp_path, "winners/3-tyler", winner))


def test_a_winner_has_the_hyperparameters_of_its_search_with_its_changes(tmp_path: Path) -> None:
    tyler = PLAN.record("3-tyler", tmp_path)
    (tmp_path / "1-dropout").mkdir()
    (tmp_path / "1-dropout/hyperparameters.json").write_text(tyler.model_dump_json())
    assert PLAN.record("1-dropout", tmp_path) == tyler
    without = PLAN.record("1-no-dropout", tmp_path)
    assert without == tyler.model_copy(update={"dropout": 0.0, "input_dropout": 0.0})


def test_a_winner_needs_the_result_of_its_search(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1-dropout/hyperparameters\.json is missing"):
        PLAN.record("1-dropout", tmp_path)


def test_an_invalid_change_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1-dropout").mkdir()
    found = tmp_path / "1-dropout/hyperparameters.json"
    found.write_text(PLAN.record("3-tyler", tmp_path).model_dump_json())
    winner = PLAN.winners["1-no-dropout"].model_copy(update={"changes": {"dropout": 2.0}})
    plan: Plan = PLAN.model_copy(update={"winners": {"1-no-dropout": winner}})
    with pytest.raises(UserError, match=r"winners\.1-no-dropout\.changes: dropout"):
        plan.record("1-no-dropout", tmp_path)


def test_an_unknown_model_is_refused_and_the_known_ones_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown model '6-more': choose from 2-mlp"):
        PLAN.record("6-more", tmp_path)


def test_the_page_depends_on_everything_in_the_plan_that_it_shows() -> None:
    stages = yaml.safe_load((PARAMS.parent / "dvc.yaml").read_text())["stages"]
    anchors = {"keras", "mlp", "cnn"}
    own = {entry for entry in stages["compare"]["params"] if isinstance(entry, str)}
    assert own == {*Plan.model_fields} - anchors


def test_the_page_shows_the_choices_of_the_plan() -> None:
    page = (PARAMS.parent / "report.md").read_text(encoding="utf-8")
    choices = [choice for system in PLAN.systems.values() for choice in system.choices]
    stale = [choice for choice in choices if choice not in page]
    assert not stale, "run `dvc repro --single-item compare` in replications"


def test_another_data_set_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(FASHION_MNIST.model_dump_json())
    assert read_studied_dataset(path) == FASHION_MNIST
    path.write_text(dataset(name="mnist", title="MNIST").model_dump_json())
    with pytest.raises(UserError, match=r"^the published systems classify Fashion-MNIST, .* MNIST"):
        read_studied_dataset(path)
