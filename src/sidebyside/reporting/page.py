"""A page of sections, made of a few kinds of blocks, as self-contained HTML and as Markdown."""

import base64
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from sidebyside.reporting import plots

TEMPLATE = "page.html.jinja"  # lies beside this module


@dataclass(frozen=True)
class Text:
    """A paragraph; **strong** and `code` are marked so, here and in Bullets."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    kind: ClassVar[str] = "bullets"
    items: Sequence[str]


@dataclass(frozen=True)
class Terms:
    """Words with their meaning."""

    kind: ClassVar[str] = "terms"
    terms: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """Cells as they are shown."""

    kind: ClassVar[str] = "table"
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1  # so many from the left hold words, the rest numbers
    marked: Sequence[int] = ()  # rows that stand out


@dataclass(frozen=True)
class Figure:
    """A picture that lies beside the page."""

    kind: ClassVar[str] = "figure"
    file: str
    width: int  # CSS pixels, at 96 to the inch
    height: int
    alt: str
    caption: str


Block = Text | Bullets | Terms | Table | Figure


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    id: str
    title: str
    blocks: Sequence[Block]


def figure(png: bytes, file: str, alt: str, caption: str) -> Figure:
    """Return a figure as large as the PNG was drawn."""
    # The size stands in a PNG's first chunk; with it the page does not jump while it loads.
    width, height = struct.unpack(">II", png[16:24])
    scale = 96 / plots.DPI
    return Figure(file, round(width * scale), round(height * scale), alt, caption)


def html(title: str, sections: Sequence[Section], images: Mapping[str, bytes]) -> str:
    """Return the page as HTML that holds its figures; `images`: file of each figure → PNG."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = _inline
    environment.filters["breakable"] = _breakable
    addresses = {
        file: "data:image/png;base64," + base64.b64encode(content).decode()
        for file, content in images.items()
    }
    page = environment.get_template(TEMPLATE)
    return page.render(title=title, sections=sections, images=addresses).strip() + "\n"


def _inline(text: str) -> Markup:
    marked = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(text)))
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", marked))  # noqa: S704 (escaped above)


def _breakable(text: str) -> Markup:
    return escape(text).replace("_", Markup("_<wbr>"))


def markdown(title: str, sections: Sequence[Section]) -> str:
    """Return the page as Markdown that links to its figures by their files."""
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
            return f"{block.caption}\n\n{table}"


def level(confidence: float) -> str:
    """Return a confidence as it stands before the word interval."""
    return f"{100 * confidence:g} %"


def cell(text: str) -> str:
    """Return a text as a cell of a Markdown table, whatever it holds."""
    return re.sub(r"([\\|*<`\[\]])", r"\\\1", text.replace("\n", " "))
