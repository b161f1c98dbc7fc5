"""Commands of the project in a git hook, where git's variables name the user's repository."""

import shutil
from collections.abc import Callable

import pytest

from tests.support.checkout import Checkout

HOOK = """\
#!/bin/sh
test -n "$GIT_INDEX_FILE" || exit 1
exec make --assume-old .venv/installed smoke
"""
LOCK = "schema: '2.0'\nstages:\n  former:\n    cmd: 'true'\n"


@pytest.mark.timeout(600)
def test_a_smoke_run_in_a_hook_of_a_linked_worktree_leaves_the_branch_and_the_index_alone(
    checkout_from: Callable[..., Checkout],
) -> None:
    main = checkout_from()
    main.edit({"train.models": ["mlp"], "train.data": ["original"], "tune.search.trials": 1})
    (main.root / "src/sidebyside/reproducibility/smoke.txt").write_text(
        "evaluate.bootstrap_samples=150\n"
    )
    (main.root / "dvc.lock").write_text(LOCK)
    main.commit()
    hook = main.root / ".git/hooks/pre-commit"
    hook.write_text(HOOK)
    hook.chmod(0o755)
    main.run("git", "worktree", "add", "--quiet", "../linked")
    linked = Checkout(main.root.parent / "linked")
    local = "data/local"  # not in git
    shutil.copytree(main.root / local, linked.root / local, dirs_exist_ok=True)

    (linked.root / "README.md").write_text("changed\n")
    linked.run("git", "add", "README.md")
    linked.run("git", "commit", "--quiet", "--message", "mine", environment={"PYTHONPATH": "src"})

    log = linked.run("git", "log", "--format=%s", "-2").stdout.split()
    changed = linked.run("git", "show", "--format=", "--name-only", "HEAD").stdout.split()
    assert (log, changed) == (["mine", "state"], ["README.md"])
    assert linked.run("git", "status", "--porcelain").stdout == ""
    assert (linked.root / ".state/smoke/reports/evaluate/summary.json").exists()
    assert (linked.root / "dvc.lock").read_text() == LOCK
