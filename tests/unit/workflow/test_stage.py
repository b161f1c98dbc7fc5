import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sidebyside.workflow import git as workflow_git
from sidebyside.workflow import provenance, stage
from tests.support.dvc_project import commit, git

SOURCES = Path(__file__).parents[3] / "src"
SCRIPT = """
import sys
from pathlib import Path
from sidebyside.workflow import stage

def main():
    root = Path(__file__).resolve().parents[1]
    for change in sys.argv[2:]:
        name, _, text = change.partition("=")
        (root / name).write_text(text)
    Path(root / "result").write_text("done")

stage.run(main, __file__, sys.argv[1:])
"""
PARAMETERS = "seed: 1\ntune: {models: {mlp: {dropout: 0.1}, cnn: {dropout: 0.2}}}\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A project with one stage that changes files while it runs."""
    root = tmp_path / "a project"
    for name, text in {
        "pipeline/tune.py": SCRIPT,
        "src/sidebyside/models/architectures.py": "# how",
        "src/sidebyside/reporting/data_plots.py": "# not this stage's",
        "params.yaml": PARAMETERS,
        "below/params.yaml": "augment: {flip: 0.5}\nseed: 2\n",
        "dvc.yaml": yaml.safe_dump(
            {
                "stages": {
                    "tune": {
                        "cmd": "python pipeline/tune.py ${item.model}",
                        "deps": [
                            "src/sidebyside/models/architectures.py",
                            "pipeline/tune.py",
                            "data/x.npz",
                        ],
                        "params": ["seed", "tune.models.${item.model}"],
                    },
                    "all": {
                        "cmd": "python pipeline/all.py",
                        "deps": [],
                        "params": [{"params.yaml": None}],
                    },
                    "other": {
                        "cmd": "python pipeline/other.py",
                        "deps": [],
                        "params": [{"below/params.yaml": ["augment"]}],
                    },
                }
            }
        ),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def run(checkout: Path, *changes: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "pipeline/tune.py", "mlp", *changes],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_stage_that_nobody_touches_succeeds(checkout: Path) -> None:
    done = run(checkout)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            "src/sidebyside/models/architectures.py=# otherwise",
            "src/sidebyside/models/architectures.py",
        ),
        ("pipeline/tune.py=# otherwise", "pipeline/tune.py"),
        ("params.yaml=seed: 2\ntune: {models: {mlp: {dropout: 0.1}}}", "params.yaml: seed"),
        ("params.yaml=seed: 1\ntune: {models: {mlp: {}}}", "params.yaml: tune.models.mlp"),
        ("params.yaml={half: [", "params.yaml: seed, params.yaml: tune.models.mlp"),
    ],
)
def test_an_edit_of_what_a_stage_is_made_from_is_refused_in_one_line(
    checkout: Path, change: str, named: str
) -> None:
    done = run(checkout, change)
    assert done.returncode == 1
    assert done.stderr == (
        f"tune: error: {named} changed while the stage ran, so its result is not recorded:"
        " run the same command again\n"
    )


@pytest.mark.parametrize("name", ["data/x.npz", "data/folder/y.json", "data/folder/new.json"])
def test_an_input_of_another_branch_is_refused_in_one_line(checkout: Path, name: str) -> None:
    graph = yaml.safe_load((checkout / "dvc.yaml").read_text())
    graph["stages"]["tune"]["deps"].append("data/folder")
    (checkout / "dvc.yaml").write_text(yaml.safe_dump(graph))
    (checkout / "data/folder").mkdir(parents=True)
    for file in ("data/x.npz", "data/folder/y.json"):
        (checkout / file).write_text("of this branch")
    done = run(checkout, "data/folder/.DS_Store=ignored", f"{name}=of another branch")
    assert done.returncode == 1
    assert done.stderr == (
        f"tune: error: {name} changed while the stage ran, so its result is not recorded:"
        " run the same command again\n"
    )


def test_an_input_of_another_item_may_change(checkout: Path) -> None:
    graph = yaml.safe_load((checkout / "dvc.yaml").read_text())
    graph["stages"]["tune"]["deps"].append("data/${item.data}.json")
    (checkout / "dvc.yaml").write_text(yaml.safe_dump(graph))
    (checkout / "data").mkdir()
    done = run(checkout, "data/other.json=of a stage that runs at the same time")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "name", ["", "src/sidebyside/models/architectures.py", "dvc.yaml", "data/x.npz"]
)
def test_a_stage_does_not_begin_with_files_of_two_states(checkout: Path, name: str) -> None:
    script = checkout / "pipeline/tune.py"
    text = script.read_text().replace("import stage", "import resume, stage")
    work = "    with resume.resumable(root, 'tune-mlp', 'key', [root / 'result']):\n        Path("
    script.write_text(text.replace("    Path(", work))
    (checkout / "data").mkdir()
    (checkout / "data/x.npz").touch()
    # As after `git stash` and `git stash pop`:
    done = run(checkout, *([f"{name}={(checkout / name).read_text()}"] if name else []))
    message = f"tune: error: {name} changed while the stage started: run the same command again\n"
    assert (done.returncode, done.stderr) == ((1, message) if name else (0, ""))
    assert (checkout / "result").exists() == (not name)


