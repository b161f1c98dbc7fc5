import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sidebyside.core.errors import UserError
from sidebyside.reproducibility import rerun
from sidebyside.reproducibility.verification import Verification

if TYPE_CHECKING:
    from tests.support.checkout import Checkout


@pytest.mark.system
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


@pytest.mark.parametrize("smoke", [True, False])
def test_a_run_that_differs_fails_and_only_a_full_run_writes_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, smoke: bool
) -> None:
    for name in ("clone", "set_parameters", "delete_results", "reproduce", "restore_results"):
        monkeypatch.setattr(rerun, name, lambda *_: tmp_path)
    monkeypatch.setattr(rerun, "verify", lambda *_: Verification("text", False, "file.md"))
    written: list[tuple[str, str]] = []
    monkeypatch.setattr(rerun, "write_text", lambda path, text: written.append((path.name, text)))
    monkeypatch.setattr(sys, "argv", ["verify", *["--smoke"] * smoke])
    with pytest.raises(UserError, match="the new run differs"):
        rerun.main()
    assert written == ([] if smoke else [("file.md", "text")])
