"""What the design promises about the code as a whole, read from the files themselves."""

import ast
import functools
import itertools
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.analytics import is_enabled
from dvc.config import Config

from fashion import readme
from fashion.parameters import Parameters

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = PROJECT / "src/fashion"
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
SCRIPTS = sorted(path.stem for path in (PROJECT / "pipeline").glob("*.py"))
STAGES: Mapping[str, Any] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
REPLICATIONS = PROJECT / "replications"
REPLICATED: Mapping[str, Any] = {
    stage: content.get("do", content)
    for stage, content in yaml.safe_load((REPLICATIONS / "dvc.yaml").read_text())["stages"].items()
}

# A module imports from its own level or a lower one.
LEVELS = (
    "errors files randomness command paths data hyperparameters parameters results sources stage"
    " state progress provenance runtime browser loading",
    "augmentation kernels models training evaluation plots store tracking scoring page report"
    " differences elsewhere",
    "tuning reference runs picture predict serve training_log evaluation_log refill"
    " training_work tuning_work replication finished verdicts replication_plots"
    " replication_results replication_findings replication_figures replication_report replicas",
    "checklist readme record verify tour replicate",
)
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names.split()}

# Who alone may import what is large, or would be hard to replace.
ONLY_USERS = {
    "matplotlib": {"plots", "replication_plots"},
    "mlflow": {"store", "tracking", "scoring"},
    "keras_tuner": {"tuning"},
    "selenium": {"browser"},
}
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


@functools.cache
def fashion_imports(path: Path) -> frozenset[str]:
    """Return the modules of `fashion` that a file imports itself."""
    parts = [name.split(".") for name in imports(path) if name.split(".")[0] == "fashion"]
    assert all(len(part) > 1 and part[1] in MODULES for part in parts), parts
    return frozenset(part[1] for part in parts)


def closure(path: Path) -> set[str]:
    """Return the modules of `fashion` that a file needs, directly or not."""
    found: set[str] = set()
    waiting = set(fashion_imports(path))
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= fashion_imports(PACKAGE / f"{name}.py") - found
    return found


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


def test_every_module_has_a_level() -> None:
    assert sorted(LEVEL) == MODULES


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_from_its_own_level_or_lower_ones(name: str) -> None:
    higher = {
        other for other in fashion_imports(PACKAGE / f"{name}.py") if LEVEL[other] > LEVEL[name]
    }
    assert not higher


@pytest.mark.parametrize("name", MODULES)
def test_no_module_needs_itself(name: str) -> None:
    assert name not in closure(PACKAGE / f"{name}.py")


def test_nothing_imports_a_stage() -> None:
    scripts = [*(PROJECT / "pipeline").glob("*.py"), *REPLICATIONS.glob("pipeline/*.py")]
    for path in [*PACKAGE.glob("*.py"), *scripts]:
        assert not packages(path) & {"pipeline", *SCRIPTS}, path


@pytest.mark.parametrize("package", ONLY_USERS)
def test_a_large_package_has_known_users(package: str) -> None:
    files = [*PACKAGE.glob("*.py"), *(PROJECT / "pipeline").glob("*.py")]
    files += REPLICATIONS.glob("pipeline/*.py")
    assert {path.stem for path in files if package in packages(path)} == ONLY_USERS[package]


def test_importing_the_package_does_nothing() -> None:
    (only,) = ast.parse((PACKAGE / "__init__.py").read_text()).body
    assert isinstance(only, ast.Expr)
    assert isinstance(only.value, ast.Constant)


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
        "from pathlib import Path; from fashion.parameters import read_parameters;"
        " read_parameters(Path('params.yaml')); import fashion.sources, fashion.augmentation,"
        " fashion.plots, fashion.state, fashion.evaluation, fashion.report"
    )
    assert not loaded(code)


@pytest.mark.parametrize("script", ["download", "preprocess", "augment"])
def test_a_stage_without_a_model_never_imports_a_large_package(script: str) -> None:
    path = PROJECT / "pipeline" / f"{script}.py"
    for file in [path, *(PACKAGE / f"{name}.py" for name in closure(path))]:
        assert not packages(file) & set(LARGE) or file.stem == "runtime", file
    assert "runtime" not in closure(path)


def test_the_stages_are_the_scripts_and_the_sections_of_the_parameters() -> None:
    assert sorted(STAGES) == SCRIPTS
    sections = yaml.safe_load((PROJECT / "params.yaml").read_text())
    assert sorted(set(sections) - {"seed", "threads"}) == SCRIPTS


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_script_and_the_modules_it_imports(stage: str) -> None:
    script = PROJECT / "pipeline" / f"{stage}.py"
    modules = closure(script)
    needed = {f"pipeline/{stage}.py"}
    needed |= {
        f"src/fashion/{path.name}"
        for path in PACKAGE.iterdir()
        if path.is_file() and path.name.split(".")[0] in modules
    }
    listed = [name for name in STAGES[stage]["deps"] if name.startswith(("pipeline/", "src/"))]
    missing, unused = sorted(needed - set(listed)), sorted(set(listed) - needed)
    assert not (missing or unused), f"dvc.yaml, {stage}: add {missing}, remove {unused}"
    assert len(listed) == len(set(listed))
    assert listed[1:] == sorted(listed[1:]), f"dvc.yaml, {stage}: modules out of order"


# Modules of theirs that decide no number: they load, print, log, or save what is done. The page has
# durations, which `progress` puts into words.
NO_NUMBERS = {
    *("command", "finished", "loading", "paths", "progress", "provenance", "stage", "state"),
    *("store", "tracking", "training_log"),
}


@pytest.mark.parametrize("stage", REPLICATED)
def test_a_replication_depends_on_the_modules_that_decide_its_numbers(stage: str) -> None:
    script = {"winner": "train"}.get(stage, stage)
    silent = NO_NUMBERS - {"progress"} if stage == "compare" else NO_NUMBERS
    modules = closure(REPLICATIONS / f"pipeline/{script}.py") - silent
    needed = {f"pipeline/{script}.py"} | {
        f"../src/fashion/{path.name}"
        for path in PACKAGE.iterdir()
        if path.is_file() and path.name.split(".")[0] in modules
    }
    listed = [
        name for name in REPLICATED[stage]["deps"] if name.startswith(("pipeline/", "../src/"))
    ]
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
