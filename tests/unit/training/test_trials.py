"""A small search that really trains, three trials of two executions, logged to a real store."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from sidebyside.config.parameters import Search
from sidebyside.core.files import read_json, write_json
from sidebyside.core.seeding import derive_seed
from sidebyside.models import architectures
from sidebyside.models.saving import weights_digest
from sidebyside.tracking import stages
from sidebyside.tracking.views import REPLICATIONS
from sidebyside.training import loop
from sidebyside.training.history import Epoch, Progress
from sidebyside.training.trials import SearchWork
from sidebyside.workflow.state import DONE
from tests.unit.study.test_model_runs import PLAN, some

SPACE: dict[str, Any] = {
    **PLAN.mlp,  # what Keras does
    "hidden_units": [16],
    "l2": 0.1,
    "optimizer": "nesterov",
    "learning_rate": {"choice": [0.001, 0.1, 10.0]},  # the last diverges, with this l2
}
SEED = 4  # the second execution of the second trial lasts longer than its first
SETTINGS: dict[str, Any] = {
    "strategy": "grid",
    "trials": 3,
    "executions_per_trial": 2,
    "epochs": 6,
    "patience": 2,
    "images": 0,
    "objective": "val_loss",
}


class Searched(NamedTuple):
    """A search that has ended, and the trainings it asked for, in their order."""

    work: SearchWork
    chosen: Any
    trainings: list[tuple[dict[str, Any], Progress | None]]
    runs: dict[str, Run]  # trials, by their number


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    root = tmp_path_factory.mktemp("search")
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"search": {"cmd": "", "deps": []}}}))
    work = SearchWork(
        model="mlp",
        space=SPACE,
        settings=Search.model_validate(SETTINGS),
        seed=SEED,
        threads=2,
        train=some(200),
        val=some(90),
        place=stages.replication_place("0-tiny"),
        label="0-tiny",
    )
    train = loop.train
    trainings: list[tuple[dict[str, Any], Progress | None]] = []

    def watched(*arguments: Any, **options: Any) -> Progress:
        trainings.append((options, None))
        trainings[-1] = (options, progress := train(*arguments, **options))
        return progress

    with pytest.MonkeyPatch.context() as patch, work.opened(root, root, []):
        patch.setattr(loop, "train", watched)
        chosen = work.do()
        work.log(chosen)
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(REPLICATIONS)
    assert experiment
    found = client.search_runs([experiment.experiment_id], "tags.`trial` != ''")
    return Searched(work, chosen, trainings, {run.data.tags["trial"]: run for run in found})


def test_a_trial_is_trained_as_often_and_as_long_as_asked(searched: Searched) -> None:
    of_trial = [options for options, _ in searched.trainings]
    assert len(of_trial) == 2 + 2 + 1  # the last failed at once
    for options in of_trial:
        assert (options["epochs"], options["patience"]) == (6, 2)
        assert options["monitor"] == "val_loss"


def test_executions_have_seeds_of_their_own_which_all_trials_share(searched: Searched) -> None:
    first, second = (derive_seed(SEED, "trial", execution) for execution in (0, 1))
    seeds = [options["seed"] for options, _ in searched.trainings]
    assert seeds == [first, second, first, second, first]
    assert first != second


def test_a_trials_score_is_the_mean_of_its_executions(searched: Searched) -> None:
    for number, trial in enumerate(searched.work.trials[:2]):
        executions = [one for _, one in searched.trainings[2 * number : 2 * number + 2] if one]
        assert trial.scores is not None
        for metric in ("val_accuracy", "val_loss"):
            values = [one.best[metric] for one in executions]
            assert trial.scores[metric] == pytest.approx(sum(values) / 2)
        assert executions[0].best["val_loss"] != executions[1].best["val_loss"]
        assert trial.scores["epochs"] == sum(one.epochs for one in executions) / 2


def test_the_best_trial_is_that_with_the_least_loss(searched: Searched) -> None:
    losses = [trial.scores["val_loss"] for trial in searched.work.trials if trial.scores]
    assert searched.work.ended()["best"]["val_loss"] == min(losses)
    values = [trial.searched["learning_rate"] for trial in searched.work.trials if trial.scores]
    assert searched.chosen.learning_rate == values[losses.index(min(losses))]


def test_histories_are_those_of_every_execution(searched: Searched) -> None:
    header, rows = searched.work.epochs()
    assert header[:2] == ["trial", "execution"]
    assert {(row[0], row[1]) for row in rows} == {(1, 1), (1, 2), (2, 1), (2, 2)}
    for (_, progress), place in zip(
        searched.trainings, [(1, 1), (1, 2), (2, 1), (2, 2)], strict=False
    ):
        assert progress is not None
        told = [row[2:] for row in rows if (row[0], row[1]) == place]
        assert told == [list(epoch.values()) for epoch in progress.history]


def test_the_curve_of_a_trials_run_is_that_of_its_first_execution(searched: Searched) -> None:
    first, second = (progress for _, progress in searched.trainings[2:4])
    assert first is not None
    assert second is not None
    assert second.epochs > first.epochs  # or nothing of it could be in the curve
    metrics = searched.runs["2"].data.metrics
    assert metrics["val_loss"] == first.history[-1]["val_loss"]


def test_a_trial_that_diverges_failed_and_costs_no_other(searched: Searched) -> None:
    failed = searched.work.trials[2]
    assert failed.scores is None
    assert failed.failure is not None
    assert "loss" in failed.failure
    assert searched.runs["3"].info.status == "FAILED"
    header, rows = searched.work.table()
    told = dict(zip(header, rows[2], strict=True))
    assert told["val_loss"] in ("", None)
    assert json.dumps(failed.searched) == '{"learning_rate": 10.0}'


def test_a_killed_trial_took_the_time_before_the_kill_too(
    searched: Searched, tmp_path: Path
) -> None:
    root = shutil.copytree(searched.work.folder.parents[2], tmp_path / "copy")
    again = replace(searched.work, best={}, histories={}, seconds=[])
    checkpoint = searched.work.checkpoint(searched.work.winner)
    folder = root / checkpoint.parent.relative_to(searched.work.folder.parents[2])
    (folder / DONE).unlink()
    identity = checkpoint.stem.removesuffix("-0")
    (folder / f"{identity}.json").unlink()
    spent = folder / f"{identity}.seconds"
    assert read_json(spent) > 0
    write_json(spent, 1000.0)
    with again.opened(root, root, []):
        again.do()
    assert [seconds > 1000 for seconds in again.seconds] == [
        trial == searched.work.winner for trial in searched.work.trials if trial.scores
    ]


def test_a_training_goes_on_from_the_end_of_the_winner(searched: Searched, tmp_path: Path) -> None:
    work = searched.work
    checkpoint = tmp_path / "winner.npz"
    shutil.copy(work.checkpoint(work.winner), checkpoint)

    def train(checkpoint: Path) -> tuple[str, Progress, int]:
        computed: list[Epoch] = []
        model = architectures.build(
            "mlp", searched.chosen, derive_seed(work.trial_seed(), "weights")
        )
        progress = loop.train(
            *(model, searched.chosen, work.train, work.val),
            seed=work.trial_seed(),
            epochs=work.winner.epochs,
            patience=work.settings.patience,
            monitor=work.settings.objective,
            on_epoch=lambda row, seconds: computed.append(row),
            checkpoint=checkpoint,
        )
        return weights_digest(model), progress, len(computed)

    weights, progress, computed = train(checkpoint)
    assert computed == 0
    assert progress.history == work.histories[work.winner.number][0]
    again, _, computed = train(tmp_path / "new.npz")
    assert computed == progress.epochs
    assert again == weights
