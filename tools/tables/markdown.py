"""Format Markdown tables, and read benchmark results."""

from collections.abc import Sequence
from typing import Any

from sidebyside.config.paths import Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json

NAMES = {"mlp": "MLP", "cnn": "CNN"}  # as the field writes them; others stay as they are


def table(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """Return a Markdown table.

    Args:
        header: column titles.
        rows: one cell per column.
        text_columns: number of left-aligned columns from the left; the others are right-aligned.
    """
    alignment = ["---"] * text_columns + ["---:"] * (len(header) - text_columns)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, alignment, *rows))


def label(model: str) -> str:
    """Return a model's name for prose: `mlp-augmented` is "MLP, augmented data"."""
    architecture, _, data = model.partition("-")
    name = NAMES.get(architecture, architecture)
    return f"{name}, {data} data" if data else name


def benchmark(paths: Paths, name: str) -> Any:
    """Return the results of a benchmark.

    Raises:
        UserError: the benchmark has not been run.
    """
    path = paths.report("benchmarks") / f"{name}.json"
    if not path.exists():
        raise UserError(f"{path} is missing: run `make benchmark`")
    return read_json(path)


def machine(measured: dict[str, Any]) -> str:
    """Return the machine of a benchmark, such as "2 cores (AMD EPYC)"."""
    facts = measured["machine"]
    return f"{facts['cores']} cores ({facts['processor']})"
