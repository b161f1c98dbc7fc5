"""The repository: the lock of the dependencies, the Makefile, params.yaml, settings of DVC."""

import functools
import itertools
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from dvc.analytics import is_enabled
from dvc.config import Config
from dvc.repo import Repo

from sidebyside.config.parameters import Parameters
from sidebyside.core.files import IGNORED
from sidebyside.reproducibility.record import DATASETS, EXPERIMENTS
from tests.support.source_code import PROJECT, project_files


def test_dvc_runs_the_stages_with_the_shell_of_the_makefile() -> None:
    line = ["make", "--silent", "--eval", "shown: ; @printenv SHELL", "shown"]
    done = subprocess.run(
        line, cwd=PROJECT, env={**os.environ, "SHELL": "/bin/false"}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "/bin/sh\n"


def test_no_file_contains_the_path_of_a_home_folder() -> None:
    homes = ("/home/", "/root/", "/Users/", f"{Path.home()}/", f"{PROJECT}/")
    for path in project_files():
        if path.resolve() == Path(__file__):
            continue
        text = path.read_bytes().decode(errors="replace")
        assert not [home for home in homes if home in text], path


# A program in a string, a command or a page may name a module, where no import check sees it.
FROM = re.compile(r"from (sidebyside(?:\.\w+)*) import (\w+)")
DOTTED = re.compile(r"(?<![\w/])(sidebyside\.\w+\.\w+)")


def test_every_module_named_in_a_file_exists() -> None:
    missing = set()
    for path in project_files():
        if path.suffix not in (".py", ".md", ".yaml", ".toml") and path.name != "Makefile":
            continue
        text = path.read_text(encoding="utf-8")
        found = DOTTED.findall(text)
        found += [f"{package}.{name}" for package, name in FROM.findall(text)]
        for name in found:
            *parts, last = name.split(".")
            if last.startswith("__"):  # an attribute of every package
                continue
            folder = PROJECT.joinpath("src", *parts)
            if folder.is_dir():
                exists = (folder / last).is_dir() or (folder / f"{last}.py").is_file()
            else:
                exists = folder.with_suffix(".py").is_file()
            if not exists:
                missing.add((path.relative_to(PROJECT).as_posix(), name))
    assert not missing


@pytest.mark.parametrize(
    ("name", "least"),
    [("requirements", 100), ("requirements-ray", 5), ("requirements-gpu", 12)],
)
def test_every_locked_package_has_hashes_and_no_address(name: str, least: int) -> None:
    lock = (PROJECT / f"{name}.lock").read_text()
    requirements = [line for line in lock.replace("\\\n", "").splitlines() if line[:1].isalnum()]
    assert len(requirements) > least
    for requirement in requirements:
        assert re.match(r"[a-z0-9._-]+(\[[a-z0-9,-]+\])?==\S+ ", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement
    assert "http" not in re.sub(r"^([a-z0-9._-]*http[a-z0-9._-]*==|\s+#).*", "", lock, flags=re.M)
    assert not re.search(r"://|index-url|find-links", lock)


@pytest.mark.parametrize(("name", "package"), [("ray", "ray"), ("gpu", "nvidia-cudnn-cu12")])
def test_an_optional_group_needs_no_other_version_of_a_package(name: str, package: str) -> None:
    main, optional = (
        set(re.findall(r"^([a-z0-9.-]+)==(\S+)", (PROJECT / file).read_text(), re.M))
        for file in ("requirements.lock", f"requirements-{name}.lock")
    )
    names = {name for name, _ in main}
    assert package in {name for name, _ in optional}
    assert {(name, version) for name, version in optional - main if name in names} == set()


def test_direct_dependencies_are_locked() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"]]
    groups = project["dependency-groups"]
    # Not part of it: the frameworks that only the benchmarks compare with, Ray and CUDA.
    optional = ("peers", "ray", "gpu")
    wanted += itertools.chain(*(groups[name] for name in groups if name not in optional))
    lock = (PROJECT / "requirements.lock").read_text().lower()
    for requirement in wanted:
        name = re.split(r"[\[=<>]", requirement)[0].lower()
        assert re.search(rf"^{re.escape(name)}==", lock, re.M), requirement


def test_every_make_target_is_phony_and_has_a_description() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    phony = set(" ".join(re.findall(r"^\.PHONY:(.*)", makefile, re.M)).split())
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):(?!=)", makefile, re.M))
    documented = set(re.findall(r"^([a-z][a-z0-9-]*):[^=].*## \S", makefile, re.M))
    assert targets == documented == phony
    assert {"help", "install", "repro", "test"} <= targets


@pytest.mark.parametrize("target", ["repro", "replications", "benchmark", "smoke", "reference"])
def test_targets_that_change_a_folder_wait_for_each_other(target: str) -> None:
    command = ("make", "--dry-run", "--no-print-directory", target)
    printed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    waiting = "python -m sidebyside.workflow.in_turn "
    assert waiting in printed.stdout
    lines = printed.stdout.splitlines()
    assert not [line for line in lines if line.startswith(("dvc repro", "dvc exp run"))]


@pytest.mark.parametrize("target", (*EXPERIMENTS, *DATASETS))
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


def test_the_header_of_params_yaml_names_the_command_and_the_expected_results() -> None:
    header = (PROJECT / "params.yaml").read_text().split("\ndataset:")[0].splitlines()
    assert all(line.startswith("#") for line in header if line)
    for words in ("dvc repro", "dvc exp run --temp -S ", "# expected"):
        assert words in "\n".join(header), f"the header of params.yaml does not name {words!r}"


@pytest.mark.parametrize("folder", [PROJECT, PROJECT / "replications"])
def test_dvc_sends_no_analytics_and_adds_nothing_to_git(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path))  # not a user's own settings
    monkeypatch.delenv("DVC_NO_ANALYTICS", raising=False)
    monkeypatch.chdir(folder)
    assert not is_enabled()
    core = Config.from_cwd()["core"]
    assert (core["check_update"], core["autostage"]) == (False, False)


@pytest.mark.parametrize("root", [PROJECT, PROJECT / "replications"])
def test_dvc_ignores_files_that_are_not_data(root: Path) -> None:
    lines = (root / ".dvcignore").read_text().splitlines()
    patterns = [line.lstrip("\\") for line in lines if not line.startswith(("#", "/"))]
    assert tuple(patterns) == IGNORED
    ignore = Repo(root).dvcignore
    for pattern in IGNORED:
        name = pattern.replace("[op]", "p").replace("*", "x")
        assert ignore.is_ignored_file(str(root / "library" / name)), name
    assert not ignore.is_ignored_file(str(root / "library/x.py"))


def test_every_target_that_runs_dvc_first_checks_its_files() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    recipes = dict(re.findall(r"^(\.?[a-z-]+):(?!=).*\n((?:\t.*\n)+)", makefile, re.M))
    runs_dvc = re.compile(
        r"\bdvc (repro|exp run)\b|\(REPRO\)(?! --dry-run)"
        r"|\(call experiment|reproducibility\.rerun$",
        re.M,
    )
    targets = {name.removeprefix(".") for name in recipes if runs_dvc.search(recipes[name])}
    assert {"repro", "smoke", "replications", "verify", "thorough"} <= targets
    assert [name for name in targets if "$(CHECK)" not in recipes[name].partition("\n")[0]] == []
