import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from sidebyside.config.paths import Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json
from tools import readme
from tools.readme import PAGES, TABLES, expected, filled, table

PROJECT = Paths(Path(__file__).resolve().parents[3])
README = (PROJECT.root / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def committed() -> None:
    """Leave out what holds for the results in git where a run has made others."""
    recorded = ["reports", "params.yaml", "replications/summary.json"]
    command = ["git", "status", "--porcelain", "--", *recorded]
    if subprocess.run(command, cwd=PROJECT.root, capture_output=True, check=True).stdout:
        pytest.skip("the results here are not those in git")


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_the_files_say(page: str) -> None:
    text = (PROJECT.root / page).read_text(encoding="utf-8")
    assert filled(text, PROJECT, page) == text, "run `make readme`"


def test_every_table_stands_on_a_page() -> None:
    pages = [(PROJECT.root / page).read_text(encoding="utf-8") for page in PAGES]
    assert all(any(f"<!-- {name} -->" in page for page in pages) for name in TABLES)


@pytest.mark.usefixtures("committed")
def test_the_header_of_params_says_what_the_files_say() -> None:
    params = PROJECT.params.read_text(encoding="utf-8")
    assert expected(params, PROJECT) == params, "run `make readme`"


@pytest.mark.usefixtures("committed")
def test_a_number_changed_by_hand_is_put_right() -> None:
    wrong = re.sub(r"\*\*0\.\d{4}\*\*", "**0.9999**", README, count=1)
    assert wrong != README
    assert filled(wrong, PROJECT) == README


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the pages and of what they are made from, which `main` takes for the project."""
    results = ("reports", "replications/summary.json")
    for name in (*PAGES, "Makefile", "params.yaml", *results):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (PROJECT.root / name).is_dir() else shutil.copy
        copy(PROJECT.root / name, tmp_path / name)
    monkeypatch.setattr(readme, "__file__", str(tmp_path / "tools/readme.py"))
    return tmp_path


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["readme", *arguments])
    readme.main()


@pytest.mark.usefixtures("committed")
@pytest.mark.parametrize(
    ("page", "right", "wrong"),
    [
        ("README.md", "**0.9", "**0.8"),
        ("docs/speed.md", " GFLOP/s", "0 GFLOP/s"),
        ("params.yaml", "accuracy 0.9", "accuracy 0.8"),
        ("reports/reproducibility.md", "lines hold", "lines held"),
    ],
)
def test_a_page_that_is_out_of_date_fails_the_check_and_is_left_as_it_is(
    copied: Path, monkeypatch: pytest.MonkeyPatch, page: str, right: str, wrong: str
) -> None:
    main(monkeypatch)  # the copy lacks files that the checklist looks for
    main(monkeypatch, "--check")
    made = (copied / page).read_text(encoding="utf-8")
    changed = made.replace(right, wrong, 1)
    (copied / page).write_text(changed, encoding="utf-8")
    name = re.escape(Path(page).name)
    with pytest.raises(UserError, match=f"^{name} is out of date: run `make readme`$"):
        main(monkeypatch, "--check")
    assert (copied / page).read_text(encoding="utf-8") == changed
    main(monkeypatch)
    assert (copied / page).read_text(encoding="utf-8") == made != changed


def test_a_page_that_is_no_text_is_named(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copied / "README.md").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"^README\.md is no text in UTF-8: "):
        main(monkeypatch)
    assert (copied / "README.md").read_bytes() == b"\xff"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("systems", r"replications/summary\.json is missing: run `make replications`"),
        ("determinism", r"benchmarks/determinism\.json is missing: run `make benchmark`"),
    ],
)
def test_a_table_whose_numbers_are_missing_says_what_makes_them(
    tmp_path: Path, table: str, expected: str
) -> None:
    with pytest.raises(UserError, match=f"{expected}$"):
        filled(f"<!-- {table} --><!-- /{table} -->", Paths(tmp_path))


def test_a_header_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params\.yaml: its header lacks “# expected”"):
        expected("seed: 1\n", PROJECT)
    with pytest.raises(UserError, match="no run is recorded: `make record` does that"):
        expected("# expected # /expected", Paths(tmp_path))
    write_json(tmp_path / "reports/run.json", {"runs": {}})
    with pytest.raises(UserError, match="no run is recorded: `make record` does that"):
        expected("# expected # /expected", Paths(tmp_path))


def test_a_damaged_result_is_named_with_its_table(tmp_path: Path) -> None:
    write_json(tmp_path / "reports/evaluate/metrics.json", [])
    with pytest.raises(UserError, match="table 'scores' cannot be made: a file in reports/ is dam"):
        filled("<!-- scores --><!-- /scores -->", Paths(tmp_path))


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(UserError, match="unknown table 'scors': choose from scores"):
        filled("<!-- scors -->\n<!-- /scors -->", PROJECT)


def test_a_table_without_an_end_is_refused() -> None:
    with pytest.raises(UserError, match="table 'scores' has no end"):
        filled("<!-- scores -->", PROJECT)


def test_a_table_is_made_from_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics\.json is missing"):
        filled("<!-- scores --><!-- /scores -->", Paths(tmp_path))


def test_a_damaged_report_is_named_by_its_table(tmp_path: Path) -> None:
    write_json(tmp_path / "reports/evaluate/metrics.json", {"mlp-original": {"val": {}}})
    with pytest.raises(UserError, match=r"table 'scores' cannot be made.*'accuracy'"):
        filled("<!-- scores --><!-- /scores -->", Paths(tmp_path))


def test_numbers_are_set_right_and_words_left() -> None:
    assert table(["model", "accuracy"], [["mlp", "0.9"]]).splitlines()[1] == "| --- | ---: |"


@pytest.mark.usefixtures("committed")
def test_other_seeds_have_a_table_as_soon_as_there_are_some(tmp_path: Path) -> None:
    shutil.copytree(PROJECT.report(""), tmp_path / "reports")
    shutil.copy(PROJECT.params, tmp_path)
    paths = Paths(tmp_path)
    file = paths.report("reference") / "metrics.json"
    file.unlink(missing_ok=True)
    assert TABLES["seeds"](paths).startswith("`make reference` has not been run")
    other = {
        part: read_json(paths.report("train") / "mlp-original-1/model.json")[part]
        for part in ("data_sha256", "settings")
    }
    accuracy = {"accuracy": 0.5}
    entry = {"val": accuracy, "test": accuracy, "made_from": other}
    write_json(file, {"mlp-original-2": entry})
    first, second = TABLES["seeds"](paths).splitlines()[2:4]
    assert first.startswith("| mlp-original | 2 | 0.")
    assert second.startswith("| mlp-augmented | 1 | 0.")


@pytest.mark.parametrize("folder", ["src/fashion", "benchmarks"])
def test_every_module_stands_in_the_file_tree_below_its_folder(folder: str) -> None:
    tree = README.split("\n## Files\n")[1].split("```")[1]
    (entry,) = (part for part in re.split(r"\n(?=\S)", tree) if part.startswith(f"{folder}/"))
    named = {pattern for line in entry.splitlines() for pattern in re.findall(r"[\w*]+\.py", line)}
    for path in (PROJECT.root / folder).glob("*.py"):
        listed = any(fnmatch(path.name, pattern) for pattern in named)
        assert listed or path.name == "__init__.py", path.name
    for pattern in named:
        assert list((PROJECT.root / folder).glob(pattern)), pattern
