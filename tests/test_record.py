"""A clone's results are taken over into this checkout."""

from pathlib import Path

import pytest
from dvc.repo import Repo

from fashion import record


@pytest.mark.parametrize("shared", [False, True])
def test_results_and_cache_of_a_clone_are_taken_over(tmp_path: Path, shared: bool) -> None:
    root, clone = tmp_path / "root", tmp_path / "clone"
    for checkout in (root, clone):
        scores = checkout / f"reports/evaluate/scores-of-{checkout.name}.json"
        scores.parent.mkdir(parents=True)
        scores.touch()
        (checkout / "dvc.lock").write_text(checkout.name)
        (checkout / "model").write_text(checkout.name)
        Repo.init(str(checkout), no_scm=True)
        if shared:
            with (checkout / ".dvc/config").open("a") as config:
                config.write(f"[cache]\ndir = {tmp_path / 'cache'}\n")
    Repo(str(clone)).add(str(clone / "model"))

    record.keep_results(clone, root)

    assert (root / "dvc.lock").read_text() == "clone"
    kept = [path.name for path in (root / "reports/evaluate").iterdir()]
    assert kept == ["scores-of-clone.json"]
    (root / "model.dvc").write_bytes((clone / "model.dvc").read_bytes())
    Repo(str(root)).checkout(force=True)
    assert (root / "model").read_text() == "clone"
    assert (root / ".dvc/cache").exists() is not shared
