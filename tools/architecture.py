"""Read the structure of the library from its source, and draw it as docs/architecture.svg."""

import ast
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import NamedTuple

import sidebyside

ORDER = (*sidebyside.DECIDES_BYTES, *sidebyside.DECIDES_NO_BYTES)
USERS = "pipeline/ · replications/ · benchmarks/ · tools/"

# Pixels.
WIDTH, LEFT, BOX, HEIGHT, GAP, TOP = 860, 60, 660, 66, 14, 16
LINE = 112  # characters of module names per line
DECIDING, OTHER = "#0b6e4f", "#41528a"


class Module(NamedTuple):
    """A module of the library."""

    path: Path
    summary: str  # first paragraph of its docstring
    imports: frozenset[str]  # packages of the library

    @property
    def name(self) -> str:
        return self.path.stem


def packages(root: Path) -> dict[str, list[Module]]:
    """Return package → its modules by name, in the order of the packages.

    Args:
        root: the checkout.
    """
    library = root / "src/sidebyside"
    return {
        package: [
            read_module(path)
            for path in sorted((library / package).glob("*.py"))
            if path.stem != "__init__"
        ]
        for package in ORDER
    }


def read_module(path: Path) -> Module:
    """Return a module's description from its file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    text = (ast.get_docstring(tree) or "").partition("\n\n")[0]
    return Module(path, " ".join(text.split()), frozenset(_imported(tree)))


def imports(modules: Mapping[str, list[Module]]) -> dict[str, set[str]]:
    """Return package → the other packages that its modules import."""
    return {
        package: {name for module in content for name in module.imports} - {package}
        for package, content in modules.items()
    }


def reduced(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return the transitive reduction: without the imports that follow from others.

    Args:
        graph: package → imported packages, without a cycle.
    """

    def reached(package: str) -> set[str]:
        return graph[package].union(*(reached(other) for other in graph[package]))

    return {
        package: {
            target
            for target in targets
            if not any(target in reached(other) for other in targets - {target})
        }
        for package, targets in graph.items()
    }


def picture(root: Path) -> str:
    """Return the packages as an SVG: a box each, and an arrow per import that is not implied."""
    step = HEIGHT + GAP
    rows = {name: TOP + step * row for row, name in enumerate((USERS, *reversed(ORDER)))}
    height = TOP + step * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="sans-serif" role="img" aria-labelledby="title">',
        '<title id="title">The packages of sidebyside and their imports</title>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
        ' markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#666"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _box(rows[USERS], USERS, ["stages, study, measurements and maintenance use the library"]),
        *_bracket(rows, sidebyside.DECIDES_NO_BYTES, "does not affect outputs", OTHER),
        *_bracket(rows, sidebyside.DECIDES_BYTES, "determines output bytes", DECIDING),
    ]
    modules = packages(root)
    for package, content in modules.items():
        names = [module.name for module in content]
        colour = DECIDING if package in sidebyside.DECIDES_BYTES else OTHER
        parts.append(_box(rows[package], package, _lines(names), colour))
    graph = reduced(imports(modules))
    parts += [
        _arrow(rows[package], rows[target], len(graph[package]), place)
        for package in reversed(ORDER)
        for place, target in enumerate(sorted(graph[package], key=ORDER.index, reverse=True))
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _imported(tree: ast.Module) -> Iterator[str]:
    """Yield the packages of the library that a module imports."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            library, _, rest = name.partition(".")
            package = rest.partition(".")[0]
            if library == "sidebyside" and package in ORDER:
                yield package


def _lines(names: list[str]) -> list[str]:
    """Return names as lines of at most LINE characters."""
    lines = [""]
    for name in names:
        longer = f"{lines[-1]} · {name}" if lines[-1] else name
        if len(longer) > LINE:
            lines.append(name)
        else:
            lines[-1] = longer
    return lines


def _box(top: int, name: str, lines: list[str], colour: str = "#444") -> str:
    text = "".join(
        f'<text x="{LEFT + 12}" y="{top + 34 + 13 * row}" font-size="11" fill="#333">'
        f"{escape(line)}</text>"
        for row, line in enumerate(lines)
    )
    return (
        f'<rect x="{LEFT}" y="{top}" width="{BOX}" height="{HEIGHT}" rx="6" fill="{colour}"'
        f' fill-opacity="0.08" stroke="{colour}"/>'
        f'<text x="{LEFT + 12}" y="{top + 18}" font-size="14" font-weight="bold"'
        f' fill="{colour}">{escape(name)}</text>{text}'
    )


def _bracket(
    rows: Mapping[str, int], names: tuple[str, ...], title: str, colour: str
) -> Iterator[str]:
    """Yield a line beside the boxes of a group, and its title along it."""
    top, bottom = rows[names[-1]], rows[names[0]] + HEIGHT
    x, middle = LEFT - 16, (top + bottom) / 2
    yield f'<path d="M{x} {top}V{bottom}" stroke="{colour}" stroke-width="3"/>'
    yield (
        f'<text x="{x - 10}" y="{middle:g}" font-size="13" fill="{colour}" text-anchor="middle"'
        f' transform="rotate(-90 {x - 10} {middle:g})">{title}</text>'
    )


def _arrow(start: int, end: int, number: int, place: int) -> str:
    """Return a curve on the right from one box to another; several of one box start apart."""
    right = LEFT + BOX
    y = start + HEIGHT * (place + 1) / (number + 1)
    target = end + HEIGHT / 3
    reach = right + 24 + (end - start) * 0.32
    return (
        f'<path d="M{right} {y:g}C{reach:g} {y:g} {reach:g} {target:g} {right + 2} {target:g}"'
        ' fill="none" stroke="#666" stroke-width="1.3" marker-end="url(#tip)"/>'
    )
