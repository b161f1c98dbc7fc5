import re
from dataclasses import replace

import pytest

from sidebyside.reporting import report
from sidebyside.reporting.report_content import Content
from tests.support.reports import Page, made_up_content, plain


@pytest.fixture(scope="module")
def drawn() -> str:
    """The page with real figures, of models with several seeds."""
    return report.render(made_up_content(seeds=(1, 2)))[0]


def test_both_formats_have_the_same_words(html: str, markdown: str) -> None:
    words = re.findall(r"[\w.%+−]+", " ".join(Page(html).texts))
    of_page = set(words) | set(re.findall(r"[\w.%+−]+", "".join(Page(html).texts)))
    links = re.sub(r"!\[(.*?)\]\(.*?\)|</?(details|summary)>", " ", markdown)
    of_markdown = set(re.findall(r"[\w.%+−]+", plain(links)))
    assert of_markdown <= of_page


def test_the_page_is_well_formed_with_headings_in_order(html: str) -> None:
    page = Page(html)
    assert page.open == []
    headings = [tag for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == "h1"
    assert set(headings[1:]) == {"h2"}
    assert page.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all(
        "meta"
    )


def test_ids_are_unique_and_every_link_has_its_target(html: str) -> None:
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = [(link["href"] or "")[1:] for link in page.all("a")]
    wanted += [
        label
        for _, attributes in page.tags
        for label in (attributes.get("aria-labelledby") or "").split()
    ]
    assert wanted
    assert set(wanted) <= set(ids)


def test_the_page_needs_no_network(html: str) -> None:
    page = Page(html)
    addresses = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "action"}
    ]
    assert all((address or "").startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"https?://|@import|url\(", html)


def test_the_page_stays_below_five_megabytes_with_several_seeds(drawn: str) -> None:
    assert 200_000 < len(drawn) < 5_000_000


def test_every_figure_has_a_size_and_an_alternative_text(drawn: str) -> None:
    pictures = Page(drawn).all("img")
    assert len(pictures) == 8 + 4
    for picture in pictures:
        assert len(picture["alt"] or "") > 40
        assert 300 < int(picture["width"] or 0) < 1000
        assert 150 < int(picture["height"] or 0) < 1500


def test_markdown_links_to_all_figures(content: Content, markdown: str) -> None:
    assert set(re.findall(r"\]\((.*?)\)", markdown)) == set(content.figures)
    assert "figures/confusion/cnn-augmented.png" in content.figures


def test_markdown_tables_have_a_cell_for_every_column(markdown: str) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE)
    assert len(tables) == 13
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1


def test_tables_are_focusable_and_scroll(html: str) -> None:
    page = Page(html)
    boxes = [box for box in page.all("div") if box.get("class") == "scroll"]
    assert len(boxes) == len(page.all("table")) == 13
    assert all(box["tabindex"] == "0" and box["role"] == "region" for box in boxes)
    assert "aria-sort" in html


def test_equal_captions_in_two_sections_name_different_regions(html: str) -> None:
    boxes = [box for box in Page(html).all("div") if box.get("class") == "scroll"]
    labels = [(box["aria-labelledby"] or "").split() for box in boxes]
    assert all(section.endswith("-title") for section, _ in labels)
    assert all(section.startswith(caption.split("-")[0]) for section, caption in labels)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_have_contrast_in_light_dark_and_print_themes(html: str) -> None:
    themes = re.findall(r":root \{(.*?)\}", html, flags=re.DOTALL)
    assert len(themes) == 3
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#\w{6})", theme))
        for front in ("text", "faint", "accent"):
            for ground in ("ground", "raised", "marked"):
                light, dark = sorted(
                    (luminance(colours[front]), luminance(colours[ground])), reverse=True
                )
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (front, ground)


def test_markup_in_values_is_escaped(content: Content) -> None:
    odd = {"<script>": "a|b & **c**"}
    records = {model: {**record, **odd} for model, record in content.hyperparameters.items()}
    html, markdown = report.render(replace(content, hyperparameters=records))
    assert "&lt;script&gt;" in html
    assert "a|b &amp; **c**" in html
    assert r"\<script> | a\|b & \*\*c\*\*" in markdown
