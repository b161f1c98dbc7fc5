"""What the design promises about the code as a whole, read from the files themselves."""

import ast
import functools
import itertools
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.analytics import is_enabled
from dvc.config import Config

import sidebyside
from sidebyside.config.parameters import Parameters
from tools import readme

PROJECT = Path(__file__).resolve().parents[2]
LIBRARY = PROJECT / "src/sidebyside"
STUDY = PROJECT / "replications/src/study"
ORDER = (*sidebyside.DECIDES_BYTES, *sidebyside.DECIDES_NO_BYTES)
MODULES = sorted(LIBRARY.rglob("*.py"))
SCRIPTS = sorted(path.stem for path in (PROJECT / "pipeline").glob("*.py"))
STAGES: Mapping[str, Any] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
REPLICATIONS = PROJECT / "replications"
REPLICATED: Mapping[str, Any] = {
    stage: content.get("do", content)
    for stage, content in yaml.safe_load((REPLICATIONS / "dvc.yaml").read_text())["stages"].items()
}

# Who alone may import what is large, or would be hard to replace: package → modules.
ONLY_USERS = {
    "matplotlib": {"sidebyside.reporting.plots", "study.charts"},
    "mlflow": {
        "sidebyside.tracking.store",
        "sidebyside.tracking.runs",
        "sidebyside.serving.server",
    },
    "keras_tuner": {"sidebyside.training.search"},
    "selenium": {"tools.browser"},
}
# Modules of the study that decide no bytes: they log.
ONLY_LOG = {STUDY / "tracking.py", STUDY / "backfill.py"}
LONGEST = 350  # lines
LARGE = ("tensorflow", "keras", "keras_tuner", "mlflow")


def imports(path: Path) -> Iterator[str]:
    """Return the full names of what a file imports at run time, inside functions too."""
    yield from _imports(ast.parse(path.read_text(encoding="utf-8")))


