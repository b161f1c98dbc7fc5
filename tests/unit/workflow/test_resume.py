import json
import subprocess
import sys
from pathlib import Path

import pytest

from sidebyside.core.errors import UserError
from sidebyside.core.files import md5
from sidebyside.workflow.resume import FOLDER, forget_recorded, resumable, work_key

SOURCES = Path(__file__).parents[3] / "src"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("pipeline/train.py", "pipeline/tune.py", "src/library/a.py", "src/library/b.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    modules = ["src/library/a.py", "src/library/b.py"]
    stages = {
        "train": {"deps": ["pipeline/train.py", *modules, "data/train.npz"]},
        "tune": {"deps": ["pipeline/tune.py", *modules]},
    }
    (tmp_path / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    return tmp_path


INPUTS = {"settings": {"epochs": 3, "dropout": 0.1}, "train": "abc"}


# Keys


def test_a_key_is_sixteen_hexadecimal_digits_and_always_the_same(checkout: Path) -> None:
    key = work_key(checkout, "train", INPUTS)
    assert len(key) == 16
    assert int(key, 16) >= 0
    assert work_key(checkout, "train", INPUTS) == key


def test_a_key_does_not_depend_on_the_order_of_the_inputs(checkout: Path) -> None:
    turned = {"train": "abc", "settings": {"dropout": 0.1, "epochs": 3}}
    assert work_key(checkout, "train", turned) == work_key(checkout, "train", INPUTS)


def test_a_key_does_not_depend_on_where_the_checkout_lies(checkout: Path, tmp_path: Path) -> None:
    key = work_key(checkout, "train", INPUTS)
    moved = tmp_path.with_name(f"{tmp_path.name} moved")
    checkout.rename(moved)
    assert work_key(moved, "train", INPUTS) == key


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"settings": {"epochs": 3, "dropout": 0.1}},
        {"settings": {"epochs": 3, "dropout": 0.2}, "train": "abc"},
        {"settings": {"epochs": 3, "dropout": 0.1}, "train": "abd"},
        {"settings": {"epochs": 3, "dropout": 0.1}, "train": "abc", "val": "x"},
    ],
)
def test_another_input_gives_another_key(checkout: Path, inputs: dict[str, object]) -> None:
    assert work_key(checkout, "train", inputs) != work_key(checkout, "train", INPUTS)


def test_another_stage_gives_another_key(checkout: Path) -> None:
    (checkout / "pipeline/tune.py").write_bytes((checkout / "pipeline/train.py").read_bytes())
    assert work_key(checkout, "tune", INPUTS) != work_key(checkout, "train", INPUTS)


@pytest.mark.parametrize("name", ["pipeline/train.py", "src/library/b.py"])
def test_other_code_gives_another_key(checkout: Path, name: str) -> None:
    key = work_key(checkout, "train", INPUTS)
    (checkout / name).write_text("changed\n")
    assert work_key(checkout, "train", INPUTS) != key


def test_a_module_the_stage_does_not_use_does_not_matter(checkout: Path) -> None:
    key = work_key(checkout, "train", INPUTS)
    (checkout / "src/library/new.py").write_text("new\n")
    assert work_key(checkout, "train", INPUTS) == key


def test_another_stages_script_does_not_matter(checkout: Path) -> None:
    key = work_key(checkout, "train", INPUTS)
    (checkout / "pipeline/tune.py").write_text("changed\n")
    assert work_key(checkout, "train", INPUTS) == key


# Folders


def record(root: Path, **digests: str) -> None:
    """Write a dvc.lock."""
    outs = [{"path": path, "md5": digest} for path, digest in digests.items()]
    (root / "dvc.lock").write_text(json.dumps({"stages": {"train@a": {"outs": outs}}}) + "\n")


def work(root: Path, name: str = "train-a", key: str = "k1") -> Path:
    """Do some work that ends well; its output is `model`."""
    with resumable(root, name, key, [root / "model"]) as folder:
        (folder / "epoch.npz").write_text("1")
        (root / "model").write_text(name)
    return folder


def test_a_folder_goes_when_dvc_has_recorded_the_result(tmp_path: Path) -> None:
    folder = work(tmp_path)
    assert folder.is_relative_to(tmp_path / FOLDER / "train-a")
    record(tmp_path, model="of an earlier result", other="x")
    forget_recorded(tmp_path)
    assert (folder / "epoch.npz").exists()
    record(tmp_path, model=md5(tmp_path / "model"), other="x")
    forget_recorded(tmp_path)
    assert not folder.exists()


def test_what_another_process_is_writing_is_left_for_the_next_time(tmp_path: Path) -> None:
    half, whole = work(tmp_path, "train-a"), work(tmp_path, "train-b")
    (tmp_path / "dvc.lock").write_text("stages: {train")
    forget_recorded(tmp_path)
    assert half.exists()
    record(tmp_path, model=md5(tmp_path / "model"))
    (half / "done.json").write_text("{")
    forget_recorded(tmp_path)
    assert half.exists()
    assert not whole.exists()


