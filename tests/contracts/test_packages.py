"""The packages: their order, the size of modules, and the users of large dependencies."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.source_code import (
    LIBRARY,
    MODULES,
    ORDER,
    PROJECT,
    STAGES,
    STUDY,
    STUDY_STAGES,
    closure,
    package,
    project_imports,
    top_level_imports,
)

# The modules that may import a package that is large or would be hard to replace.
ONLY_USERS = {
    "matplotlib": {"sidebyside.reporting.plot_style"},
    "mlflow": {
        "sidebyside.tracking.store",
        "sidebyside.tracking.registry",
        "sidebyside.tracking.start_page",
        "sidebyside.tracking.logged_models",
        "sidebyside.serving.registered_model",
    },
    "keras_tuner": {"sidebyside.training.strategies"},
    "selenium": {"tools.browser"},
}
MAXIMUM_LINES = 350
LARGE = ("tensorflow", "keras", "keras_tuner", "mlflow")


def test_the_order_lists_every_package() -> None:
    assert sorted(ORDER) == sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py"))


def test_a_package_imports_only_earlier_packages() -> None:
    for path in MODULES:
        if name := package(path).removesuffix("__init__.py"):
            earlier = ORDER[: ORDER.index(name) + 1]
            later = {file for file in project_imports(path) if package(file) not in earlier}
            assert not later, path


def test_imports_have_no_cycle() -> None:
    assert [path for path in MODULES if path in closure(path)] == []


def test_the_library_imports_neither_the_study_nor_the_tools() -> None:
    outside = {"study", "tools", "pipeline", "benchmarks", "tests"}
    assert [path for path in MODULES if top_level_imports(path) & outside] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_a_module_has_at_most_350_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAXIMUM_LINES


@pytest.mark.parametrize("package", ["evaluation", "reporting"])
def test_scores_tables_and_plots_know_no_data_set(package: str) -> None:
    for path in (LIBRARY / package).glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {
            (node.module, alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
            if node.module.startswith("sidebyside.config.dataset") or alias.name == "dataset"
        }
        assert imported <= {("sidebyside.config.dataset", "Dataset")}, path  # the type


def test_no_module_imports_a_stage() -> None:
    scripts = {"pipeline", *(path.stem for path in STAGES)}
    for path in [*MODULES, *STUDY.glob("*.py"), *STAGES, *STUDY_STAGES]:
        assert not top_level_imports(path) & scripts, path


@pytest.mark.parametrize("name", ONLY_USERS)
def test_a_large_dependency_is_imported_only_by_its_listed_users(name: str) -> None:
    roots = {PROJECT / "src", PROJECT / "replications/src", PROJECT}
    files = {*MODULES, *STUDY.glob("*.py"), *(PROJECT / "tools").glob("*.py")}
    files |= {*STAGES, *STUDY_STAGES}
    users = {path for path in files if name in top_level_imports(path)}
    listed = {root / f"{user.replace('.', '/')}.py" for user in ONLY_USERS[name] for root in roots}
    assert users == listed & files


@pytest.mark.parametrize("path", LIBRARY.rglob("__init__.py"), ids=lambda path: path.parent.name)
def test_a_package_has_a_docstring_and_re_exports_nothing(path: Path) -> None:
    docstring, *rest = ast.parse(path.read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(docstring.value, ast.Constant)
    assert all(isinstance(node, ast.Assign) for node in rest)


def loaded_after_each(*codes: str) -> list[set[str]]:
    """Return the large packages that a new Python has loaded after each piece of code."""
    report = f"print(*set({LARGE}) & set(sys.modules), sep=',', file=sys.stderr)"
    lines = [f"try:\n exec({code!r})\nexcept SystemExit: pass\n{report}" for code in codes]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(["import sys", *lines])],
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [set(line.split(",")) - {""} for line in done.stderr.splitlines()]


def test_help_loads_no_large_package() -> None:
    codes = [
        f"import runpy; sys.argv = ['{path.stem}', '--help'];"
        f" runpy.run_path({str(path)!r}, run_name='__main__')"
        for path in STAGES
    ]
    loaded = loaded_after_each(*codes)
    assert dict(zip([path.stem for path in STAGES], loaded, strict=True)) == {
        path.stem: set() for path in STAGES
    }


def test_reading_parameters_and_importing_data_and_reports_load_no_large_package() -> None:
    lines = ["import pathlib", "from sidebyside.config import parameters"]
    lines.append("parameters.read_parameters(pathlib.Path('params.yaml'))")
    for name in ("core", "config", "data", "evaluation", "reporting"):
        modules = (path.stem for path in sorted((LIBRARY / name).glob("*.py")))
        lines += [f"import sidebyside.{name}.{module}" for module in modules]
    assert loaded_after_each("\n".join(lines)) == [set()]


@pytest.mark.parametrize("script", ["download", "preprocess", "augment"])
def test_a_stage_without_a_model_imports_no_large_package(script: str) -> None:
    path = PROJECT / "pipeline" / f"{script}.py"
    # The TensorFlow set-up lists the switches that fix the bits; it loads TensorFlow when called.
    files = {path, *closure(path)} - {LIBRARY / "models/tensorflow_setup.py"}
    for file in files:
        assert not top_level_imports(file) & set(LARGE), file
