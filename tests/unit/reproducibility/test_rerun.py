import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sidebyside.core.errors import UserError
from sidebyside.reproducibility import rerun
from sidebyside.reproducibility.verification import Verification

if TYPE_CHECKING:
    pass


@pytest.mark.parametrize("smoke", [True, False])
def test_a_run_that_differs_fails_and_only_a_full_run_writes_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, smoke: bool
) -> None:
    for name in ("clone", "set_parameters", "delete_results", "reproduce", "restore_results",
                 "require_results"):  # fmt: skip
        monkeypatch.setattr(rerun, name, lambda *_: tmp_path)
    monkeypatch.setattr(rerun, "verify", lambda *_: Verification("text", False, "file.md"))
    written: list[tuple[str, str]] = []
    monkeypatch.setattr(rerun, "write_text", lambda path, text: written.append((path.name, text)))
    monkeypatch.setattr(sys, "argv", ["verify", *["--smoke"] * smoke])
    with pytest.raises(UserError, match="the new run differs"):
        rerun.main()
    assert written == ([] if smoke else [("file.md", "text")])
