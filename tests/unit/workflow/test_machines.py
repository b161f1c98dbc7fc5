from pathlib import Path

import pytest

from sidebyside.core.errors import UserError
from sidebyside.workflow.machines import Machines

HERE = {"fingerprint": "a", "processor": "x"}
THERE = {"fingerprint": "b", "processor": "x", "gpu": "G"}


def test_the_machine_is_this_one_if_no_other_is_known(tmp_path: Path) -> None:
    assert Machines(tmp_path / "machines.json", HERE).facts == HERE


def test_machines_that_killed_processes_used_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "machines.json"
    for _ in range(2):
        Machines(file, HERE).add(THERE)
    assert Machines(file, HERE).facts == THERE  # nothing was done here
    again = Machines(file, HERE)
    again.add(HERE)
    assert again.facts == {"fingerprint": "a, b", "processor": "x", "gpu": "G, none"}


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "machines.json").write_text("1")
    with pytest.raises(UserError, match=r"machines.json is damaged: delete it"):
        Machines(tmp_path / "machines.json", HERE)