def test_code_that_was_changed_back_while_a_stage_without_a_matrix_ran_is_noticed(
    checkout: Path,
) -> None:
    script = checkout / "pipeline/all.py"
    name = "src/sidebyside/models/architectures.py"
    script.write_text((checkout / "pipeline/tune.py").read_text())
    graph = yaml.safe_load((checkout / "dvc.yaml").read_text())
    graph["stages"]["all"] |= {"deps": [name, "pipeline/all.py"]}
    (checkout / "dvc.yaml").write_text(yaml.safe_dump(graph))
    text = script.read_text()
    changes = f"sys.argv[1:] = ['', '{name}=# otherwise', '{name}=# how']"
    script.write_text(text.replace("def main():", f"def main():\n    {changes}"))
    done = subprocess.run(
        [sys.executable, "pipeline/all.py"],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"all: error: {name} changed while the stage ran" in done.stderr


def test_the_recorded_commit_is_that_of_the_start(checkout: Path) -> None:
    graph = yaml.safe_load((checkout / "dvc.yaml").read_text())
    graph["stages"]["tune"] |= {"cmd": "python pipeline/tune.py", "outs": ["result"]}
    (checkout / "dvc.yaml").write_text(yaml.safe_dump(graph))
    script = checkout / "pipeline/tune.py"
    commits = "import subprocess; subprocess.run(['git', 'reset', '--quiet', '--soft', 'HEAD~1'])"
    script.write_text(script.read_text().replace("def main():", f"def main():\n    {commits}"))
    (checkout / "data").mkdir()
    (checkout / "data/x.npz").touch()
    git(checkout, "init", "--quiet")
    for _ in range(2):
        commit(checkout)
    head = workflow_git.commit(checkout)
    assert run(checkout).returncode == 0
    assert workflow_git.commit(checkout) != head
    found = provenance.find(checkout, "tune", [checkout / "result"])
    assert found is not None
    assert found.source.commit == head


@pytest.mark.parametrize(
    "change",
    [
        "src/sidebyside/reporting/data_plots.py=# otherwise",
        "params.yaml=# a remark\nseed: 1\ntune: {models: {mlp: {dropout: 0.1}, cnn: {}}}",
    ],
)
def test_an_edit_of_something_else_does_no_harm(checkout: Path, change: str) -> None:
    done = run(checkout, change)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "message"),
    [("stages: [", "dvc.yaml is not valid YAML: "), ("plots: []", "dvc.yaml has no stages")],
)
def test_a_damaged_graph_is_named(checkout: Path, text: str, message: str) -> None:
    (checkout / "dvc.yaml").write_text(text)
    done = run(checkout)
    assert done.returncode == 1
    assert done.stderr.startswith(f"tune: error: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["tune@mlp", "dvc.yaml:tune@mlp", "../dvc.yaml:tune@mlp"])
def test_dvc_may_be_called_from_any_folder(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("DVC_STAGE", name)
    done = run(checkout)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stage_that_the_graph_does_not_have_is_named(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_STAGE", "another")
    done = run(checkout)
    assert done.returncode == 1
    assert done.stderr == "tune: error: dvc.yaml has no stage 'another'\n"


def test_what_is_no_longer_listed_has_changed(checkout: Path) -> None:
    fewer = yaml.safe_load((checkout / "dvc.yaml").read_text())
    fewer["stages"]["tune"]["deps"].remove("src/sidebyside/models/architectures.py")
    done = run(checkout, f"dvc.yaml={yaml.safe_dump(fewer)}")
    assert "src/sidebyside/models/architectures.py changed while the stage ran" in done.stderr


def test_a_stage_that_fails_leaves_a_mark_until_it_succeeds(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_STAGE", "tune@mlp")
    mark = checkout / ".state/unfinished/tune@mlp"
    assert run(checkout, "params.yaml=seed: 2").returncode == 1
    assert mark.exists()
    assert run(checkout).returncode == 0
    assert not mark.exists()


def test_a_stage_does_not_start_with_a_changed_input(checkout: Path) -> None:
    (checkout / "data").mkdir()
    (checkout / "data/x.npz").write_text("changed by hand")
    lock = {"stages": {"preprocess": {"outs": [{"path": "data/x.npz", "md5": "0" * 32}]}}}
    (checkout / "dvc.lock").write_text(yaml.safe_dump(lock))
    subprocess.run(["git", "init", "--quiet"], cwd=checkout, check=True)
    (checkout / ".dvc").mkdir()
    done = run(checkout)
    assert done.returncode == 1
    assert done.stderr == (
        "tune: error: data/x.npz is not as dvc.lock records it: `rm -rf data/x.npz` makes DVC"
        " create it again\n"
    )
    assert not (checkout / "result").exists()
    asked = run(checkout, "--help")  # `main` prints it; the one of this test does its work
    assert (asked.returncode, asked.stderr) == (0, "")


def test_the_provenance_of_a_stage_without_a_matrix_is_written_once(checkout: Path) -> None:
    result = checkout / "result"
    result.write_text("x")
    graph = yaml.safe_load((checkout / "dvc.yaml").read_text())
    graph["stages"]["all"]["outs"] = ["result"]
    (checkout / "dvc.yaml").write_text(yaml.safe_dump(graph))
    stage.ensure_provenance(checkout, "all", 1.5)
    found = provenance.find(checkout, "all", [result])
    assert found is not None
    own = provenance.write(checkout, "all", "own key", {}, [result])
    stage.ensure_provenance(checkout, "all", 1.5)  # the stage has written its own
    assert provenance.find(checkout, "all", [result]) == own
    result.write_text("y")
    stage.ensure_provenance(checkout, "all", 1.5)
    again = provenance.find(checkout, "all", [result])
    assert again is not None
    assert again.key == found.key  # nothing else changed


def test_a_checkout_of_another_user_is_refused_before_the_stage_starts(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=checkout, check=True)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    done = run(checkout)
    assert done.returncode == 1
    assert f"git config --global --add safe.directory '{checkout}'\n" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (checkout / "result").exists()
