from pathlib import Path

import pytest

from sidebyside.config.paths import Paths
from sidebyside.reproducibility.clones import set_parameters
from sidebyside.workflow import copies

PARAMETERS = Path(__file__).parents[3] / "params.yaml"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with data of its own in several folders, and an empty copy of it."""
    for root in (tmp_path / "checkout", tmp_path / "copy"):
        root.mkdir()
        Paths(root).params.write_bytes(PARAMETERS.read_bytes())
        folders = ("data/local", "own/images", "../beside", "missing", str(tmp_path))
        sources = [{"folder": folder} for folder in folders]
        set_parameters(root, {"download.sources": [*sources, {"url": "https://example.com"}]})
    for folder in ("data/local", "own/images", "../beside"):
        (tmp_path / "checkout" / folder).mkdir(parents=True)
        (tmp_path / "checkout" / folder / "file").touch()
    return tmp_path / "checkout"


def test_a_copy_finds_the_users_own_data(checkout: Path) -> None:
    copy = checkout.parent / "copy"
    (copy / "own/images").mkdir(parents=True)  # tracked by git, so it is in the copy
    for _ in range(2):  # a copy may be updated
        copies.link_sources(checkout, copy)
    assert (copy / "data/local/file").is_file()
    assert not (copy / "own/images/file").exists()
    assert not (copy / "missing").is_symlink()
    assert {entry.name for entry in checkout.parent.iterdir()} == {"checkout", "copy", "beside"}


def test_a_checkout_is_not_linked_to_itself(checkout: Path) -> None:
    copies.link_sources(checkout, checkout)
    assert not (checkout / "data/local").is_symlink()


def test_the_original_of_an_experiment_is_the_folder_that_dvc_names(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert copies.original(checkout) == checkout
    monkeypatch.setenv("DVC_ROOT", str(checkout))
    assert copies.original(checkout.parent / "copy") == checkout.parent / "copy"  # no project
    (checkout / "dvc.yaml").touch()
    assert copies.original(checkout.parent / "copy") == checkout
    assert copies.original(checkout) == checkout
