"""A small search that really trains: three trials of two executions."""

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from sidebyside.config.hyperparameters import MlpHyperparameters
from sidebyside.config.parameters import Search
from sidebyside.core.files import read_json, write_json
from sidebyside.core.jobs import inline
from sidebyside.core.seeding import derive_seed
from sidebyside.models import architectures
from sidebyside.models.saving import weights_digest
from sidebyside.training import loop
from sidebyside.training.history import Epoch, Progress, Training
from sidebyside.training.jobs import training_arrays
from sidebyside.training.search import (
    Follower,
    SearchResult,
    SearchTask,
    run_search,
    trial_checkpoint,
)
from sidebyside.training.trial import Trial
from tests.support.datasets import dataset
from tests.support.images import noisy_split

PROJECT = Path(__file__).resolve().parents[3]
SPACE: dict[str, Any] = {
    **{
        name: value
        for name, value in yaml.safe_load((PROJECT / "params.yaml").read_text())["tune"]["models"][
            "mlp"
        ].items()
        if name in MlpHyperparameters.model_fields
    },
    "hidden_units": [16],
    "dropout": 0.0,
    "batch_norm": False,
    "label_smoothing": 0.0,
    "weight_decay": 0.0,
    "warmup_epochs": 0,
    "schedule": "constant",
    "batch_size": 32,
    "flip": False,
    "l2": 0.1,
    "optimizer": "nesterov",
    "learning_rate": {"choice": [0.001, 0.1, 10.0]},  # with this l2 the last diverges
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


@dataclass
class Followed:
    """What the callbacks of a search received."""

    epochs: dict[int, list[Epoch]] = field(default_factory=dict)  # trial → rows
    ended: dict[int, tuple[Sequence[Epoch], Mapping[str, float]]] = field(default_factory=dict)
    reported: list[tuple[Trial, list[float]]] = field(default_factory=list)

    @contextlib.contextmanager
    def follow(self, number: int, values: Mapping[str, Any], epochs: int) -> Iterator[Follower]:
        rows: list[Epoch] = self.epochs.setdefault(number, [])

        def on_end(history: Sequence[Epoch], scores: Mapping[str, float]) -> None:
            self.ended[number] = (history, scores)

        yield Follower(lambda done, total: None, rows.append, on_end)

    def report(self, trial: Trial, seconds: Sequence[float]) -> None:
        self.reported.append((trial, list(seconds)))


def run(task: SearchTask, folder: Path, followed: Followed) -> SearchResult:
    execute = inline(training_arrays(task.train, task.val))
    return run_search(task, folder, followed.follow, followed.report, execute)


class Searched(NamedTuple):
    """A search that has ended, and the trainings it asked for, in their order."""

    task: SearchTask
    folder: Path
    result: SearchResult
    followed: Followed
    trainings: list[tuple[dict[str, Any], Progress | None]]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("search")
    settings = Search.model_validate(SETTINGS)
    data = (dataset(), noisy_split(200), noisy_split(90))
    task = SearchTask("mlp", SPACE, settings, SEED, *data, threads=2)
    train, followed = loop.train_epochs, Followed()
    trainings: list[tuple[dict[str, Any], Progress | None]] = []

    def watched(*arguments: Any, **options: Any) -> Training:
        trainings.append((options, None))
        progress = yield from train(*arguments, **options)
        trainings[-1] = (options, progress)
        return progress

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_epochs", watched)
        result = run(task, folder, followed)
    return Searched(task, folder, result, followed, trainings)


def test_a_trial_is_trained_as_often_and_as_long_as_asked(searched: Searched) -> None:
    of_trial = [options for options, _ in searched.trainings]
    assert len(of_trial) == 2 + 2 + 1  # the last failed at once
    for options in of_trial:
        assert (options["epochs"], options["patience"]) == (6, 2)
        assert options["monitor"] == "val_loss"


def test_executions_have_their_own_seeds_which_all_trials_share(searched: Searched) -> None:
    first, second = (derive_seed(SEED, "trial", execution) for execution in (0, 1))
    seeds = [options["seed"] for options, _ in searched.trainings]
    assert seeds == [first, second, first, second, first]
    assert first != second


def test_the_score_of_a_trial_is_the_mean_over_its_executions(searched: Searched) -> None:
    for number, trial in enumerate(searched.result.trials[:2]):
        executions = [one for _, one in searched.trainings[2 * number : 2 * number + 2] if one]
        assert trial.scores is not None
        for metric in ("val_accuracy", "val_loss"):
            values = [one.best[metric] for one in executions]
            assert trial.scores[metric] == pytest.approx(sum(values) / 2)
        assert executions[0].best["val_loss"] != executions[1].best["val_loss"]
        assert trial.scores["epochs"] == sum(one.epochs for one in executions) / 2


def test_the_best_trial_has_the_lowest_loss(searched: Searched) -> None:
    scored = [trial for trial in searched.result.trials if trial.scores]
    losses = [trial.scores["val_loss"] for trial in scored if trial.scores]
    assert searched.result.record(searched.task)["best"]["val_loss"] == min(losses)
    values = [trial.searched["learning_rate"] for trial in scored]
    assert searched.result.chosen.learning_rate == values[losses.index(min(losses))]


def test_the_table_has_every_epoch_of_every_execution(searched: Searched) -> None:
    header, rows = searched.result.epochs_table()
    assert header[:2] == ["trial", "execution"]
    executions = [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert {(row[0], row[1]) for row in rows} == set(executions)
    for (_, progress), execution in zip(searched.trainings, executions, strict=False):
        assert progress is not None
        found = [row[2:] for row in rows if (row[0], row[1]) == execution]
        assert found == [list(epoch.values()) for epoch in progress.history]


def test_a_follower_gets_the_first_execution_and_the_mean_scores(searched: Searched) -> None:
    first, second = (progress for _, progress in searched.trainings[2:4])
    assert first is not None
    assert second is not None
    assert second.epochs > first.epochs  # or its rows could not be told apart
    assert searched.followed.epochs[2] == first.history
    history, scores = searched.followed.ended[2]
    assert history == first.history
    assert scores == searched.result.trials[1].scores


def test_a_diverging_trial_fails_alone(searched: Searched) -> None:
    failed = searched.result.trials[2]
    assert failed.scores is None
    assert "loss" in failed.failure
    assert failed.searched == {"learning_rate": 10.0}
    assert 3 not in searched.followed.ended
    assert [trial for trial, _ in searched.followed.reported] == list(searched.result.trials)


def test_a_resumed_search_trains_only_the_missing_trial_and_counts_its_time(
    searched: Searched, tmp_path: Path
) -> None:
    folder = shutil.copytree(searched.folder, tmp_path / "copy")
    winner = searched.result.winner
    identity = trial_checkpoint(searched.task, folder, winner).stem.removesuffix("-0")
    (folder / f"{identity}.json").unlink()
    spent = folder / f"{identity}.seconds"
    assert read_json(spent) > 0
    write_json(spent, 1000.0)
    followed = Followed()
    again = run(searched.task, folder, followed)
    assert again.trials == searched.result.trials
    assert again.histories == searched.result.histories
    assert set(followed.ended) == {winner.number}
    assert [seconds >= 1000 for seconds in again.seconds] == [
        trial == winner for trial in again.trials if trial.scores
    ]


def test_a_training_resumes_from_the_checkpoint_of_the_winner(
    searched: Searched, tmp_path: Path
) -> None:
    task, result = searched.task, searched.result
    checkpoint = tmp_path / "winner.npz"
    shutil.copy(trial_checkpoint(task, searched.folder, result.winner), checkpoint)

    def train(checkpoint: Path) -> tuple[str, Progress, int]:
        computed: list[Epoch] = []
        seed = derive_seed(task.trial_seed(), "weights")
        model = architectures.build("mlp", result.chosen, task.dataset, seed)
        progress = loop.train(
            *(model, result.chosen, task.train, task.val),
            seed=task.trial_seed(),
            epochs=result.winner.epochs,
            patience=task.settings.patience,
            monitor=task.settings.objective,
            on_epoch=lambda row, seconds: computed.append(row),
            checkpoint=checkpoint,
        )
        return weights_digest(model), progress, len(computed)

    weights, progress, computed = train(checkpoint)
    assert computed == 0
    assert progress.history == result.histories[result.winner.number][0]
    again, _, computed = train(tmp_path / "new.npz")
    assert computed == progress.epochs
    assert again == weights
