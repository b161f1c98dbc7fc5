import re
import xml.etree.ElementTree as ET
from pathlib import Path

from tools import architecture
from tools.architecture import ORDER, imports, packages, picture, read_module, reduced

PROJECT = Path(__file__).resolve().parents[3]


def test_the_committed_picture_is_up_to_date() -> None:
    committed = (PROJECT / "docs/architecture.svg").read_text(encoding="utf-8")
    assert committed == picture(PROJECT), "run `make readme`"


def test_the_picture_is_valid_and_shows_every_module() -> None:
    text = "".join(ET.fromstring(picture(PROJECT)).itertext())  # noqa: S314 (generated here)
    for package, modules in packages(PROJECT).items():
        assert package in text
        assert all(module.name in text for module in modules), package


def test_imports_within_functions_count(tmp_path: Path) -> None:
    for package in ORDER:
        (tmp_path / "src/sidebyside" / package).mkdir(parents=True)
    code = "import sidebyside.core.files\n\ndef f():\n    from sidebyside.models import layers\n"
    (tmp_path / "src/sidebyside/data/idx.py").write_text(code)
    graph = imports(packages(tmp_path))
    assert graph["data"] == {"core", "models"}
    assert graph["core"] == set()


def test_implied_imports_are_left_out() -> None:
    graph = {"a": set[str](), "b": {"a"}, "c": {"a", "b"}, "d": {"a", "c"}}
    assert reduced(graph) == {"a": set(), "b": {"a"}, "c": {"b"}, "d": {"c"}}


def test_a_summary_is_the_first_paragraph_on_one_line(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text('"""Do this\nand that.\n\nThen more.\n"""\n')
    assert read_module(file).summary == "Do this and that."
    file.write_text("x = 1\n")
    assert read_module(file).summary == ""


def test_long_lists_of_modules_are_wrapped() -> None:
    lines = architecture._lines(["module" + "x" * 40] * 4)
    assert len(lines) == 2
    assert all(len(line) <= architecture.LINE for line in lines)


def test_the_names_of_all_modules_have_room_in_their_boxes() -> None:
    drawing = architecture.picture(PROJECT)
    boxes = [int(top) for top in re.findall(rf'<rect x="{architecture.LEFT}" y="(\d+)"', drawing)]
    lines = [int(y) for y in re.findall(r'<text x="\d+" y="(\d+)" font-size="11"', drawing)]
    for y in lines:
        assert any(top < y < top + architecture.HEIGHT - 3 for top in boxes)
