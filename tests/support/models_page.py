"""The code on the page docs/models.md, and how to add it to a checkout as the page says."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

PAGE = Path(__file__).resolve().parents[2] / "docs/models.md"
MODELS = ("logistic", "residual")  # the models that the page adds


class Block(NamedTuple):
    """A block of code, and what the sentence above it says to do with it."""

    action: str  # Append to, Write or Add to
    file: str  # path below the root of a checkout
    code: str


def blocks(model: str) -> list[Block]:
    """Return the blocks of the section that adds a model, in the order of the page."""
    sections = PAGE.read_text().split("\n### ")
    (section,) = [one for one in sections if f'RECORDS["{model}"] = ' in one]
    pattern = r"^(Append to|Write|Add to) `([^`]+)`:\n\n```\w+\n(.*?)^```$"
    return [Block(*found) for found in re.findall(pattern, section, re.M | re.S)]


def add_models(root: Path, *models: str) -> None:
    """Add models to the checkout at `root`, as the page says."""
    for block in (block for model in models for block in blocks(model)):
        file = root / block.file
        if block.action == "Append to":
            file.write_text(f"{file.read_text()}\n\n{block.code}")
        elif block.action == "Write":
            file.write_text(block.code)
        else:
            content = merged(yaml.safe_load(file.read_text()), yaml.safe_load(block.code))
            file.write_text(yaml.safe_dump(content, sort_keys=False))


def merged(content: Any, addition: Any) -> Any:
    """Return nested mappings with further entries; other values are replaced."""
    if not (isinstance(content, dict) and isinstance(addition, dict)):
        return addition
    return content | {key: merged(content.get(key), value) for key, value in addition.items()}
