"""The project's files, and the imports among its Python modules, read from the source."""

import ast
import functools
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

import sidebyside
from sidebyside.config.paths import CHECKOUT

PROJECT = CHECKOUT
LIBRARY = PROJECT / "src/sidebyside"
STUDY = PROJECT / "replications/src/study"
ORDER = (*sidebyside.DECIDES_BYTES, *sidebyside.DECIDES_NO_BYTES)
MODULES = sorted(LIBRARY.rglob("*.py"))
STAGES = sorted((PROJECT / "pipeline").glob("*.py"))
STUDY_STAGES = sorted((PROJECT / "replications/pipeline").glob("*.py"))
# Modules of the study that only log, and so decide no bytes.
ONLY_LOG = {STUDY / "tracking.py", STUDY / "backfill.py"}


def imports(path: Path) -> Iterator[str]:
    """Yield the full names that a file imports at run time, inside functions too."""
    yield from _imports(ast.parse(path.read_text(encoding="utf-8")))


def _imports(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for alternative in child.orelse:
                yield from _imports(alternative)
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative imports are not resolved here"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.Call) and ast.unparse(child.func).endswith("import_module"):
            yield _imported(child.args[0])
        else:
            yield from _imports(child)


def _imported(name: ast.expr) -> str:
    """Return the module that import_module is called for, or the literal package of the module."""
    if isinstance(name, ast.JoinedStr):  # f"package.{module}"
        name = name.values[0]
    assert isinstance(name, ast.Constant), "import_module needs a literal name"
    return str(name.value).rstrip(".")


@functools.cache
def top_level_imports(path: Path) -> frozenset[str]:
    """Return the top-level packages that a file imports."""
    return frozenset(name.split(".")[0] for name in imports(path))


def module_path(name: str) -> Path | None:
    """Return the file of a module of the library or the study; None for any other."""
    for folder in (PROJECT / "src", PROJECT / "replications/src"):
        for candidate in (name, name.rpartition(".")[0]):
            path = folder / f"{candidate.replace('.', '/')}.py"
            if candidate and path.is_file():
                return path
    return None


@functools.cache
def project_imports(path: Path) -> frozenset[Path]:
    """Return the files of the library and the study that a file imports directly."""
    return frozenset(file for name in imports(path) if (file := module_path(name)))


def package(path: Path) -> str:
    """Return the library's package that contains a file; "" for a file outside the library."""
    return path.relative_to(LIBRARY).parts[0] if path.is_relative_to(LIBRARY) else ""


def closure(path: Path, through: Collection[str] = ("", *ORDER)) -> set[Path]:
    """Return the files that a file imports, directly or through files of some packages."""
    closed: set[Path] = set()
    waiting = set(project_imports(path))
    while waiting:
        file = waiting.pop()
        if package(file) in through and file not in ONLY_LOG:
            closed.add(file)
            waiting |= project_imports(file) - closed
    return closed


def deciding_code(path: Path) -> set[str]:
    """Return the code that decides the bytes of a script's outputs, as paths below PROJECT.

    These are folders of packages, and single files of the study: a change to its comparison
    retrains nothing.
    """
    files = closure(path, ("", *sidebyside.DECIDES_BYTES))
    code = {file if file.parent == STUDY else file.parent for file in files}
    return {file.relative_to(PROJECT).as_posix() for file in code}


def project_files() -> list[Path]:
    """Return the files of the working tree that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    return [PROJECT / name for name in listed if name and (PROJECT / name).is_file()]
