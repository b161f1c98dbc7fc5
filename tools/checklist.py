"""The reviewer's checklist with the evidence for each line, found and not claimed.

A line of checklist.yaml holds if every file, make target and test that it names is there. Nothing
is ticked by hand; whether the tests pass is what `make test` and `make test-system` say.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sidebyside.config.paths import Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, read_yaml
from sidebyside.reproducibility.seed_variance import by_seed, read_others, without_seed

SOURCE = "checklist.yaml"  # beside this module
INTRODUCTION = """\
# Reproducibility

What a reviewer looks for, and the evidence: a file, a command, a test. Made by `make readme` from
`tools/checklist.yaml`; a line holds (✓) if all of its evidence was found, and no line is
ticked by hand. `make test` and `make test-system` say whether the tests pass.
"""


def render(root: Path) -> str:
    """Return the checklist as Markdown.

    Raises:
        UserError: evidence of a kind that is not known.
    """
    sections = read_yaml(Path(__file__).with_name(SOURCE))
    parts = [INTRODUCTION]
    held, lines = 0, 0
    for title, entries in sections.items():
        rows = []
        for entry in entries:
            found = [(evidence, is_there(root, evidence)) for evidence in entry["evidence"]]
            holds = all(there for _, there in found)
            held, lines = held + holds, lines + 1
            shown = "<br>".join(
                f"`{evidence}`" if there else f"✗ `{evidence}`: not found"
                for evidence, there in found
            )
            rows.append(
                f"| {entry['line']} | {'✓' if holds else '–'} | {entry['text']} | {shown} |"
            )
        parts.append("\n".join([f"## {title}", "", "| line | holds | what | evidence |",
                                "| --- | --- | --- | --- |", *rows]))  # fmt: skip
    parts.append(f"{held} of {lines} lines hold.")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def is_there(root: Path, evidence: str) -> bool:
    """Return whether a piece of evidence is found in the checkout at `root`.

    Raises:
        UserError: it is of no known kind.
    """
    if evidence.startswith("none yet"):
        return False
    if match := re.fullmatch(r"make ([a-z0-9-]+)", evidence):
        return match[1] in _targets(root)
    if match := re.fullmatch(r"seeds (\d+)", evidence):
        return _seeds(root) >= int(match[1])
    if match := re.fullmatch(r"(tests/\w+\.py)::(\w+)", evidence):
        return match[2] in set(_tests(root / match[1]))
    if match := re.fullmatch(r"([\w./-]+)(?:#(.+))?", evidence):
        path = root / match[1]
        return path.is_file() and (match[2] or "") in path.read_text(encoding="utf-8")
    raise UserError(f"{SOURCE}: {evidence!r} is no evidence of a known kind")


@cache
def _targets(root: Path) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+):(?!=)", (root / "Makefile").read_text("utf-8"), re.M))


def _tests(path: Path) -> Iterator[str]:
    """Give the names of a file's test functions."""
    if path.is_file():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield node.name


def _seeds(root: Path) -> int:
    """Return the number of seeds of the recorded model that was trained with the fewest."""
    paths = Paths(root)
    recorded = read_json(paths.report("evaluate") / "metrics.json")
    sources = [recorded, read_others(paths)]
    return min(len(by_seed(sources, without_seed(name), "test", "accuracy")) for name in recorded)
