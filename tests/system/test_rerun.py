"""Two smoke runs in different environments agree."""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.checkout import Checkout


@pytest.mark.timeout(1200)
def test_two_smoke_runs_agree_in_different_environments(
    checkout_from: "Callable[..., Checkout]",
) -> None:
    checkout: Checkout = checkout_from()
    checkout.edit({"train.models": ["mlp"], "train.data": ["original"]})
    (checkout.root / "src/sidebyside/reproducibility/smoke.txt").write_text(
        "train.budget.mlp.epochs=1\n"
    )
    others = {"mlp-original-2": {split: {"accuracy": 0.9} for split in ("val", "test")}}
    (checkout.root / "reports/reference").mkdir(parents=True)
    (checkout.root / "reports/reference/metrics.json").write_text(json.dumps(others))
    checkout.commit()
    done = checkout.run(
        *("python", "-m", "sidebyside.reproducibility.rerun", "--smoke", "--vary"),
        environment={"PYTHONPATH": "src"},
    )
    assert "every byte was compared" in done.stdout
    assert re.search(r"^Agreed: (\d+) identical of \1 outputs", done.stdout, re.M)
    assert re.search(r"^\| mlp-original \| test \|.*\| within tolerance \|$", done.stdout, re.M)
    assert checkout.run("git", "status", "--porcelain").stdout == ""
