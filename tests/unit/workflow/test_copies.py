from pathlib import Path

import pytest

from sidebyside.workflow import copies


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with data of its own, and a copy with the file that git tracks."""
    for root in (tmp_path / "checkout", tmp_path / "copy"):
        (root / "data/local").mkdir(parents=True)
        (root / "data/local/README.md").touch()
    (tmp_path / "checkout/data/local/icons").mkdir()
    (tmp_path / "checkout/data/local/icons/a.png").touch()
    return tmp_path / "checkout"


def test_a_copy_finds_the_users_own_data(checkout: Path) -> None:
    copy = checkout.parent / "copy"
    for _ in range(2):  # a copy may be updated
        copies.link_local_data(checkout, copy)
    assert (copy / "data/local/icons/a.png").is_file()
    assert not (copy / "data/local/README.md").is_symlink()


def test_a_checkout_is_not_linked_to_itself(checkout: Path) -> None:
    copies.link_local_data(checkout, checkout)
    assert not (checkout / "data/local/icons").is_symlink()


def test_the_original_of_an_experiment_is_the_folder_that_dvc_names(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert copies.original(checkout) == checkout
    monkeypatch.setenv("DVC_ROOT", str(checkout))
    assert copies.original(checkout.parent / "copy") == checkout.parent / "copy"  # no project
    (checkout / "dvc.yaml").touch()
    assert copies.original(checkout.parent / "copy") == checkout
    assert copies.original(checkout) == checkout
