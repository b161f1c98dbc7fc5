import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json
from sidebyside.reproducibility import clones
from sidebyside.reproducibility.seed_variance import Comparison
from sidebyside.reproducibility.verification import (
    require_results,
    score_table,
    verify,
)
from sidebyside.workflow import provenance
from sidebyside.workflow.graph import recorded_outputs
from tests.support.verification_report import rows

if TYPE_CHECKING:
    from tests.support.checkout import Checkout
    from tests.support.reproductions import Reproductions

slow = pytest.mark.slow


def change(checkout: "Checkout", output: str, old: bytes, new: bytes) -> None:
    """Change an output and its digest in dvc.lock."""
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


def change_machine(checkout: "Checkout") -> None:
    """Give the models of a checkout another machine's fingerprint, whatever their digests."""
    outputs = yaml.safe_load((checkout.root / "dvc.lock").read_text())["stages"]
    for path in (checkout.root / provenance.FOLDER).glob("train@*.json"):
        content = read_json(path)
        digests = {out["path"]: out["md5"] for out in outputs[path.stem]["outs"]}
        machine = {**content["machine"], "fingerprint": "other"}
        write_json(path, {**content, "machine": machine, "outputs": digests})


@slow
@pytest.mark.timeout(1200)
def test_a_run_in_a_perturbed_environment_agrees_in_every_output(
    reproductions: "Reproductions",
) -> None:
    result = verify(reproductions.here.root, reproductions.elsewhere.root)
    assert result.agreed
    results = rows(result.text)
    assert {name for name, _ in results.values()} == {"identical"}
    assert set(results) == set(recorded_outputs(reproductions.here.root))
    assert "| dvc.lock | identical |" in result.text
    last = result.text.splitlines()[-1]
    assert last.startswith(f"Agreed: {len(results) + 1} identical of {len(results) + 1} outputs.")
    assert "every byte was compared" in last


@pytest.mark.parametrize(("probability", "cells"), [(0.25, ["0.25"]), (None, [])])
def test_the_score_table_has_p_once_other_seeds_are_known(
    probability: float | None, cells: list[str]
) -> None:
    table = score_table([Comparison("mlp-original", "val", 0.9, 0.91, 0.02, probability)])
    assert ("p (other seeds)" in table.header) == bool(cells)
    assert ("make reference" in table.caption) != bool(cells)
    assert list(table.rows[0]) == [
        *("mlp-original", "val", "0.9000", "0.9100", "±0.0200", "within tolerance"),
        *cells,
    ]


@slow
@pytest.mark.timeout(1200)
def test_one_different_number_is_reported(reproduced: "Checkout", own: "Checkout") -> None:
    change(own, "reports/evaluate/per_class.csv", b"\nmlp-original", b"\nMLP-original")
    result = verify(reproduced.root, own.root)
    assert not result.agreed
    different = {
        name: found for name, found in rows(result.text).items() if found[0] != "identical"
    }
    assert different == {
        "reports/evaluate/per_class.csv": (
            "different",
            "row 1, column model: MLP-original, not mlp-original",
        )
    }
    assert "| dvc.lock | different | line " in result.text
    assert "Not agreed" in result.text


@slow
@pytest.mark.timeout(1200)
def test_accuracies_are_compared_between_different_machines(
    reproduced: "Checkout", own: "Checkout"
) -> None:
    change(own, "reports/train/mlp-original-1/history.csv", b"\n2,", b"\n3,")
    change_machine(own)
    result = verify(reproduced.root, own.root)
    assert result.agreed
    assert rows(result.text)["reports/train/mlp-original-1/history.csv"] == (
        "within tolerance",
        "row 2, column epoch: 3, not 2",
    )
    assert re.search(r"fingerprint other \(.+\) differs from the recorded", result.text)
    assert "accuracies were compared" in result.text


@slow
@pytest.mark.timeout(1200)
def test_data_must_be_identical_on_a_different_machine(
    reproduced: "Checkout", own: "Checkout"
) -> None:
    change(own, "data/processed/val.npz", b"labels", b"lapels")
    change_machine(own)
    result = verify(reproduced.root, own.root)
    assert not result.agreed
    assert rows(result.text)["data/processed/val.npz"][0] == "different"


@slow
@pytest.mark.timeout(1200)
def test_additional_and_missing_outputs_are_different(
    reproduced: "Checkout", own: "Checkout"
) -> None:
    lock = yaml.safe_load((own.root / "dvc.lock").read_text())
    lock["stages"]["augment"]["outs"][0]["path"] = "data/more.npz"
    (own.root / "dvc.lock").write_text(yaml.safe_dump(lock))
    result = verify(reproduced.root, own.root)
    assert not result.agreed
    assert rows(result.text)["data/augmented/train.npz"] == ("different", "missing")
    assert rows(result.text)["data/more.npz"] == ("different", "not recorded")


