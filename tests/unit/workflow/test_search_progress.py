from pathlib import Path

import pytest

from sidebyside.config.parameters import Search
from sidebyside.core.files import write_json
from sidebyside.execution import choice
from sidebyside.training.search import SearchTask
from sidebyside.training.trial import Trial
from sidebyside.workflow.progress import STEP
from sidebyside.workflow.search_progress import trial_lines, trials_at_once
from tests.support.datasets import dataset
from tests.support.images import noisy_split
from tests.support.training import MLP

SETTINGS = Search(
    strategy="random",
    trials=4,
    executions_per_trial=2,
    epochs=1,
    patience=1,
    images=0,
    objective="val_loss",
    parallel=3,
)
SPACE = {**MLP, "learning_rate": {"float": {"min": 0.001, "max": 0.01}}}
TASK = SearchTask("mlp", SPACE, SETTINGS, 1, dataset(), noisy_split(20), noisy_split(10), 2)


def trial(number: int, loss: float | None, failure: str = "") -> Trial:
    scores = None if loss is None else {"val_accuracy": 0.5, "val_loss": loss, "epochs": 1.0}
    return Trial(number, {"learning_rate": 0.002}, 1, scores, failure)


def test_a_line_has_the_best_score_and_the_time_left_whatever_trial_ends_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show = trial_lines(TASK, "mlp", 2)
    show(trial(3, 0.5), [60.0])
    show(trial(1, None, "diverged"), [60.0])
    show(trial(2, 0.25), [60.0, 40.0])
    show(trial(4, 0.75), [60.0, 40.0, 50.0])
    lines = capsys.readouterr().out.splitlines()
    assert [bool(STEP.search(line)) for line in lines] == [True, False, True, True]
    assert lines == [
        "mlp trial 3/4: val_loss 0.5000, best so far 0.5000, about 1 min 30 s left;"
        ' {"learning_rate": 0.002}',
        "mlp trial 1/4: failed: diverged",
        "mlp trial 2/4: val_loss 0.2500, best so far 0.2500, about 25 s left;"
        ' {"learning_rate": 0.002}',
        'mlp trial 4/4: val_loss 0.7500, best so far 0.2500; {"learning_rate": 0.002}',
    ]


@pytest.mark.parametrize(
    ("cores", "mebibytes", "number"), [(2, 5000, 1), (8, 5000, 4), (32, 99999, 6), (8, 1500, 1)]
)
def test_as_many_trainings_run_at_once_as_a_wave_has_and_cores_and_memory_allow(
    cores: int,
    mebibytes: int,
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_json(tmp_path / "reports/run.json", {"runs": {"repro": {"peak_memory_mib": 1000}}})
    monkeypatch.setenv("CORES", str(cores))
    monkeypatch.setattr(choice, "available_memory", lambda: mebibytes << 20)
    assert trials_at_once(tmp_path, TASK) == number
    assert ("1 at once instead of 4" in capsys.readouterr().out) == (mebibytes == 1500)
