from pathlib import Path

import pytest

from sidebyside.tracking.origin import Origin, origin_tags
from sidebyside.tracking.run_tags import Tag, note
from sidebyside.tracking.runs import open_run
from sidebyside.workflow.provenance import Source
from tests.support.stores import TRAINING, runs_of

COMMIT = "0123456789abcdef" * 2 + "01234567"
STAGE = "train@mlp-original-1"


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (
            {"git.dirty": "false"},
            "An MLP. Its commit is `0123456789ab`. To make it again:"
            f" `git checkout 0123456789ab && dvc repro {STAGE}`.",
        ),
        (
            {"git.dirty": "true"},
            "An MLP. Its commit is `0123456789ab`, with changes that were not committed. To make it"
            f" again: `git checkout 0123456789ab && dvc repro {STAGE}`.",
        ),
        (
            {"git.dirty": "true", "dvc.experiment": "shorter"},
            "An MLP. It belongs to the DVC experiment `shorter` on commit `0123456789ab`. To make"
            f" it again: `dvc exp apply shorter && dvc repro {STAGE}`.",
        ),
        ({"git.commit": "unknown"}, "An MLP. Its commit is unknown."),
    ],
)
def test_the_note_says_what_the_run_is_its_commit_and_how_to_make_it_again(
    tags: dict[str, Tag | None], expected: str
) -> None:
    everything = {"git.commit": COMMIT, "stage": STAGE, **tags}
    assert note("An MLP", everything, "dvc repro {stage}") == expected


def test_a_run_of_an_experiment_has_its_name_and_a_colour_of_its_own(root: Path) -> None:
    for experiment in (None, "shorter", "wider"):
        source = Source(COMMIT, dirty=experiment is not None, experiment=experiment)
        tags = origin_tags(Origin(STAGE, "k", {}, source), "digits", {})
        colour = {"mlflow.runColor": "#0072b2"}
        with open_run(root, TRAINING, "mlp", f"k-{experiment}", tags={**tags, **colour}):
            pass
    found = {run.info.run_name: run.data.tags.get("mlflow.runColor") for run in runs_of(root)}
    assert found == {"mlp": "#0072b2", "mlp (shorter)": None, "mlp (wider)": None}
