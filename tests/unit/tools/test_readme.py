import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sidebyside.config.paths import Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_json
from tools import readme
from tools.readme import PAGES, TABLES, filled
from tools.tables.results import expected

PROJECT = Paths(Path(__file__).resolve().parents[3])
README = (PROJECT.root / "README.md").read_text(encoding="utf-8")
SOURCES = (
    *("reports", "src/sidebyside", "replications/summary.json", "replications/provenance.json"),
    *("params.yaml", "dvc.yaml", "Makefile"),
)


@pytest.fixture
def committed() -> None:
    """Skip the test if a run has changed the results."""
    recorded = ["reports", "params.yaml", "replications/summary.json"]
    command = ["git", "status", "--porcelain", "--", *recorded]
    if subprocess.run(command, cwd=PROJECT.root, capture_output=True, check=True).stdout:
        pytest.skip("the results here are not those in git")


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize("page", PAGES)
def test_tables_agree_with_the_files(page: str) -> None:
    text = (PROJECT.root / page).read_text(encoding="utf-8")
    assert filled(text, PROJECT, page) == text, "run `make readme`"


@pytest.mark.usefixtures("committed")
def test_the_header_of_params_agrees_with_the_files() -> None:
    params = PROJECT.params.read_text(encoding="utf-8")
    assert expected(params, PROJECT) == params, "run `make readme`"


def test_every_table_is_on_a_page() -> None:
    text = "".join((PROJECT.root / page).read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in TABLES if f"<!-- {name} -->" not in text] == []


@pytest.mark.usefixtures("committed")
def test_a_number_edited_manually_is_corrected() -> None:
    wrong = re.sub(r"0\.\d{4} ± ", "0.9999 ± ", README, count=1)
    assert wrong != README
    assert filled(wrong, PROJECT) == README


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the pages and their sources, which `main` takes for the checkout."""
    for name in (*PAGES, *SOURCES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (PROJECT.root / name).is_dir() else shutil.copy
        copy(PROJECT.root / name, tmp_path / name)
    monkeypatch.setattr(readme, "CHECKOUT", tmp_path)
    return tmp_path


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["readme", *arguments])
    readme.main()


@pytest.mark.usefixtures("committed")
def test_check_names_an_outdated_file_and_leaves_it(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(monkeypatch)  # the copy lacks files that the checklist requires
    main(monkeypatch, "--check")
    edits = {
        "README.md": ("| 0.9", "| 0.8"),
        "docs/speed.md": (" GFLOP/s", "0 GFLOP/s"),
        "docs/development.md": ("[seeding]", "[seedling]"),
        "params.yaml": ("accuracy 0.9", "accuracy 0.8"),
        "docs/architecture.svg": ("seeding", "seedling"),
        "reports/reproducibility.md": ("requirements", "requirement"),
    }
    generated = {page: (copied / page).read_text(encoding="utf-8") for page in edits}
    edited = {page: generated[page].replace(*edit, 1) for page, edit in edits.items()}
    for page, text in edited.items():
        (copied / page).write_text(text, encoding="utf-8")
        name = re.escape(Path(page).name)
        with pytest.raises(UserError, match=f"^{name} is out of date: run `make readme`$"):
            main(monkeypatch, "--check")
        assert (copied / page).read_text(encoding="utf-8") == text
        (copied / page).write_text(generated[page], encoding="utf-8")
    for page, text in edited.items():
        (copied / page).write_text(text, encoding="utf-8")
    main(monkeypatch)
    for page, text in generated.items():
        assert (copied / page).read_text(encoding="utf-8") == text != edited[page], page


def test_a_page_that_is_not_text_is_refused(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copied / "README.md").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"^README\.md is not valid UTF-8: "):
        main(monkeypatch)
    assert (copied / "README.md").read_bytes() == b"\xff"


@pytest.mark.parametrize("content", [[], {"mlp-original": {"val": {}}}])
def test_a_damaged_result_is_named_with_its_table(tmp_path: Path, content: object) -> None:
    shutil.copy(PROJECT.params, tmp_path)
    write_json(tmp_path / "reports/evaluate/metrics.json", content)
    with pytest.raises(UserError, match=r"table 'experiments' cannot be generated .*; run `git"):
        filled("<!-- experiments --><!-- /experiments -->", Paths(tmp_path), "docs/experiments.md")


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(UserError, match="unknown table 'scors': choose from results"):
        filled("<!-- scors -->\n<!-- /scors -->", PROJECT)


def test_a_table_without_an_end_is_refused() -> None:
    with pytest.raises(UserError, match="table 'results' has no end"):
        filled("<!-- results -->", PROJECT)
