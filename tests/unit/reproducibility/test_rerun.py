"""Runs held against recorded ones."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json
from sidebyside.reproducibility import rerun
from sidebyside.reproducibility.seed_variance import Comparison
from sidebyside.workflow.graph import recorded_outputs

if TYPE_CHECKING:
    from tests.support.checkout import Checkout
    from tests.support.reproductions import Reproductions

PROJECT = Path(__file__).resolve().parents[3]
slow = pytest.mark.slow


def rows(text: str) -> dict[str, tuple[str, str]]:
    """Return output → (verdict, detail)."""
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if " | " in line]
    found = [[*each, ""][:3] for each in cells if each[0].startswith(("data", "models", "reports"))]
    return {output: (verdict.strip(" |"), detail) for output, verdict, detail in found}


def change(checkout: "Checkout", output: str, old: bytes, new: bytes) -> None:
    """Change an output, and its digest in dvc.lock, as if a run had made it so."""
    path = checkout.root / output
    content = path.read_bytes()
    assert old in content
    path.unlink()  # it may be a link into DVC's cache
    path.write_bytes(content.replace(old, new, 1))
    lock = yaml.safe_load((checkout.root / "dvc.lock").read_text())
    for stage in lock["stages"].values():
        for out in stage["outs"]:
            if out["path"] == output:
                out["md5"] = "0" * 32
    (checkout.root / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))


def move(checkout: "Checkout") -> None:
    """Let the models of a checkout come from another machine."""
    for path in (checkout.root / "reports/train").glob("*/model.json"):
        content = read_json(path)
        write_json(path, {**content, "machine": {**content["machine"], "fingerprint": "other"}})


# The comparison


@slow
@pytest.mark.timeout(1200)
def test_a_run_elsewhere_agrees_in_every_output(reproductions: "Reproductions") -> None:
    text, good = rerun.report(reproductions.here.root, reproductions.elsewhere.root)
    assert good
    found = rows(text)
    assert {verdict for verdict, _ in found.values()} == {"identical"}
    assert set(found) == set(recorded_outputs(reproductions.here.root))
    assert "| dvc.lock | identical |" in text
    assert text.splitlines()[-1].startswith(f"Agreed: {len(found) + 1} identical of")
    assert "every byte was compared" in text


@pytest.mark.parametrize(("probability", "cells"), [(0.25, ["0.25"]), (None, [])])
def test_how_likely_a_score_is_stands_there_once_other_seeds_are_known(
    probability: float | None, cells: list[str]
) -> None:
    one = Comparison("mlp-original", "val", 0.9, 0.91, 0.02, probability)
    header, _, row = rerun.score_table([one]).splitlines()
    assert ("p by other seeds" in header) == bool(cells)
    assert row.strip("| ").split(" | ") == [
        *("mlp-original", "val", "0.9000", "0.9100", "±0.0200", "within tolerance"),
        *cells,
    ]


@slow
@pytest.mark.timeout(1200)
def test_one_different_number_is_found_and_named(reproduced: "Checkout", own: "Checkout") -> None:
    change(own, "reports/train/mlp-original-1/history.csv", b"\n2,", b"\n3,")
    text, good = rerun.report(reproduced.root, own.root)
    assert not good
    different = {output: found for output, found in rows(text).items() if found[0] != "identical"}
    assert different == {
        "reports/train/mlp-original-1/history.csv": ("different", "row 2, column epoch: 3, not 2")
    }
    assert "| dvc.lock | different | line " in text
    assert "Not agreed" in text


@pytest.mark.parametrize(
    ("machine", "expected"),
    [("this", "verification.md"), ("that", "verification_elsewhere.md")],
)
def test_each_kind_of_comparison_has_its_own_report(
    tmp_path: Path, machine: str, expected: str
) -> None:
    for checkout, fingerprint in (("recorded", "this"), ("again", machine)):
        path = tmp_path / checkout / "reports/train/mlp-original-1/model.json"
        write_json(path, {"machine": {"fingerprint": fingerprint}})
    assert rerun.report_file(tmp_path / "recorded", tmp_path / "again") == expected


@slow
@pytest.mark.timeout(1200)
def test_on_another_machine_the_scores_are_compared(
    reproduced: "Checkout", own: "Checkout"
) -> None:
    move(own)
    change(own, "reports/train/mlp-original-1/history.csv", b"\n2,", b"\n3,")
    text, good = rerun.report(reproduced.root, own.root)
    assert good
    assert rows(text)["reports/train/mlp-original-1/history.csv"][0] == "within tolerance"
    assert re.search(r"machine fingerprint other \(.+\), not the recorded", text)
    assert "the scores were compared" in text


@slow
@pytest.mark.timeout(1200)
def test_on_another_machine_the_data_must_still_be_the_same(
    reproduced: "Checkout", own: "Checkout"
) -> None:
    move(own)
    change(own, "data/processed/val.npz", b"labels", b"lapels")
    text, good = rerun.report(reproduced.root, own.root)
    assert not good
    assert rows(text)["data/processed/val.npz"][0] == "different"


@slow
@pytest.mark.timeout(1200)
def test_on_another_machine_a_score_may_not_be_far_off(
    reproduced: "Checkout", own: "Checkout"
) -> None:
    move(own)
    path = own.root / "reports/evaluate/metrics.json"
    content = read_json(path)
    content["mlp-original"]["test"]["accuracy"] -= 0.5
    write_json(path, content)
    text, good = rerun.report(reproduced.root, own.root)
    assert not good
    assert [
        line for line in text.splitlines() if "mlp-original | test" in line and "different" in line
    ]


@slow
@pytest.mark.timeout(1200)
def test_an_output_too_many_or_too_few_is_different(
    reproduced: "Checkout", own: "Checkout"
) -> None:
    lock = yaml.safe_load((own.root / "dvc.lock").read_text())
    lock["stages"]["augment"]["outs"][0]["path"] = "data/more.npz"
    (own.root / "dvc.lock").write_text(yaml.safe_dump(lock))
    text, good = rerun.report(reproduced.root, own.root)
    assert not good
    assert rows(text)["data/augmented/train.npz"] == ("different", "is missing")
    assert rows(text)["data/more.npz"] == ("different", "is there in addition")


# Clones


@slow
@pytest.mark.timeout(1200)
def test_recorded_outputs_come_from_git_and_from_the_cache(own: "Checkout", tmp_path: Path) -> None:
    own.commit()
    recorded = rerun.clone(own.root, tmp_path / "recorded")
    shared = (own.root / ".dvc/cache").rename(tmp_path / "shared")
    own.run("dvc", "config", "--local", "cache.dir", str(shared))
    rerun.fill_from_cache(recorded, own.root)
    for output in recorded_outputs(own.root):
        assert (recorded / output).exists(), output
    model = "models/mlp-original-1.keras"
    assert (recorded / model).read_bytes() == (own.root / model).read_bytes()
    rerun.forget_results(recorded)
    assert not [output for output in recorded_outputs(own.root) if (recorded / output).exists()]
    assert not (recorded / "dvc.lock").exists()


@slow
@pytest.mark.timeout(1200)
def test_without_the_cache_the_digests_are_compared(own: "Checkout", tmp_path: Path) -> None:
    own.commit()
    recorded = rerun.clone(own.root, tmp_path / "recorded")
    shutil.rmtree(own.root / ".dvc/cache")
    rerun.fill_from_cache(recorded, own.root)
    change(own, "data/processed/val.npz", b"labels", b"lapels")
    text, good = rerun.report(recorded, own.root)
    assert not good
    found = rows(text)
    assert found["data/processed/train.npz"][0] == "identical"
    assert "not in DVC's cache" in found["data/processed/val.npz"][1]


def test_without_a_lock_there_is_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no dvc\.lock in the last commit"):
        rerun.fill_from_cache(tmp_path, tmp_path)


def test_why_dvc_names_no_cache_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`dvc cache dir` fails: ERROR: configuration error"):
        rerun.cache_folder(tmp_path)


def test_what_is_no_repository_cannot_be_cloned(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be cloned"):
        rerun.clone(tmp_path, tmp_path / "clone")


def test_the_small_budgets_are_parameters_that_exist() -> None:
    parameters = yaml.safe_load((PROJECT / "params.yaml").read_text())
    assert rerun.budgets()["train.budget.cnn.epochs"] == 1
    for key in rerun.budgets():
        section: Any = parameters
        for name in key.split("."):
            section = section[name]


# Elsewhere

NOW_AND_FILES = """
import os, sys, time
from pathlib import Path
print(time.gmtime().tm_year, os.umask(0))
print(os.listdir("files"), sorted(path.name for path in Path("files").iterdir()))
print([entry.name for entry in os.scandir("files")], next(os.walk("files"))[2])
"""


def test_elsewhere_is_another_time_and_another_order_of_files(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/fashion").symlink_to(PROJECT / "src/fashion")
    (tmp_path / "files").mkdir()
    for name in "bca":
        (tmp_path / "files" / name).touch()
    before = dict(os.environ)
    with rerun.elsewhere(tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", NOW_AND_FILES],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.splitlines() == [
        f"2031 {0o077}",
        "['c', 'b', 'a'] ['a', 'b', 'c']",
        "['c', 'b', 'a'] ['c', 'b', 'a']",
    ]
    assert dict(os.environ) == before


@pytest.mark.system
@pytest.mark.timeout(1200)
def test_two_small_runs_agree_wherever_they_are(checkout_from: "Callable[..., Checkout]") -> None:
    checkout: Checkout = checkout_from()
    checkout.edit({"train.models": ["mlp"], "train.data": ["original"]})
    (checkout.root / "src/sidebyside/reproducibility/smoke.txt").write_text(
        "train.budget.mlp.epochs=1\n"
    )
    others = {"mlp-original-2": {split: {"accuracy": 0.9} for split in ("val", "test")}}
    (checkout.root / "reports/reference").mkdir(parents=True)
    (checkout.root / "reports/reference/metrics.json").write_text(json.dumps(others))
    checkout.commit()
    done = checkout.run(
        "python",
        "-m",
        "sidebyside.reproducibility.rerun",
        "--smoke",
        "--vary",
        environment={"PYTHONPATH": "src"},
    )
    assert "every byte was compared" in done.stdout
    assert {verdict for verdict, _ in rows(done.stdout).values()} == {"identical"}
    assert re.search(r"^\| mlp-original \| test \|.*\| within tolerance \|$", done.stdout, re.M)
    assert checkout.run("git", "status", "--porcelain").stdout == ""


@pytest.mark.system
@pytest.mark.timeout(1200)
def test_other_instructions_give_other_bits_and_scores_within_tolerance(
    reproduced: "Checkout", own: "Checkout"
) -> None:
    """An older processor, as far as the library of kernels can be told to be one."""
    for stage in ("train@cnn-original-1", "evaluate"):
        own.run(
            *("dvc", "repro", "--force", "--single-item", stage),
            environment={"ONEDNN_MAX_CPU_ISA": "SSE41"},
        )
    text, good = rerun.report(reproduced.root, own.root)
    assert good, text
    assert "the scores were compared" in text
    assert rows(text)["models/cnn-original-1.keras"][0] == "within tolerance"


def checkout(root: Path, fingerprints: dict[str, str], accuracy: float = 0.9, **md5: str) -> Path:
    """Write what a report looks at: models by machine, scores, and outputs by their digest."""
    for model, fingerprint in fingerprints.items():
        machine = {"fingerprint": fingerprint, "processor": "x"}
        write_json(root / f"reports/train/{model}/model.json", {"machine": machine})
    scores = {"val": {"accuracy": 0.9}, "test": {"accuracy": accuracy}}
    write_json(root / "reports/evaluate/metrics.json", {"mlp-original": scores})
    splits = {"val": {"images": 100}, "test": {"images": 10_000}}
    write_json(root / "reports/preprocess/summary.json", {"splits": splits})
    outs = [{"path": f"data/{name}", "md5": digest} for name, digest in md5.items()]
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": {"a": {"outs": outs}}}))
    return root


def test_all_models_have_to_come_from_the_machine(tmp_path: Path) -> None:
    here = checkout(tmp_path / "a", {"a": "1", "b": "1"})
    there = checkout(tmp_path / "b", {"a": "1", "b": "2"})
    assert rerun.fingerprint(there) == "1, 2"
    assert rerun.report_file(here, there) == "verification_elsewhere.md"


def test_an_accuracy_far_off_is_not_agreed_with_whatever_the_lock_says(tmp_path: Path) -> None:
    here = checkout(tmp_path / "a", {"a": "1"}, x="1")
    text, good = rerun.report(here, checkout(tmp_path / "b", {"a": "1"}, accuracy=0.5, x="1"))
    assert not good
    assert "Not agreed" in text


def test_a_lock_that_differs_is_different_on_the_same_machine(tmp_path: Path) -> None:
    here, there = (checkout(tmp_path / name, {"a": "1"}, x="1") for name in "ab")
    (there / "dvc.lock").write_text((there / "dvc.lock").read_text() + "# more\n")
    text, good = rerun.report(here, there)
    assert not good
    assert "| dvc.lock | different |" in text


def test_on_the_same_machine_bits_count_and_on_another_the_scores(tmp_path: Path) -> None:
    here = checkout(tmp_path / "a", {"a": "1"}, x="1")
    assert not rerun.report(here, checkout(tmp_path / "b", {"a": "1"}, x="2"))[1]
    assert rerun.report(here, checkout(tmp_path / "c", {"a": "2"}, x="2"))[1]
    assert not rerun.report(here, checkout(tmp_path / "d", {"a": "2"}, accuracy=0.5, x="2"))[1]


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_URI", "DVC_ROOT", "MAKEFLAGS"])
def test_what_leads_elsewhere_is_not_passed_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    assert name not in rerun.own_environment()


def test_a_run_that_fails_is_not_compared(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`dvc repro` failed"):
        rerun.reproduce(tmp_path)  # where there is no repository


@pytest.mark.parametrize("smoke", [True, False])
def test_a_run_that_differs_fails_and_only_the_real_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, smoke: bool
) -> None:
    for name in ("clone", "set_parameters", "forget_results", "reproduce", "fill_from_cache"):
        monkeypatch.setattr(rerun, name, lambda *_: tmp_path)
    monkeypatch.setattr(rerun, "report", lambda *_: ("text", False))
    monkeypatch.setattr(rerun, "report_file", lambda *_: "verification.md")
    kept: list[str] = []
    monkeypatch.setattr(rerun, "write_text", lambda _, text: kept.append(text))
    monkeypatch.setattr(sys, "argv", ["verify", *["--smoke"] * smoke])
    with pytest.raises(UserError, match="the new run differs"):
        rerun.main()
    assert kept == ([] if smoke else ["text"])


def test_afterwards_the_process_is_here_again(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    before, umask = dict(os.environ), os.umask(0o027)
    try:
        with rerun.elsewhere(tmp_path):
            assert os.environ["TZ"] == "Asia/Kathmandu"
    finally:
        afterwards = os.umask(umask)
    assert afterwards == 0o027
    assert dict(os.environ) == before
