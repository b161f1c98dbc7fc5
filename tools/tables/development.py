"""Tables of the library's packages and modules, and of the stages."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import sidebyside
from sidebyside.config.paths import Paths
from sidebyside.core.files import read_yaml
from tools import architecture
from tools.tables.markdown import table

LIBRARY = "src/sidebyside"


def modules(paths: Paths) -> str:
    """Return one section per package: one row per module, with its docstring."""
    parts = []
    for package, files in architecture.packages(paths.root).items():
        parts.append(f"### {package}")
        rows = [
            [f"[{module.name}](../{LIBRARY}/{package}/{module.name}.py)", module.summary]
            for module in files
        ]
        parts += [table(["module", "content"], rows, text_columns=2)] if rows else []
    return "\n\n".join(parts)


def stages(paths: Paths) -> str:
    """Return one row per stage of dvc.yaml: task, inputs, packages that affect its outputs."""
    content = read_yaml(paths.root / "dvc.yaml")["stages"]
    rows = [
        [
            f"[{name}](../pipeline/{name}.py)",
            stage["desc"],
            _code(_data(stage)),
            ", ".join(PurePosixPath(path).name for path in stage["deps"] if LIBRARY in path),
        ]
        for name, stage in content.items()
    ]
    text = table(["stage", "task", "inputs", "packages"], rows, text_columns=4)
    return re.sub(r"\$\{(?:item\.)?(\w+)\}", r"{\1}", text)


def packages(paths: Paths) -> str:
    """Return one row per package: whether it affects outputs, and its docstring."""
    rows = []
    for package in architecture.ORDER:
        path = paths.root / LIBRARY / package / "__init__.py"
        decides = "yes" if package in sidebyside.DECIDES_BYTES else "no"
        rows.append([f"[{package}](#{package})", decides, architecture.read_module(path).summary])
    return table(["package", "affects outputs", "content"], rows, text_columns=3)


def _data(stage: Mapping[str, Any]) -> list[str]:
    """Return the files that a stage reads, whole or some keys of them, except params.yaml."""
    files = [path for path in stage["deps"] if not path.startswith(("pipeline/", "src/"))]
    keyed = [path for one in stage["params"] if isinstance(one, Mapping) for path in one]
    return [*files, *(path for path in keyed if path != "params.yaml")]


def _code(paths: list[str]) -> str:
    return "<br>".join(f"`{path}`" for path in paths) or "–"
