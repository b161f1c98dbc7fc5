"""Carry out the command that a message advises: what failed before must succeed after it."""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.checkout import Checkout

pytestmark = pytest.mark.timeout(1200)

BACKFILL = ("python", "-m", "sidebyside.tracking.backfill")
AUDIT = ("python", "-m", "sidebyside.tracking.audit")
CHAMPION = ("python", "-c", """
from pathlib import Path
from sidebyside.config.parameters import read_parameters
from sidebyside.core.errors import UserError
from sidebyside.serving.serve import champion
from sidebyside.tracking.views import registered_model
name = registered_model(read_parameters(Path("params.yaml")).dataset.name, "cnn")
try:
    print(champion(Path.cwd(), name))
except UserError as error:
    raise SystemExit(f"serve: error: {error}")
""")  # fmt: skip


LOAD = ("python", "-c", """
from pathlib import Path
from sidebyside.config.dataset import read_dataset
from sidebyside.core.errors import UserError
from sidebyside.models.loading import load_model
try:
    dataset = read_dataset(Path("data/processed/dataset.json"))
    load_model(Path("models/mlp-original-1.keras"), dataset)
except UserError as error:
    raise SystemExit(f"load: error: {error}")
""")  # fmt: skip


def delete(*names: str) -> "Callable[[Checkout], None]":
    def damage(checkout: "Checkout") -> None:
        for name in names:
            (checkout.root / name).unlink()

    return damage


def forget_runs(checkout: "Checkout") -> None:
    checkout.forget_runs()


def forget_champion(checkout: "Checkout") -> None:
    from tests.support.stores import REGISTERED, client_of

    client_of(checkout.root).delete_registered_model_alias(REGISTERED["cnn"], "champion")


def change_parameter(checkout: "Checkout") -> None:
    checkout.edit({"evaluate.bootstrap_samples": 300})


def swap_models(checkout: "Checkout") -> None:
    models = checkout.root / "models"
    (models / "mlp-original-1.keras").unlink()
    (models / "mlp-original-1.keras").write_bytes((models / "mlp-augmented-1.keras").read_bytes())


def record_trials_without_the_second(checkout: "Checkout") -> None:
    """Remove a trial's curves, and let DVC record the rest as the result."""
    path = checkout.root / "data/trials/mlp.csv"
    rows = path.read_text().splitlines(keepends=True)
    path.unlink()
    path.write_text("".join(row for row in rows if not row.startswith("2,")))
    checkout.run("dvc", "commit", "--force", "tune@mlp")


def record_an_evaluation_without_settings(checkout: "Checkout") -> None:
    path = checkout.root / "reports/evaluate/evaluation.json"
    content = json.loads(path.read_text())
    del content["settings"]
    path.write_text(json.dumps(content) + "\n")
    checkout.run("dvc", "commit", "--force", "evaluate")


CASES: "dict[str, tuple[tuple[str, ...], Callable[[Checkout], None], str]]" = {
    "lost store, serving": (CHAMPION, forget_runs, "make repro backfill"),
    "lost store, audit": (AUDIT, forget_runs, "make repro backfill"),
    "no champion": (CHAMPION, forget_champion, "make repro backfill"),
    "missing report": (BACKFILL, delete("reports/train/mlp-original-1/model.json"), "dvc repro"),
    "missing curves": (BACKFILL, delete("data/trials/mlp.csv"), "dvc repro"),
    "missing model": (BACKFILL, delete("models/mlp-original-1.keras"), "dvc repro"),
    "missing data": (BACKFILL, delete("data/processed/val.npz"), "dvc repro"),
    "missing model, loading": (LOAD, delete("models/mlp-original-1.keras"), "dvc repro train"),
    "other settings": (BACKFILL, change_parameter, "dvc repro"),
    "swapped model": (
        BACKFILL,
        swap_models,
        "dvc checkout --force models/mlp-original-1.keras",
    ),
    "lost trial": (
        BACKFILL,
        record_trials_without_the_second,
        "dvc repro --force --single-item tune@mlp",
    ),
    "damaged evaluation": (
        BACKFILL,
        record_an_evaluation_without_settings,
        "dvc repro --force --single-item evaluate",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_advised_command_cures(own: "Checkout", case: str) -> None:
    command, damage, advised = CASES[case]
    damage(own)
    (line,) = failure(own, command)
    assert re.findall("`([^`]+)`", line) == [advised]
    program, *arguments = advised.split()
    if program == "make":
        arguments = ["--assume-old", ".venv/installed", *arguments]
    own.run(program, *arguments)
    own.run(*command, environment={"PYTHONPATH": "src"})


def failure(checkout: "Checkout", command: tuple[str, ...]) -> list[str]:
    done = checkout.run(*command, environment={"PYTHONPATH": "src"}, fails=True)
    return [line for line in done.stderr.splitlines() if ": error: " in line]
