from pathlib import Path

import pytest

from sidebyside.tracking.origin import Origin, find_origin, log_inputs, origin_tags
from sidebyside.tracking.runs import open_run
from sidebyside.workflow import provenance
from sidebyside.workflow.provenance import Source
from tests.support.stores import TRAINING, runs_of

STAGE = "train@mlp-original-1"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    file = tmp_path / "model.keras"
    file.write_text("weights")
    return file


def test_the_origin_of_outputs_is_their_provenance(tmp_path: Path, output: Path) -> None:
    provenance.write(tmp_path, STAGE, "k", {"fingerprint": "f"}, [output])
    found = find_origin(tmp_path, STAGE, [output])
    assert found == Origin(STAGE, "k", {"fingerprint": "f"}, Source("unknown", dirty=False))
    assert found.item == "mlp-original-1"


def test_outputs_without_provenance_are_identified_by_their_digests(
    tmp_path: Path, output: Path
) -> None:
    first = find_origin(tmp_path, STAGE, [output])
    assert first.machine == {"fingerprint": "unknown"}
    assert find_origin(tmp_path, STAGE, [output]) == first
    output.write_text("other weights")
    assert find_origin(tmp_path, STAGE, [output]).key != first.key


def test_tags_have_the_commit_of_the_provenance() -> None:
    commit = "ab" * 20
    origin = Origin(STAGE, "k", {"threads": "2"}, Source(commit, dirty=True, experiment="probe"))
    assert origin_tags(origin, "digits", {"val": "d"}) == {
        "stage": STAGE,
        "dataset": "digits",
        "mlflow.source.name": "train.py",
        "data.val": "d",
        "machine.threads": "2",
        "git.commit": commit,
        "git.dirty": "true",
        "mlflow.source.git.commit": commit,
        "dvc.experiment": "probe",
    }


def test_tags_of_a_run_in_progress_leave_the_commit_to_the_run() -> None:
    assert "git.commit" not in origin_tags(Origin(STAGE, "k", {}), "digits", {})


def test_parameters_and_data_sets_are_logged(root: Path) -> None:
    counts = {"augmented": {"Bag": 2}, "val": {"Bag": 1}}
    with open_run(root, TRAINING, "run", "k") as run:
        log_inputs(run, {"dropout": 0.5}, {"train": "ab" * 32, "val": "cd" * 32}, counts)
    (found,) = runs_of(root)
    assert found.data.params == {"dropout": "0.5"}
    inputs = {
        entry.dataset.name: (entry.dataset.digest, entry.tags[0].value)
        for entry in found.inputs.dataset_inputs
    }
    assert inputs == {"augmented": ("ab" * 8, "training"), "val": ("cd" * 8, "validation")}
