"""dvc.yaml and dvc.lock as the stages read them."""

import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from sidebyside.core.errors import UserError
from sidebyside.core.files import path_digest
from sidebyside.workflow.graph import (
    code,
    data_digests,
    dependencies,
    inputs,
    outputs_of,
    recorded_outputs,
    stage_outputs,
)

PARAMETERS = "seed: 1\ntune: {models: {mlp: {dropout: 0.1}, cnn: {dropout: 0.2}}}\n"
STAGES = {
    "tune": {
        "cmd": "python pipeline/tune.py ${item.model}",
        "deps": ["src/library/models.py", "pipeline/tune.py", "data/x.npz"],
        "params": ["seed", "tune.models.${item.model}"],
        "outs": ["models/${item.model}.keras", {"reports/tune": {"cache": False}}],
        "metrics": [{"reports/summary.json": {"cache": False}}],
    },
    "all": {
        "cmd": "python pipeline/all.py",
        "deps": ["src/library", "data"],
        "params": [{"params.yaml": None}],
    },
    "other": {
        "foreach": "${models}",
        "do": {
            "cmd": "python pipeline/other.py",
            "deps": [],
            "params": [{"below/params.yaml": ["augment"]}],
            "outs": ["results/${key}/x.csv"],
        },
    },
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "a project"
    for name, text in {
        "pipeline/tune.py": "# script",
        "src/library/models.py": "# models",
        "src/library/below/page.jinja": "page",
        "data/x.npz": "x",
        "params.yaml": PARAMETERS,
        "below/params.yaml": "augment: {flip: 0.5}\nseed: 2\n",
        "dvc.yaml": yaml.safe_dump({"stages": STAGES}),
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_folder_stands_for_all_code_below_it(checkout: Path) -> None:
    assert list(code(checkout, "all")) == ["src/library/below/page.jinja", "src/library/models.py"]


def test_data_are_the_dependencies_that_are_not_code(checkout: Path) -> None:
    digests = data_digests(checkout, "all")
    assert list(digests) == ["data"]
    (checkout / "data/x.npz").write_text("y")
    assert data_digests(checkout, "all") != digests


def test_outputs_include_metrics(checkout: Path) -> None:
    assert stage_outputs(checkout, "tune") == [
        "models/${item.model}.keras",
        "reports/tune",
        "reports/summary.json",
    ]


def test_templated_outputs_are_cut_at_the_template(checkout: Path) -> None:
    assert outputs_of(checkout) == {"models/", "reports/tune", "reports/summary.json", "results/"}


def test_digests_equal_those_of_dvc(tmp_path: Path) -> None:
    (tmp_path / "folder/below").mkdir(parents=True)
    for name in ("folder/b", "folder/a", "folder/below/ä c"):
        (tmp_path / name).write_text(name)
    (tmp_path / "dvc.yaml").write_text(
        yaml.safe_dump({"stages": {"s": {"cmd": "echo > out", "deps": ["folder", "folder/a"]}}})
    )
    dvc = [str(Path(sys.executable).with_name("dvc"))]
    for command in ([*dvc, "init", "--no-scm", "--quiet"], [*dvc, "repro", "--quiet"]):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    lock = yaml.safe_load((tmp_path / "dvc.lock").read_text())
    recorded = {dep["path"]: dep["md5"] for dep in lock["stages"]["s"]["deps"]}
    assert recorded == {name: path_digest(tmp_path / name) for name in ("folder", "folder/a")}


def test_a_deleted_file_has_another_digest(checkout: Path) -> None:
    before = code(checkout, "tune")
    (checkout / "src/library/models.py").unlink()
    assert code(checkout, "tune")["src/library/models.py"] == "missing"
    assert before["src/library/models.py"] != "missing"


def test_code_excludes_data(checkout: Path) -> None:
    assert list(code(checkout, "tune")) == [
        "pipeline/tune.py",
        "src/library/models.py",
    ]


def test_parameters_belong_to_the_matrix_item(checkout: Path) -> None:
    found = dependencies(checkout, "tune", ["cnn"])
    assert found["params.yaml: tune.models.cnn"] == {"dropout": 0.2}
    assert "params.yaml: tune.models.mlp" not in found


def test_the_inputs_of_an_item_follow_from_its_values(checkout: Path) -> None:
    stages = {
        "winner": {
            "foreach": "${winners}",
            "do": {
                "cmd": "python pipeline/train.py ${key}",
                "deps": ["data/${item.data}.npz", "results/${item.search}/${key}.json"],
            },
        }
    }
    (checkout / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (checkout / "params.yaml").write_text("winners: {a: {data: original}}")
    assert inputs(checkout, "winner", ["a"]) == ["data/original.npz", "results/*/a.json"]
    assert inputs(checkout, "winner", ["b"]) == ["data/*.npz", "results/*/b.json"]


def test_files_with_parameters_are_inputs_except_params_yaml(checkout: Path) -> None:
    assert inputs(checkout, "other", []) == ["below/params.yaml"]
    assert inputs(checkout, "all", []) == ["src/library", "data"]


def test_a_stage_may_depend_on_the_whole_file(checkout: Path) -> None:
    found = dependencies(checkout, "all", [])
    assert found["params.yaml"] == yaml.safe_load(PARAMETERS)


def test_a_stage_may_depend_on_keys_of_another_file(checkout: Path) -> None:
    found = dependencies(checkout, "other", [])
    assert found == {"below/params.yaml: augment": {"flip": 0.5}}


def test_recorded_outputs_are_read_from_dvc_lock(tmp_path: Path) -> None:
    assert recorded_outputs(tmp_path) == {}
    lock = {"stages": {"a": {"outs": [{"path": "x/y", "md5": "1"}]}, "b": {"cmd": "true"}}}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert recorded_outputs(tmp_path) == {"x/y": "1"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "stages: 1\n",
        "stages: {train: {outs: [{}]}}\n",
        "stages: {train: {outs: [{path: x, md5: 12",
        "stages: {train: {cmd: x}}",
        "stages: {train: {outs: [{path: x, md5: 12}]}}\n",
        "stages: {train: {outs: [{path: x, md5: ../../x}]}}\n",
        "stages: {train: {outs: [{path: 7, md5: '1'}]}}\n",
        "stages: {train: {outs: [{path: /etc, md5: '1'}]}}\n",
        "stages: {train: {outs: [{path: x/../../y, md5: '1'}]}}\n",
        "stages: {train: {outs: [{path: ., md5: '1'}]}}\n",
        "stages:\n<<<<<<< HEAD\n=======\n>>>>>>> other\n",
    ],
)
def test_a_damaged_lock_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "dvc.lock").write_text(content)
    with pytest.raises(UserError, match=r"dvc\.lock is damaged"):
        recorded_outputs(tmp_path)


def test_recorded_outputs_have_every_output_of_a_stage(tmp_path: Path) -> None:
    outs = [{"path": "x", "md5": "1"}, {"path": "y", "md5": "2"}]
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": {"a": {"outs": outs}}}))
    assert recorded_outputs(tmp_path) == {"x": "1", "y": "2"}


def test_a_jinja_template_is_code(checkout: Path) -> None:
    graph = checkout / "dvc.yaml"
    graph.write_text(graph.read_text().replace("data/x.npz", "src/library/page.jinja"))
    assert "src/library/page.jinja" in code(checkout, "tune")


def test_a_lock_that_dvc_is_writing_is_read_again(tmp_path: Path) -> None:
    path, content = tmp_path / "dvc.lock", "stages: {a: {outs: [{path: x, md5: '1'}]}}\n"
    path.write_text(content[:20])
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    with (tmp_path / ".dvc/tmp/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as DVC does
        timer = threading.Timer(0.2, path.write_text, [content])
        timer.start()
        assert recorded_outputs(tmp_path) == {"x": "1"}
        timer.join()