@slow
@pytest.mark.timeout(1200)
def test_without_the_cache_the_digests_are_compared(own: "Checkout", tmp_path: Path) -> None:
    own.commit()
    recorded = clones.clone(own.root, tmp_path / "recorded")
    shutil.rmtree(own.root / ".dvc/cache")
    clones.restore_results(recorded, own.root)
    change(own, "data/processed/val.npz", b"labels", b"lapels")
    result = verify(recorded, own.root)
    assert not result.agreed
    assert rows(result.text)["data/processed/train.npz"][0] == "identical"
    assert "not in the DVC cache" in rows(result.text)["data/processed/val.npz"][1]


def checkout(
    root: Path, fingerprints: dict[str, str], accuracy: float = 0.9, digest: str = "1"
) -> Path:
    """Write the files that `verify` reads: provenance of models, scores and dvc.lock."""
    stages = {}
    for model, fingerprint in fingerprints.items():
        path = f"models/{model}"
        stages[f"train@{model}"] = {"outs": [{"path": path, "md5": digest}]}
        entry = provenance.Provenance(
            "key",
            {"fingerprint": fingerprint, "processor": "x"},
            provenance.Source("commit", dirty=False),
            {path: digest},
        )
        write_json(root / provenance.FOLDER / f"train@{model}.json", entry.content())
    scores = {"val": {"accuracy": 0.9}, "test": {"accuracy": accuracy}}
    write_json(root / "reports/evaluate/metrics.json", {"mlp-original": scores})
    splits = {"val": {"images": 100}, "test": {"images": 10_000}}
    write_json(root / "reports/preprocess/summary.json", {"splits": splits})
    shutil.copy(Path(__file__).parents[3] / "params.yaml", root)
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    return root


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    return checkout(tmp_path / "recorded", {"a": "1", "b": "1"})


@pytest.mark.parametrize(
    ("fingerprint", "digest", "accuracy", "agreed", "file"),
    [
        ("1", "1", 0.9, True, "verification.md"),
        ("1", "2", 0.9, False, "verification.md"),  # the same machine: all bytes count
        ("1", "1", 0.5, False, "verification.md"),  # a score that dvc.lock does not cover
        ("2", "2", 0.9, True, "verification_other_machine.md"),  # another: the accuracies count
        ("2", "2", 0.5, False, "verification_other_machine.md"),
    ],
)
def test_fingerprints_decide_whether_bytes_or_accuracies_are_compared(
    recorded: Path,
    tmp_path: Path,
    fingerprint: str,
    digest: str,
    accuracy: float,
    agreed: bool,
    file: str,
) -> None:
    again = checkout(tmp_path / "again", dict.fromkeys("ab", fingerprint), accuracy, digest)
    result = verify(recorded, again)
    assert (result.agreed, result.file) == (agreed, file)
    assert result.text.splitlines()[-1].startswith("Agreed:" if agreed else "Not agreed:")


def test_all_models_have_to_come_from_the_recorded_machine(recorded: Path, tmp_path: Path) -> None:
    result = verify(recorded, checkout(tmp_path / "again", {"a": "1", "b": "2"}))
    assert "Machine fingerprint 1, 2 (x) differs from the recorded 1 (x)" in result.text
    assert result.file == "verification_other_machine.md"


def test_bytes_are_not_compared_if_several_machines_trained_a_model(tmp_path: Path) -> None:
    before, again = (checkout(tmp_path / name, {"a": "1", "b": "1, 2"}) for name in ("x", "y"))
    result = verify(before, again)
    assert "Machine fingerprint 1, 2 (x) differs from the recorded 1, 2 (x)" in result.text
    assert result.file == "verification_other_machine.md"


def test_models_without_provenance_come_from_an_unknown_machine(
    recorded: Path, tmp_path: Path
) -> None:
    again = checkout(tmp_path / "again", {"a": "1", "b": "1"})
    for root in (recorded, again):
        (root / provenance.FOLDER / "train@b.json").unlink()
    result = verify(recorded, again)
    assert result.agreed
    assert result.file == "verification_other_machine.md"
    assert "differs from the recorded 1, unknown (unknown, x)" in result.text


def test_a_changed_lock_is_different_on_the_same_machine(recorded: Path, tmp_path: Path) -> None:
    again = checkout(tmp_path / "again", {"a": "1", "b": "1"})
    (again / "dvc.lock").write_text((again / "dvc.lock").read_text() + "# more\n")
    result = verify(recorded, again)
    assert not result.agreed
    assert "| dvc.lock | different |" in result.text


@slow
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("reports/evaluate/metrics.json", None),
        ("reports/preprocess/summary.json", "{}"),
        ("reports/evaluate/metrics.json", '{"mlp-original": {}}'),
    ],
)
def test_a_commit_without_a_result_is_refused_before_the_run(
    own: "Checkout", name: str, content: str | None
) -> None:
    require_results(own.root)
    (own.root / name).unlink()
    if content is not None:
        (own.root / name).write_text(content)
    with pytest.raises(UserError) as error:
        require_results(own.root)
    message = str(error.value)
    assert re.match(r"results of the last commit are incomplete \(.*\): run `make repro`", message)
    assert str(own.root) not in message