def test_work_that_dvc_has_not_recorded_is_found_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work(tmp_path)
    assert capsys.readouterr().out == ""
    with resumable(tmp_path, "train-a", "k1", []) as again:
        assert (again / "epoch.npz").exists()
    assert capsys.readouterr().out == (
        "train-a: already done, but not recorded by DVC: reusing .state/train-a\n"
    )


def test_work_that_dvc_has_recorded_is_redone_if_asked_for(tmp_path: Path) -> None:
    work(tmp_path)
    record(tmp_path, model=md5(tmp_path / "model"))
    with resumable(tmp_path, "train-a", "k1", []) as again:
        assert list(again.iterdir()) == []


def test_the_next_work_removes_what_is_recorded(tmp_path: Path) -> None:
    folder = work(tmp_path)
    record(tmp_path, model=md5(tmp_path / "model"))
    work(tmp_path, "train-b", "k2")
    assert not folder.exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_folder_survives_a_failure_and_is_taken_up(
    tmp_path: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error), resumable(tmp_path, "train-a", "k1", []) as folder:
        (folder / "epoch.npz").write_text("1")
        raise error
    with resumable(tmp_path, "train-a", "k1", []) as again:
        assert again == folder
        assert (again / "epoch.npz").read_text() == "1"


def test_another_key_starts_afresh_and_removes_what_cannot_be_taken_up(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), resumable(tmp_path, "train-a", "k1", []) as old:
        (old / "epoch.npz").write_text("1")
        raise RuntimeError
    with resumable(tmp_path, "train-a", "k2", []) as new:
        assert list(new.iterdir()) == []
        assert not old.exists()


def test_other_work_is_left_alone(tmp_path: Path) -> None:
    with resumable(tmp_path, "train-a", "k1", []) as first:
        (first / "epoch.npz").write_text("1")
        with resumable(tmp_path, "train-b", "k2", []):
            assert (first / "epoch.npz").exists()
        assert (first / "epoch.npz").exists()


def test_a_second_process_at_the_same_work_is_refused(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from sidebyside.workflow.resume import resumable\n"
        "with resumable(pathlib.Path(sys.argv[1]), 'train-a', 'k1', []) as folder:\n"
        "    print(folder, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(SOURCES)},
    ) as other:
        assert other.stdout is not None
        folder = Path(other.stdout.readline().strip())
        # Another key is refused as well: it would remove the folder under the first one's feet.
        for key in ("k1", "k2"):
            with (
                pytest.raises(
                    UserError,
                    match=rf"^process {other.pid} \(`.*`, since .*\) is already running train-a:",
                ),
                resumable(tmp_path, "train-a", key, []),
            ):
                pass
        assert folder.is_dir()
        other.kill()
        other.wait()
    with resumable(tmp_path, "train-a", "k1", []) as again:  # a dead process holds no lock
        assert again == folder


def test_another_machine_gives_another_key(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "ALL")
    key = work_key(checkout, "train", INPUTS)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert work_key(checkout, "train", INPUTS) != key


def test_a_folder_stays_until_all_of_its_outputs_are_recorded(tmp_path: Path) -> None:
    outputs = [tmp_path / name for name in ("model", "history")]
    with resumable(tmp_path, "train-a", "k1", outputs) as folder:
        for output in outputs:
            output.write_text(output.name)
    record(tmp_path, model=md5(outputs[0]))
    forget_recorded(tmp_path)
    assert folder.exists()


def test_an_output_in_a_folder_is_known_by_its_path(tmp_path: Path) -> None:
    output = tmp_path / "models/mlp.keras"
    with resumable(tmp_path, "train-a", "k1", [output]) as folder:
        output.parent.mkdir()
        output.write_text("mlp")
    record(tmp_path, **{"models/mlp.keras": md5(output)})
    forget_recorded(tmp_path)
    assert not folder.exists()


# The time that work took


def test_files_of_editors_and_file_managers_are_not_code(checkout: Path) -> None:
    stages = {"train": {"deps": ["src/library"]}}
    (checkout / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    key = work_key(checkout, "train", INPUTS)
    (checkout / "src/library/.#a.py").symlink_to("user@host.123")  # an Emacs lock
    (checkout / "src/library/._a.py").write_bytes(b"\0")
    (checkout / "src/library/.ipynb_checkpoints").mkdir()
    (checkout / "src/library/.ipynb_checkpoints/a.py").touch()
    assert work_key(checkout, "train", INPUTS) == key
    (checkout / "src/library/c.py").touch()
    assert work_key(checkout, "train", INPUTS) != key
