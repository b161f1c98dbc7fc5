import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sidebyside.core.errors import UserError
from sidebyside.core.files import write_json
from sidebyside.reproducibility.summary import comparison, summary
from sidebyside.workflow import provenance
from tests.support.datasets import FASHION_MNIST

PROJECT = Path(__file__).resolve().parents[3]
SCORES = {
    "mlp-original": {
        "val": {"accuracy": 0.91517}, "val_interval": [0.9101, 0.92], "test": {"accuracy": 0.906}
    },
    "cnn-augmented": {
        "val": {"accuracy": 0.94225}, "val_interval": [0.938, 0.9463], "test": {"accuracy": 0.9351}
    },
}  # fmt: skip
TITLES = "model          val accuracy          interval  recorded  difference  time  recorded"
TAIL = """
Best validation accuracy on Fashion-MNIST: cnn-augmented.
Report: reports/evaluate/report.html. Runs: `make ui`.
"""
HEAD = f"""\
{TITLES}
mlp-original         0.9152  0.9101 to 0.9200    0.9152     +0.0000     –         –
cnn-augmented        0.9423  0.9380 to 0.9463    0.9423     +0.0000     –         –
{TAIL}"""
UNRECORDED = f"""\
{TITLES}
mlp-original         0.9152  0.9101 to 0.9200         –           –     –         –
cnn-augmented        0.9423  0.9380 to 0.9463         –           –     –         –
{TAIL}"""
NOT_COMPARED = "No recorded outputs to compare with: dvc.lock is not committed to git."


def write_lock(root: Path, **outputs: str) -> None:
    outs = [{"path": path, "md5": digest} for path, digest in outputs.items()]
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": {"train": {"outs": outs}}}))


def git(root: Path, *arguments: str) -> None:
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *author, *arguments], cwd=root, check=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Results that are recorded in a git repository, in a folder below its root."""
    root = tmp_path / "repository/a project"
    write_json(root / "reports/evaluate/metrics.json", SCORES)
    write_json(root / "data/processed/dataset.json", FASHION_MNIST.model_dump(mode="json"))
    write_lock(root, a="1", b="2", c="3")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "a")
    return root


def test_unchanged_outputs_equal_the_recorded_ones(root: Path) -> None:
    assert summary(root) == f"{HEAD}All 3 outputs equal the recorded ones."


def test_scores_and_times_stand_beside_the_recorded_ones(root: Path) -> None:
    digest = hashlib.md5(b"weights", usedforsecurity=False).hexdigest()
    lock = {"stages": {"train@mlp-original-1": {"outs": [{"path": "model", "md5": digest}]}}}
    (root / "model").write_text("weights")
    (root / "dvc.lock").write_text(yaml.safe_dump(lock))
    facts = {"fingerprint": "a"}
    entry = provenance.write(root, "train@mlp-original-1", "key", facts, [root / "model"], 65.0)
    recorded = {**entry.content(), "outputs": {"model": "other"}, "seconds": 70.0}
    write_json(root / "reports/provenance.json", {"train@mlp-original-1": recorded})
    better = {"mlp-original": {**SCORES["mlp-original"], "val": {"accuracy": 0.91}}}
    write_json(root / "reports/evaluate/metrics.json", better)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "b")
    write_json(root / "reports/evaluate/metrics.json", SCORES)
    _, mlp, cnn, *_ = summary(root).splitlines()
    assert mlp.endswith("    0.9100     +0.0052  1 min 05 s  1 min 10 s")
    assert cnn.split()[5:] == ["–"] * 4


@pytest.mark.parametrize("scores", ["{", "{}"])
def test_damaged_scores_in_the_last_commit_are_not_compared_with(root: Path, scores: str) -> None:
    path = root / "reports/evaluate/metrics.json"
    good = path.read_text()
    path.write_text(scores)
    git(root, "commit", "--quiet", "--all", "--message", "b")
    path.write_text(good)
    assert summary(root).startswith(UNRECORDED)


def test_changed_missing_and_new_outputs_are_listed(root: Path) -> None:
    write_lock(root, a="1", b="other", d="4")
    assert summary(root) == (
        f"{HEAD}3 of 4 outputs differ from the recorded ones:\n  b: changed\n  c: missing\n  d: new"
    )


def test_outputs_in_the_index_are_not_recorded_yet(root: Path) -> None:
    write_lock(root, a="1", b="2", c="other")
    git(root, "add", "dvc.lock")
    assert summary(root).endswith("1 of 3 outputs differ from the recorded ones:\n  c: changed")


def test_a_long_list_of_different_outputs_is_cut() -> None:
    lines = comparison({str(n): "1" for n in range(12)}, {}).splitlines()
    assert len(lines) == 12
    assert lines[-1] == "  and 2 more: see `git diff dvc.lock`"


def test_results_of_other_data_are_not_listed_one_by_one() -> None:
    text = comparison({"data/raw": "1", "a": "1"}, {"data/raw": "2", "a": "2"})
    assert text == (
        "The recorded outputs are those of other data. To record these instead, commit"
        " params.yaml, dvc.lock and reports/."
    )


def test_without_a_committed_lock_outputs_are_not_compared(root: Path) -> None:
    git(root, "rm", "--quiet", "--cached", "dvc.lock")
    git(root, "commit", "--quiet", "--message", "b")
    assert summary(root) == HEAD + NOT_COMPARED


def test_without_git_outputs_are_not_compared(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert summary(root) == UNRECORDED + NOT_COMPARED


def test_outside_a_repository_outputs_are_not_compared(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / ".git").rename(root / "not a repository")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(root.parent))
    assert summary(root) == UNRECORDED + NOT_COMPARED


def test_before_the_first_run_the_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics\.json is missing: run `dvc repro`"):
        summary(tmp_path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{}", "there are no models"),
        ("[1]", "should be a valid dictionary"),
        ('{"mlp": {"val": {"accuracy": 0.9}}}', "mlp.test: is missing"),
        (
            '{"mlp": {"val": {"accuracy": 0.9}, "test": {"accuracy": NaN}}}',
            "mlp.test.accuracy: Input should be",
        ),
        (
            '{"mlp": {"val": {"accuracy": 2}, "test": {"accuracy": 0.9}}}',
            "mlp.val.accuracy: Input should be less than or equal to 1, not 2",
        ),
        (
            '{"mlp": {"val": {"accuracy": 0.9, "log_loss": Infinity}, "test": {"accuracy": 0}}}',
            "mlp.val.log_loss: Input should be a finite number, not inf",
        ),
    ],
)
def test_damaged_scores_are_named(root: Path, content: str, fault: str) -> None:
    (root / "reports/evaluate/metrics.json").write_text(content)
    with pytest.raises(UserError) as caught:
        summary(root)
    message = str(caught.value)
    assert re.search(r"metrics\.json is damaged: .*: run `dvc repro`$", message)
    assert fault in message


def test_a_damaged_lock_in_the_last_commit_is_named(root: Path) -> None:
    (root / "dvc.lock").write_text("{")
    git(root, "commit", "--quiet", "--all", "--message", "b")
    write_lock(root, a="1")
    with pytest.raises(UserError, match=r"dvc\.lock of the last commit is damaged"):
        summary(root)


def test_the_summary_loads_no_large_package() -> None:
    script = (
        "import sidebyside.reproducibility.summary, sys;"
        "print([n for n in ('tensorflow', 'mlflow', 'sklearn', 'scipy', 'pandas', 'dvc')"
        " if n in sys.modules])"
    )
    line = [sys.executable, "-c", script]
    environment = {"PYTHONPATH": str(PROJECT / "src")}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
