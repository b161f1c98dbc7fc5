"""Generate parts of the documentation from the latest results: `python -m tools.readme`.

A table in a page stands between `<!-- name -->` and `<!-- /name -->`; nothing between the two is
edited manually. The header of params.yaml, docs/architecture.svg and the reviewer's checklist in
reports/reproducibility.md are generated as well.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sidebyside.config.paths import CHECKOUT, Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_text
from sidebyside.workflow import command
from tools import architecture, checklist
from tools.tables import development, pictures, replications, results, speed

PAGES = (
    "README.md",
    *(f"docs/{name}.md" for name in ("data", "experiments", "browse", "review")),
    *(f"docs/{name}.md" for name in ("replications", "speed", "development")),
)
TABLES: dict[str, Callable[[Paths], str]] = {
    "results": results.results,
    "repro-time": results.repro_time,
    "comparisons": results.comparisons,
    "experiments": results.experiments,
    "mnist": results.mnist,
    "near-duplicates": results.near_duplicates,
    "models": results.models,
    "seeds": results.seeds,
    "durations": results.durations,
    "systems": replications.systems,
    "determinism": speed.determinism,
    "pooling": speed.pooling,
    "side-by-side": speed.side_by_side,
    "epochs": speed.epochs,
    "epochs-second-machine": partial(speed.epochs, name="training_elsewhere"),
    "profile": speed.profile,
    "precision": speed.precision,
    "overheads": speed.overheads,
    "growth": speed.growth,
    "pictures": pictures.pictures,
    "foreign-pictures": pictures.foreign_pictures,
    "stages": development.stages,
    "packages": development.packages,
    "modules": development.modules,
}


def main() -> None:
    """Rewrite the generated parts; with --check, only report whether they are up to date."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail if a file is out of date"
    )
    check = parser.parse_args().check
    paths = Paths(CHECKOUT)
    # The checklist comes last: it searches the other files.
    generated: tuple[tuple[Path, Callable[[str, Paths], str]], ...] = (
        *((paths.root / page, partial(filled, page=page)) for page in PAGES),
        (paths.params, results.expected),
        (paths.root / "docs/architecture.svg", lambda _, paths: architecture.picture(paths.root)),
        (paths.report("reproducibility.md"), lambda _, paths: checklist.render(paths.root)),
    )
    for path, fill in generated:
        old = _text(path) if path.exists() else ""
        new = fill(old, paths)
        if check and new != old:
            raise UserError(f"{path.name} is out of date: run `make readme`")
        if new != old:
            write_text(path, new)


def filled(text: str, paths: Paths, page: str = PAGES[0]) -> str:
    """Return the text of a page with all tables generated again.

    Args:
        text: the page.
        paths: the checkout with the results.
        page: name of the page, for error messages.

    Raises:
        UserError: a table is unknown or lacks its end, or a result file is missing or damaged.
    """

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in TABLES:
            raise UserError(f"{page}: unknown table {name!r}: choose from {', '.join(TABLES)}")
        try:
            return f"<!-- {name} -->\n{TABLES[name](paths)}\n<!-- /{name} -->"
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{page}: table {name!r} cannot be generated from a damaged result file:"
                f" {error!r}; run `git checkout reports replications` or `make repro`"
            ) from None

    for name in re.findall(r"<!-- ([a-z-]+) -->", text):
        if f"<!-- /{name} -->" not in text:
            raise UserError(f"{page}: table {name!r} has no end: add <!-- /{name} -->")
    return re.sub(r"<!-- (?P<name>[a-z-]+) -->.*?<!-- /(?P=name) -->", fill, text, flags=re.DOTALL)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name} is not valid UTF-8: {error}") from None


if __name__ == "__main__":
    command.run(main)
