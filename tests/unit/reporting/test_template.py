import re
from pathlib import Path

import jinja2
import pytest

from sidebyside.reporting import template
from sidebyside.reporting.page import Bullets, Cells, Fold, Section, Table, Terms, Text

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (288).to_bytes(4, "big") + (144).to_bytes(4, "big")


def read(folder: Path, text: str, **values: object) -> tuple[str, list[Section]]:
    (folder / "page.md.jinja").write_text(text, encoding="utf-8")
    return template.read_page(folder / "page.md.jinja", values, {"figures/a.png": PNG})


def blocks(folder: Path, text: str, **values: object) -> list[object]:
    _, (section,) = read(folder, f"# Title\n\n## Section {{: #one}}\n\n{text}", **values)
    return list(section.blocks)


def test_a_page_has_a_title_and_sections_with_ids(tmp_path: Path) -> None:
    title, sections = read(
        tmp_path, "# On {{ what }}\n\n## First {: #one}\n\nText.\n", what="ships"
    )
    assert title == "On ships"
    assert sections == [Section("one", "First", [Text("Text.")])]


def test_a_section_without_a_block_is_left_out(tmp_path: Path) -> None:
    first = "# Title\n\n## First {: #one}\n\n{% if wanted %}\nText.\n{% endif %}\n\n"
    text = first + "## Second {: #two}\n\nText.\n"
    assert [section.id for section in read(tmp_path, text, wanted=False)[1]] == ["two"]
    assert [section.id for section in read(tmp_path, text, wanted=True)[1]] == ["one", "two"]


def test_line_breaks_in_a_paragraph_or_list_item_are_spaces(tmp_path: Path) -> None:
    assert blocks(tmp_path, "One\ntwo.\n\n- three\n  four\n- five\n") == [
        Text("One two."),
        Bullets(["three four", "five"]),
    ]


def test_list_items_with_blank_lines_between_them_are_one_list(tmp_path: Path) -> None:
    text = "{% for word in words %}\n- {{ word }}\n\n{% endfor %}\n- last\n"
    assert blocks(tmp_path, text, words=["a", "b"]) == [Bullets(["a", "b", "last"])]


def test_definitions_are_one_list(tmp_path: Path) -> None:
    text = "p\n: A probability:\n  small.\n\nmean ± sd\n: Two numbers.\n"
    terms = [("p", "A probability: small."), ("mean ± sd", "Two numbers.")]
    assert blocks(tmp_path, text) == [Terms(terms)]


def test_tables_and_figures_stand_where_they_are_called(tmp_path: Path) -> None:
    text = (
        "Before.\n{% call table(cells) %}\nThe\ncaption.\n{% endcall %}\n"
        '{% call figure("figures/a.png", "Alternative text.") %}Below.{% endcall %}\nAfter.\n'
    )
    cells = Cells(("a", "b"), [("x", "1")], text_columns=1, marked=(0,))
    first, table, figure, last = blocks(tmp_path, text, cells=cells)
    assert (first, last) == (Text("Before."), Text("After."))
    assert table == Table("The caption.", cells.header, cells.rows, 1, (0,))
    assert (figure.file, figure.alt, figure.caption) == (  # type: ignore[attr-defined]
        "figures/a.png",
        "Alternative text.",
        "Below.",
    )
    assert (figure.width, figure.height) == (192, 96)  # type: ignore[attr-defined]


def test_a_fold_holds_its_blocks_and_is_left_out_without_any(tmp_path: Path) -> None:
    text = (
        "Before.\n{% call fold('More') %}\nInside.\n\n- one\n\n"
        "{% call fold('Much more') %}Within.{% endcall %}\n{% endcall %}\n"
        "{% call fold('Nothing') %}\n{% endcall %}\nAfter.\n"
    )
    inner = Fold("Much more", [Text("Within.")])
    fold = Fold("More", [Text("Inside."), Bullets(["one"]), inner])
    assert blocks(tmp_path, text) == [Text("Before."), fold, Text("After.")]


def test_figures_that_follow_each_other_stand_side_by_side(tmp_path: Path) -> None:
    one = '{% call figure("figures/a.png", "Text.") %}Below.{% endcall %}\n\n'
    (tmp_path / "page.md.jinja").write_text(
        f"# A\n\n## One {{: #one}}\n\n{one * 2}Between.\n\n{one}"
        "{% call fold('More') %}Inside.{% endcall %}\n"
    )
    html, markdown = template.render(tmp_path / "page.md.jinja", {}, {"figures/a.png": PNG})
    grid, rest = html.partition('<div class="figures">')[2].split("</div>", 1)
    assert (grid.count("<figure"), rest.count("<figure")) == (2, 1)
    assert "<summary>More</summary>\n<p>Inside.</p>\n</details>" in html
    assert markdown.endswith("<details><summary>More</summary>\n\nInside.\n\n</details>\n")


def test_a_variable_that_is_not_given_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match="'missing' is undefined"):
        blocks(tmp_path, "{{ missing }}")


def test_a_page_without_a_title_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="begins with # and its title, not with 'Text"):
        read(tmp_path, "Text.\n")


def test_values_are_escaped_in_html_and_both_formats_have_the_same_prose(tmp_path: Path) -> None:
    (tmp_path / "page.md.jinja").write_text(
        "# A & B\n\n## One {: #one}\n\n**Strong** `code` {{ value }}\n"
        '{% call figure("figures/a.png", "\\"x\\"") %}Caption.{% endcall %}\n'
    )
    images = {"figures/a.png": PNG}
    html, markdown = template.render(tmp_path / "page.md.jinja", {"value": "<b>"}, images)
    assert "<p><strong>Strong</strong> <code>code</code> &lt;b&gt;</p>" in html
    assert "<h1>A &amp; B</h1>" in html
    assert re.search(r'<img src="data:image/png;base64,\S+" alt="&#34;x&#34;"', html)
    assert markdown == (
        "# A & B\n\n## One\n\n**Strong** `code` <b>\n\n"
        '![\\"x\\"](figures/a.png)\n\n*Caption.*\n'.replace('\\"', '"')
    )
