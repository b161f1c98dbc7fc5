"""Render a page from a Jinja template, as self-contained HTML and as Markdown.

A template holds the prose, in a small part of Markdown; blank lines separate blocks:

    # Title of the page
    ## Title of a section {: #id}
    A paragraph, with **strong** words and `code`.
    - an item of a list
    a term
    : its definition
    {% call table(cells) %}The caption.{% endcall %}
    {% call figure("figures/curves.png", "Alternative text.") %}The caption.{% endcall %}
    {% call fold("What is folded") %}blocks{% endcall %}

Line breaks within a block count as spaces. Figures that follow each other stand side by side.
Tables, figures and the values in the prose are computed in Python. A section or fold without a
block is left out.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sidebyside.reporting import formatting, page
from sidebyside.reporting.page import Block, Bullets, Cells, Fold, Section, Table, Terms, Text

HEADING = re.compile(r"(#{1,2}) (.+?)(?: \{: #([\w-]+)\})?")
REFERENCE = re.compile(r"\{block (\d+)\}")  # to a table or figure, in the rendered prose
FOLD, END = re.compile(r"\{fold (.+)\}"), "{end of fold}"


def render(
    template: Path, values: Mapping[str, Any], images: Mapping[str, bytes]
) -> tuple[str, str]:
    """Return the page as (HTML, Markdown).

    The HTML holds its figures; the Markdown links to them by their paths in `images`.

    Args:
        template: the file with the prose.
        values: variables of the template by name.
        images: path of each figure beside the page → PNG.

    Raises:
        jinja2.UndefinedError: the template names a variable that `values` lacks.
        ValueError: the template does not begin with the title of the page.
    """
    title, sections = read_page(template, values, images)
    return page.html(title, sections, images), page.markdown(title, sections)


def read_page(
    template: Path, values: Mapping[str, Any], images: Mapping[str, bytes]
) -> tuple[str, list[Section]]:
    """Return the title and the sections of a page; arguments and errors as for `render`."""
    blocks: list[Block] = []

    def table(cells: Cells, caller: Callable[[], str]) -> str:
        caption = " ".join(caller().split())
        return _refer(
            blocks, Table(caption, cells.header, cells.rows, cells.text_columns, cells.marked)
        )

    def figure(
        file: str, alt: str, caller: Callable[[], str], *, shows_images: bool = False
    ) -> str:
        caption = " ".join(caller().split())
        alt = " ".join(alt.split())
        block = page.figure(images[file], file, alt, caption, shows_images=shows_images)
        return _refer(blocks, block)

    def fold(summary: str, caller: Callable[[], str]) -> str:
        return f"\n\n{{fold {summary}}}\n\n{caller()}\n\n{END}\n\n"

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        # This gives Markdown; everything is escaped when `page.html` puts it into HTML.
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(formatting.FILTERS)
    macros = {"table": table, "figure": figure, "fold": fold}
    prose = environment.get_template(template.name).render(values, **macros)
    return _parse(prose, blocks)


def _refer(blocks: list[Block], block: Block) -> str:
    blocks.append(block)
    return f"\n\n{{block {len(blocks) - 1}}}\n\n"


def _parse(prose: str, blocks: list[Block]) -> tuple[str, list[Section]]:
    first, *chunks = [chunk.strip() for chunk in re.split(r"\n\s*\n", prose) if chunk.strip()]
    title = HEADING.fullmatch(first)
    if not title or title[1] != "#":
        raise ValueError(f"a page begins with # and its title, not with {first[:40]!r}")
    sections: list[Section] = []
    content: list[Block] = []  # the blocks of the section or fold that is being read
    around: list[tuple[str, list[Block]]] = []  # summaries of the open folds, blocks before them
    for chunk in chunks:
        if heading := HEADING.fullmatch(chunk):
            content = []
            sections.append(Section(heading[3], heading[2], content))
        elif opening := FOLD.fullmatch(chunk):
            around.append((opening[1], content))
            content = []
        elif chunk == END:
            summary, before = around.pop()
            if content:
                before.append(Fold(summary, content))
            content = before
        elif reference := REFERENCE.fullmatch(chunk):
            content.append(blocks[int(reference[1])])
        else:
            _append(content, _block(chunk))
    return title[2], [section for section in sections if section.blocks]


def _block(chunk: str) -> Text | Bullets | Terms:
    if chunk.startswith("- "):
        items = re.split(r"\n\s*- ", chunk[2:])
        return Bullets([" ".join(item.split()) for item in items])
    term, colon, definition = chunk.partition("\n: ")
    if colon:
        return Terms([(" ".join(term.split()), " ".join(definition.split()))])
    return Text(" ".join(chunk.split()))


def _append(content: list[Block], block: Text | Bullets | Terms) -> None:
    """Append a block; a list or definition after one of its kind continues it."""
    match content[-1] if content else None, block:
        case Bullets(items=before), Bullets(items=items):
            content[-1] = Bullets([*before, *items])
        case Terms(terms=before), Terms(terms=terms):
            content[-1] = Terms([*before, *terms])
        case _:
            content.append(block)
