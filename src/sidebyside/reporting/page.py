"""Lay out a page of sections and blocks as self-contained HTML and as Markdown."""

import base64
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

TEMPLATES = Path(__file__).parent / "templates"
FOLDED = 60  # a table with more rows is folded
DPI = 144  # of every figure, of 96 per inch on a page: sharp on fine screens, a page below 5 MB


@dataclass(frozen=True)
class Text:
    """A paragraph; ** marks strong words and ` marks code, as in Bullets."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Bullets:
    """A bulleted list."""

    kind: ClassVar[str] = "bullets"
    items: Sequence[str]


@dataclass(frozen=True)
class Terms:
    """A list of definitions: (term, definition)."""

    kind: ClassVar[str] = "terms"
    terms: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Cells:
    """The cells of a table, formatted; the template of a page gives its caption."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1  # number of columns, from the left, that hold text; the rest are numbers
    marked: Sequence[int] = ()  # indices of highlighted rows


@dataclass(frozen=True)
class Table:
    """A table with its caption; fields as in Cells."""

    kind: ClassVar[str] = "table"
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1
    marked: Sequence[int] = ()


@dataclass(frozen=True)
class Figure:
    """An image file beside the page."""

    kind: ClassVar[str] = "figure"
    file: str
    width: int  # CSS pixels, 96 per inch
    height: int
    alt: str
    caption: str
    shows_images: bool = False  # of the data set, whose colours stay as they are in dark mode


@dataclass(frozen=True)
class Fold:
    """Blocks that a reader unfolds; on paper they are unfolded."""

    kind: ClassVar[str] = "fold"
    summary: str
    blocks: "Sequence[Block]"


Block = Text | Bullets | Terms | Table | Figure | Fold


@dataclass(frozen=True)
class Section:
    """A heading with the blocks below it."""

    id: str
    title: str
    blocks: Sequence[Block]


def figure(png: bytes, file: str, alt: str, caption: str, *, shows_images: bool = False) -> Figure:
    """Return a figure with the size at which the PNG was drawn.

    Args:
        png: content of the image file, DPI pixels per inch.
        file: path of the image beside the page.
        alt: alternative text.
        caption: text below the figure.
        shows_images: whether it shows images of the data set, as opposed to a chart.
    """
    # A PNG's first chunk holds its size; a page that states it does not jump while it loads.
    width, height = struct.unpack(">II", png[16:24])
    scale = 96 / DPI
    return Figure(file, round(width * scale), round(height * scale), alt, caption, shows_images)


def html(title: str, sections: Sequence[Section], images: Mapping[str, bytes]) -> str:
    """Return the page as one HTML file with its figures embedded.

    Args:
        title: title of the page.
        sections: its sections; the contents are listed after the first.
        images: path of each figure beside the page → PNG.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = _inline
    environment.filters["side_by_side"] = _side_by_side
    environment.filters["breakable"] = _breakable
    addresses = {
        file: "data:image/png;base64," + base64.b64encode(content).decode()
        for file, content in images.items()
    }
    page = environment.get_template("page.html.jinja")
    values = {"title": title, "sections": sections, "images": addresses, "folded": FOLDED}
    return page.render(values).strip() + "\n"


def _inline(text: str) -> Markup:
    marked = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(text)))
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", marked))  # noqa: S704 (escaped above)


def _side_by_side(blocks: Sequence[Block]) -> list[list[Block]]:
    """Return the blocks in groups: consecutive figures, which share a grid, or a single block."""
    groups: list[list[Block]] = []
    for block in blocks:
        if groups and isinstance(block, Figure) and isinstance(groups[-1][-1], Figure):
            groups[-1].append(block)
        else:
            groups.append([block])
    return groups


def _breakable(text: str) -> Markup:
    return escape(text).replace("_", Markup("_<wbr>"))


def markdown(title: str, sections: Sequence[Section]) -> str:
    """Return the page as Markdown; figures are links to their files beside the page."""
    parts = [f"# {title}"]
    for section in sections:
        parts.append(f"## {section.title}")
        parts += [_markdown_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _markdown_block(block: Block) -> str:
    match block:
        case Text():
            return block.text
        case Bullets():
            return "\n".join(f"- {item}" for item in block.items)
        case Terms():
            return "\n".join(f"- `{term}`: {meaning}" for term, meaning in block.terms)
        case Figure():
            return f"![{block.alt}]({block.file})\n\n*{block.caption}*"
        case Fold():
            inner = "\n\n".join(map(_markdown_block, block.blocks))
            return _markdown_fold(block.summary, inner)
        case Table():
            rule = [
                "---" if column < block.text_columns else "---:"
                for column in range(len(block.header))
            ]
            rows = [
                [f"**{text}**" if index in block.marked else text for text in map(cell, row)]
                for index, row in enumerate(block.rows)
            ]
            lines = [list(map(cell, block.header)), rule, *rows]
            table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
            if (shown := len(block.rows)) > FOLDED:
                table = _markdown_fold(f"Show {shown} rows", table)
            return f"{block.caption}\n\n{table}"


def _markdown_fold(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{content}\n\n</details>"


def cell(text: str) -> str:
    """Return a text as a cell of a Markdown table, markup escaped and on one line."""
    return re.sub(r"([\\|*<`\[\]])", r"\\\1", text.replace("\n", " "))
