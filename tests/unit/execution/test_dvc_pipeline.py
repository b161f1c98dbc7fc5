import contextlib
from pathlib import Path

import pytest
from dvc.cli import main as dvc

from sidebyside.core.errors import UserError
from sidebyside.execution.dvc_pipeline import predecessors, sort_lock, stale
from tests.support.stages import NAMES, entries, new_pipeline


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline after a plain `dvc repro`."""
    root = new_pipeline(tmp_path_factory.mktemp("pipeline") / "project")
    assert stale(root, NAMES) == {*NAMES}
    with contextlib.chdir(root):
        assert dvc(["repro", "--quiet"]) == 0
    return root


def test_stages_are_in_the_order_of_dvc_with_those_that_they_read(reproduced: Path) -> None:
    found = predecessors(reproduced)
    assert [*found] == entries(reproduced)
    assert {stage: {*before} for stage, before in found.items()} == {
        "first": set(),
        **{f"tune@{model}": {"first"} for model in "xy"},
        **{f"train@{model}-{seed}": {f"tune@{model}"} for model in "xy" for seed in "12"},
        "last": {"first", *(name for name in NAMES if name.startswith("train@"))},
    }


def test_stale_stages_are_those_that_dvc_would_run(reproduced: Path) -> None:
    assert stale(reproduced, NAMES) == set()
    file = reproduced / "x.txt"
    content = file.read_text()
    file.write_text("changed")
    assert stale(reproduced, NAMES) == {"tune@x", "train@x-1", "train@x-2"}
    assert stale(reproduced, ["train@x-1", "last"]) == {"train@x-1"}
    assert stale(reproduced, []) == set()
    file.write_text(content)


def test_the_lock_file_is_sorted_and_stays_as_dvc_writes_it(reproduced: Path) -> None:
    file = reproduced / "dvc.lock"
    before = file.read_text()
    order = entries(reproduced)
    sort_lock(reproduced, order[::-1])
    assert entries(reproduced) == order[::-1]
    # The first place of a stage counts, and an entry that is not named goes to the end.
    sort_lock(reproduced, [*order[:-1], order[0]])
    assert file.read_text() == before
    modified = file.stat().st_mtime_ns
    sort_lock(reproduced, order)
    assert file.stat().st_mtime_ns == modified


def test_a_torn_list_of_locked_files_is_removed(reproduced: Path) -> None:
    file = reproduced / ".dvc/tmp/rwlock"
    file.write_text('{"write": {"x')
    assert stale(reproduced, ["first"]) == set()
    assert "x" not in file.read_text()


def test_without_a_lock_file_there_is_nothing_to_sort(tmp_path: Path) -> None:
    sort_lock(tmp_path, ["first"])


def test_a_pipeline_that_dvc_cannot_read_is_an_error_of_one_line(tmp_path: Path) -> None:
    root = new_pipeline(tmp_path / "project")
    (root / "dvc.yaml").write_text("stages: 3")
    with pytest.raises(UserError, match=r"^DVC cannot read .*/dvc\.yaml: .*") as error:
        predecessors(root)
    assert "\n" not in str(error.value)
