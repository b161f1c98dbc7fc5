"""The pipeline in hostile environments: the same bytes, or other bytes under another fingerprint.

All variables are hostile at once, then each alone: one that acted would change a byte or stop a
stage.
"""

import functools
import shutil
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sidebyside.core import environment
from sidebyside.core.files import read_json
from tests.support.checkout import Checkout
from tests.support.environment_probes import Probe, probe_of
from tests.support.hostile_environment import HOSTILE, OTHER_MACHINE, UNUSUAL, hostile

pytestmark = pytest.mark.timeout(1200)

STAGES = (
    *(("download",), ("preprocess",), ("augment",), ("tune", "mlp"), ("tune", "cnn")),
    *(("train", "mlp", "original", "1"), ("train", "cnn", "original", "1"), ("evaluate",)),
)
# Python itself ends with these; `make` clears them.
FATAL = {"PYTHONHOME": "/nowhere", "PYTHONPLATLIBDIR": "nowhere", "PYTHONSAFEPATH": "1"}


@pytest.fixture(scope="module")
def new(checkout_from: Callable[..., Checkout]) -> Callable[[], Checkout]:
    """Return a function that makes a checkout with one training per architecture."""

    def make() -> Checkout:
        checkout: Checkout = checkout_from()
        checkout.edit({"train.data": ["original"], "tune.search.trials": 1})
        # XLA compiles the activation of a CNN without batch normalization.
        checkout.edit({"tune.models.cnn.batch_norm": False})
        checkout.commit()
        return checkout

    return make


class Outcome(NamedTuple):
    """What stages have made."""

    digests: Mapping[str, str]  # path → SHA-256
    fingerprint: str


@pytest.fixture(scope="module")
def usual(new: Callable[[], Checkout]) -> Outcome:
    """The outcome in the tests' own environment."""
    return outcome(new(), {}, forked=True)


def outcome(checkout: Checkout, variables: Mapping[str, str], *, forked: bool = False) -> Outcome:
    """Run all stages without DVC."""
    for script, *arguments in STAGES:
        checkout.stage(script, *arguments, environment=variables, forked=forked)
    return made_in(checkout)


def made_in(checkout: Checkout) -> Outcome:
    digests = {name: digest for name, digest in checkout.results().items() if name != "dvc.lock"}
    provenance = read_json(checkout.root / ".state/provenance/train@cnn-original-1.json")
    return Outcome(digests, provenance["machine"]["fingerprint"])


def test_hostile_variables_cover_the_table(tmp_path: Path) -> None:
    names = hostile(tmp_path)
    for entry in environment.TABLE:
        if entry.treatment in (environment.CLEARED, environment.PINNED):
            for pattern in entry.names.split():
                assert any(fnmatchcase(name, pattern) for name in names), pattern


def test_stages_give_the_same_bytes_with_every_hostile_variable(
    usual: Outcome, new: Callable[[], Checkout], tmp_path: Path
) -> None:
    assert outcome(new(), {**hostile(tmp_path), "LC_ALL": "C"}) == usual


def test_make_repro_gives_the_same_bytes_with_every_hostile_variable(
    usual: Outcome, new: Callable[[], Checkout], tmp_path: Path
) -> None:
    checkout = new()
    line = ("make", "--assume-old", ".venv/installed", "repro")
    checkout.run(*line, environment={**hostile(tmp_path), **FATAL}, forked=False)
    assert made_in(checkout) == usual


def test_kept_variables_change_no_byte(usual: Outcome, new: Callable[[], Checkout]) -> None:
    assert outcome(new(), UNUSUAL) == usual


@pytest.fixture(scope="module")
def prepared(new: Callable[[], Checkout]) -> Checkout:
    """A checkout in which every stage has run; its store lacks the training of the MLP."""
    checkout = new()
    for script, *arguments in STAGES:
        if (script, *arguments[:1]) == ("train", "mlp"):
            shutil.copy(checkout.root / "mlflow.db", checkout.root / ".state/before.db")
        checkout.stage(script, *arguments)
    return checkout


@pytest.fixture(scope="module")
def usually(prepared: Checkout) -> Callable[[Probe], Any]:
    """Return a function that returns what a probe makes in the tests' own environment."""
    return functools.cache(lambda probe: probe(prepared, {}))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of settings files that hostile variables name."""
    return tmp_path_factory.mktemp("settings")


@pytest.mark.parametrize("name", [*HOSTILE, *UNUSUAL])
def test_no_variable_alone_changes_a_result(
    name: str, prepared: Checkout, usually: Callable[[Probe], Any], settings: Path
) -> None:
    probe, value = probe_of(name), {**UNUSUAL, **hostile(settings)}[name]
    assert probe(prepared, {name: value}) == usually(probe)


@pytest.mark.parametrize("name", OTHER_MACHINE)
def test_a_variable_that_may_change_bits_is_part_of_the_fingerprint(
    name: str, prepared: Checkout, usually: Callable[[Probe], Any]
) -> None:
    probe = probe_of(name)
    assert probe(prepared, {name: OTHER_MACHINE[name]})[1] != usually(probe)[1]