def _imports(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for alternative in child.orelse:
                yield from _imports(alternative)
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative imports are not followed"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.Call) and ast.unparse(child.func).endswith("import_module"):
            assert isinstance(child.args[0], ast.Constant), "a name that is not written out"
            yield str(child.args[0].value)
        else:
            yield from _imports(child)


def module_path(name: str) -> Path | None:
    """Return the file of a module of the library or the study; None for any other."""
    for folder in (PROJECT / "src", PROJECT / "replications/src"):
        for candidate in (name, name.rpartition(".")[0]):
            path = folder / f"{candidate.replace('.', '/')}.py"
            if candidate and path.is_file():
                return path
    return None


@functools.cache
def own_imports(path: Path) -> frozenset[Path]:
    """Return the files of the library and the study that a file imports itself."""
    return frozenset(found for name in imports(path) if (found := module_path(name)))


def package(path: Path) -> str:
    """Return the package of the library that a file lies in; "" for any other file."""
    return path.relative_to(LIBRARY).parts[0] if path.is_relative_to(LIBRARY) else ""


def closure(path: Path, through: Collection[str] = ("", *ORDER)) -> set[Path]:
    """Return the files that a file imports, directly or by those of some packages."""
    found: set[Path] = set()
    waiting = set(own_imports(path))
    while waiting:
        file = waiting.pop()
        if package(file) in through and file not in ONLY_LOG:
            found.add(file)
            waiting |= own_imports(file) - found
    return found


def deciding_code(path: Path) -> set[str]:
    """Return the code that decides the bytes that a script writes, from PROJECT.

    Of the library these are folders, of the study files: a change of its page trains nothing again.
    """
    files = closure(path, ("", *sidebyside.DECIDES_BYTES))
    code = {file.parent if package(file) else file for file in files}
    return {file.relative_to(PROJECT).as_posix() for file in code}


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def project_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    return [PROJECT / name for name in listed if name and (PROJECT / name).is_file()]


def test_the_order_names_every_package() -> None:
    assert sorted(ORDER) == sorted(path.parent.name for path in LIBRARY.glob("*/__init__.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_a_package_imports_only_from_those_before_it(path: Path) -> None:
    if own := package(path).removesuffix("__init__.py"):
        before = ORDER[: ORDER.index(own) + 1]
        later = {file for file in own_imports(path) if package(file) not in before}
        assert not later


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_no_module_imports_itself_by_way_of_others(path: Path) -> None:
    assert path not in closure(path)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_the_library_imports_nothing_of_the_study_or_the_tools(path: Path) -> None:
    assert not packages(path) & {"study", "tools", "pipeline", "benchmarks", "tests"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_a_module_is_short_enough_to_read_at_once(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_nothing_imports_a_stage() -> None:
    scripts = [*(PROJECT / "pipeline").glob("*.py"), *REPLICATIONS.glob("pipeline/*.py")]
    for path in [*MODULES, *STUDY.glob("*.py"), *scripts]:
        assert not packages(path) & {"pipeline", *SCRIPTS}, path


@pytest.mark.parametrize("name", ONLY_USERS)
def test_a_large_package_has_known_users(name: str) -> None:
    roots = {PROJECT / "src", PROJECT / "replications/src", PROJECT}
    files = {*MODULES, *STUDY.glob("*.py"), *(PROJECT / "tools").glob("*.py")}
    files |= {*(PROJECT / "pipeline").glob("*.py"), *REPLICATIONS.glob("pipeline/*.py")}
    users = {path for path in files if name in packages(path)}
    known = {root / f"{user.replace('.', '/')}.py" for user in ONLY_USERS[name] for root in roots}
    assert users == known & files


@pytest.mark.parametrize("path", LIBRARY.rglob("__init__.py"), ids=lambda path: path.parent.name)
def test_importing_a_package_does_nothing_and_hands_nothing_on(path: Path) -> None:
    docstring, *rest = ast.parse(path.read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(docstring.value, ast.Constant)
    assert all(isinstance(node, ast.Assign) for node in rest)


def loaded(code: str) -> set[str]:
    """Return which large packages a piece of Python has loaded when it ends."""
    report = f"print(*set({LARGE}) & set(sys.modules), sep=',', file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"import atexit, sys\natexit.register(lambda: {report})\n{code}"],
        env={**os.environ, "PYTHONPATH": str(PROJECT / "src")},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.strip().split(",")) - {""}


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_needs_no_large_package(script: str) -> None:
    code = (
        f"import runpy, sys; sys.argv = ['{script}', '--help'];"
        f" runpy.run_path({str(PROJECT / 'pipeline' / f'{script}.py')!r}, run_name='__main__')"
    )
    assert not loaded(code)


def test_parameters_and_data_need_no_large_package() -> None:
    code = (
        "from pathlib import Path; from sidebyside.config.parameters import read_parameters;"
        " read_parameters(Path('params.yaml'));"
        " from sidebyside.data import augmentation, sources;"
        " from sidebyside.reporting import plots, report;"
        " from sidebyside.workflow import state; from sidebyside.evaluation import results"
    )
    assert not loaded(code)


@pytest.mark.parametrize("script", ["download", "preprocess", "augment"])
def test_a_stage_without_a_model_never_imports_a_large_package(script: str) -> None:
    path = PROJECT / "pipeline" / f"{script}.py"
    # The set-up of TensorFlow names what fixes its bits; it loads TensorFlow only when called.
    files = {path, *closure(path)} - {LIBRARY / "models/tensorflow_setup.py"}
    for file in files:
        assert not packages(file) & set(LARGE), file


def test_the_stages_are_the_scripts_and_the_sections_of_the_parameters() -> None:
    assert sorted(STAGES) == SCRIPTS
    sections = yaml.safe_load((PROJECT / "params.yaml").read_text())
    assert sorted(set(sections) - {"seed", "threads"}) == SCRIPTS


def listed_code(stage: Mapping[str, Any], folder: Path) -> list[str]:
    """Return the code among a stage's dependencies, from PROJECT, in the order of its list."""
    paths = [(folder / name).resolve().relative_to(PROJECT) for name in stage["deps"]]
    return [path.as_posix() for path in paths if {"pipeline", "src"} & set(path.parts)]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_script_and_the_packages_that_decide_its_bytes(stage: str) -> None:
    script = f"pipeline/{stage}.py"
    needed = {script} | deciding_code(PROJECT / script)
    listed = listed_code(STAGES[stage], PROJECT)
    missing, unused = sorted(needed - set(listed)), sorted(set(listed) - needed)
    assert not (missing or unused), f"dvc.yaml, {stage}: add {missing}, remove {unused}"
    order = [f"src/sidebyside/{name}" for name in sidebyside.DECIDES_BYTES]
    assert listed == [script, *(folder for folder in order if folder in listed)]


@pytest.mark.parametrize("stage", REPLICATED)
def test_a_replication_depends_on_the_code_that_decides_its_bytes(stage: str) -> None:
    script = f"replications/pipeline/{ {'winner': 'train'}.get(stage, stage) }.py"
    needed = {script} | deciding_code(PROJECT / script)
    listed = listed_code(REPLICATED[stage], REPLICATIONS)
    if (study := STUDY.relative_to(PROJECT).as_posix()) in listed:
        needed = {study if name.startswith(study) else name for name in needed}
    missing, unused = sorted(needed - set(listed)), sorted(set(listed) - needed)
    assert not (missing or unused), f"replications, {stage}: add {missing}, remove {unused}"
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_says_what_it_does(stage: str) -> None:
    assert len(STAGES[stage]["desc"].split()) > 3
    assert STAGES[stage]["cmd"].startswith(f"PYTHONPATH=src python pipeline/{stage}.py")


def outputs(stage: str) -> dict[str, Mapping[str, Any]]:
    """Return path → options."""
    found: dict[str, Mapping[str, Any]] = {}
    for kind in ("outs", "metrics", "plots"):
        for entry in STAGES[stage].get(kind, []):
            found |= {entry: {}} if isinstance(entry, str) else entry
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_keeps_a_stages_outputs_while_it_runs(stage: str) -> None:
    assert all(options.get("persist") for options in outputs(stage).values())


@pytest.mark.parametrize("stage", STAGES)
def test_small_results_are_in_git_and_large_ones_are_not(stage: str) -> None:
    for path, options in outputs(stage).items():
        assert options.get("cache", True) != path.startswith("reports/"), path


def test_the_test_split_goes_to_evaluate_alone() -> None:
    test_files = ("data/processed/test.npz", "data/processed")
    assert {
        stage for stage, content in STAGES.items() if set(test_files) & set(content["deps"])
    } == {"evaluate"}
    for script in SCRIPTS:
        source = (PROJECT / "pipeline" / f"{script}.py").read_text(encoding="utf-8")
        names = {
            ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.expr)
        }
        named = any(
            re.search(r"split\('test'\)|TEST_IMAGES|t10k|test\.npz", name)
            for name in names
            if not name.startswith(("'", '"'))
        )
        assert named == (script in ("preprocess", "evaluate")), script


def test_no_file_names_a_home_folder() -> None:
    homes = ("/home/", "/root/", "/Users/", f"{Path.home()}/", f"{PROJECT}/")
    for path in project_files():
        if path.resolve() == Path(__file__):
            continue
        text = path.read_bytes().decode(errors="replace")
        assert not [home for home in homes if home in text], path


def test_every_locked_package_has_hashes_and_no_address() -> None:
    lock = (PROJECT / "requirements.lock").read_text()
    requirements = [line for line in lock.replace("\\\n", "").splitlines() if line[:1].isalnum()]
    assert len(requirements) > 100
    for requirement in requirements:
        assert re.match(r"[a-z0-9._-]+(\[[a-z0-9,-]+\])?==\S+ ", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement
    assert "http" not in re.sub(r"^([a-z0-9._-]*http[a-z0-9._-]*==|\s+#).*", "", lock, flags=re.M)
    assert not re.search(r"://|index-url|find-links", lock)


def test_direct_dependencies_are_locked() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"]]
    groups = project["dependency-groups"]
    # What the benchmarks alone compare with is no part of the environment.
    wanted += itertools.chain(*(groups[name] for name in groups if name != "peers"))
    lock = (PROJECT / "requirements.lock").read_text().lower()
    for requirement in wanted:
        name = re.split(r"[\[=<>]", requirement)[0].lower()
        assert re.search(rf"^{re.escape(name)}==", lock, re.M), requirement


def test_every_make_target_says_what_it_does() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    phony = set(" ".join(re.findall(r"^\.PHONY:(.*)", makefile, re.M)).split())
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):(?!=)", makefile, re.M))
    documented = set(re.findall(r"^([a-z][a-z0-9-]*):[^=].*## \S", makefile, re.M))
    assert targets == documented == phony
    assert {"help", "install", "repro", "test"} <= targets


@pytest.mark.parametrize("target", readme.EXPERIMENTS)
def test_the_experiments_change_parameters_that_exist(target: str) -> None:
    command = ("make", "--dry-run", target)
    printed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    changes = re.findall(r"-S (\S+?)=(\S+)", printed.stdout)
    assert changes
    content = yaml.safe_load((PROJECT / "params.yaml").read_text())
    for key, value in changes:
        *sections, name = key.split(".")
        section = functools.reduce(dict.__getitem__, sections, content)
        assert name in section, key
        section[name] = yaml.safe_load(value)
    Parameters.model_validate(content)


def test_the_parameters_begin_with_the_command_and_what_to_expect_of_it() -> None:
    header = (PROJECT / "params.yaml").read_text().split("\nseed:")[0].splitlines()
    assert all(line.startswith("#") for line in header if line)
    for words in ("dvc repro", "dvc exp run --temp -S ", "# expected"):
        assert words in "\n".join(header), f"the header of params.yaml does not name {words!r}"


@pytest.mark.parametrize("folder", [PROJECT, REPLICATIONS])
def test_dvc_asks_no_server_and_adds_nothing_to_git(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path))  # not a user's own settings
    monkeypatch.delenv("DVC_NO_ANALYTICS", raising=False)
    monkeypatch.chdir(folder)
    assert not is_enabled()
    core = Config.from_cwd()["core"]
    assert (core["check_update"], core["autostage"]) == (False, False)
