from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from sidebyside.core.errors import UserError
from sidebyside.reproducibility import clones
from sidebyside.workflow.graph import recorded_outputs

if TYPE_CHECKING:
    from tests.support.checkout import Checkout

PROJECT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_results_of_a_clone_are_restored_from_git_and_the_cache_and_deleted(
    own: "Checkout", tmp_path: Path
) -> None:
    own.commit()
    recorded = clones.clone(own.root, tmp_path / "recorded")
    shared = (own.root / ".dvc/cache").rename(tmp_path / "shared")
    own.run("dvc", "config", "--local", "cache.dir", str(shared))
    clones.restore_results(recorded, own.root)
    for output in recorded_outputs(own.root):
        assert (recorded / output).exists(), output
    model = "models/mlp-original-1.keras"
    assert (recorded / model).read_bytes() == (own.root / model).read_bytes()
    clones.delete_results(recorded)
    assert not [output for output in recorded_outputs(own.root) if (recorded / output).exists()]
    assert not (recorded / "dvc.lock").exists()


def test_restoring_results_without_a_lock_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the last commit has no dvc\.lock"):
        clones.restore_results(tmp_path, tmp_path)


def test_a_failing_dvc_cache_dir_is_reported_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`dvc cache dir` fails: ERROR: configuration error"):
        clones.cache_folder(tmp_path)


def test_cloning_a_folder_that_is_not_a_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be cloned: is it a git repository"):
        clones.clone(tmp_path, tmp_path / "clone")


def test_the_smoke_parameters_exist_in_params_yaml() -> None:
    parameters = yaml.safe_load((PROJECT / "params.yaml").read_text())
    assert clones.smoke_parameters()["train.budget.cnn.epochs"] == 1
    for key in clones.smoke_parameters():
        section: Any = parameters
        for name in key.split("."):
            section = section[name]


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_URI", "DVC_ROOT", "MAKEFLAGS"])
def test_redirecting_variables_are_not_passed_to_a_clone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "x")
    assert name not in clones.clean_environment()


def test_a_failing_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`dvc repro` failed"):
        clones.reproduce(tmp_path)  # not a repository
