import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sidebyside.config.result_files import HISTORY_COLUMNS
from sidebyside.tracking.runs import open_run
from tests.support.stores import TRAINING, points_of, runs_of


def test_parameters_metrics_artifacts_and_data_are_logged(root: Path) -> None:
    with open_run(
        root, TRAINING, "mlp-original-1", "k", tags={"model": "mlp"}, description="*Why*"
    ) as run:
        run.log_parameters({"hidden_units": [8, 4], "dropout": 0.5})
        run.log_metrics({"loss": 1.5, "val_accuracy": 0.5}, step=0)
        run.log_metrics({"test_accuracy": 0.75})
        run.log_figure("curves", b"\x89PNG")
        run.log_text("summary/layers.txt", "Dense\n")
        run.log_dataset("train", "ab" * 32, "training", {"images": 48000})
    (found,) = runs_of(root)
    assert found.info.run_name == "mlp-original-1"
    assert found.info.status == "FINISHED"
    assert found.data.params == {"hidden_units": "[8, 4]", "dropout": "0.5"}
    assert found.data.metrics == {"loss": 1.5, "val_accuracy": 0.5, "test_accuracy": 0.75}
    assert found.data.tags["key"] == "k"
    assert found.data.tags["model"] == "mlp"
    assert found.data.tags["mlflow.note.content"] == "*Why*. Its commit is unknown."
    (dataset,) = found.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("train", "ab" * 8)
    assert {tag.key: tag.value for tag in dataset.tags} == {"mlflow.data.context": "training"}
    artifacts = Path(found.info.artifact_uri)
    assert artifacts.is_relative_to(root / "mlruns" / TRAINING.name)
    assert (artifacts / "curves.png").read_bytes() == b"\x89PNG"
    assert (artifacts / "summary/layers.txt").read_text() == "Dense\n"


def test_tags_are_replaced_in_one_call_if_they_have_changed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    calls: list[list[str]] = []
    original = mlflow.MlflowClient.log_batch

    def recorded(self: Any, run_id: str, tags: Sequence[Any] = (), **others: Any) -> Any:
        calls.append([tag.key for tag in tags])
        return original(self, run_id, tags=tags, **others)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", recorded)
    tags = {"machine.fingerprint": "a", "machine.python": "3"}
    with open_run(root, TRAINING, "run", "k", tags=tags) as run:
        run.log_tags(tags)
        run.log_tags({**tags, "machine.fingerprint": "a, b"})
    (found,) = runs_of(root)
    assert found.data.tags["machine.fingerprint"] == "a, b"
    assert calls == [["machine.fingerprint"]]


def test_a_history_is_logged_in_one_call(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    batches: list[int] = []
    original = mlflow.MlflowClient.log_batch

    def counted(self: Any, run_id: str, metrics: Sequence[Any] = (), **others: Any) -> Any:
        batches.append(len(metrics))
        return original(self, run_id, metrics, **others)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", counted)
    history = [{"epoch": epoch, **dict.fromkeys(HISTORY_COLUMNS[1:], 0.5)} for epoch in (1, 2)]
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_epochs(history)
    assert batches == [2 * (len(HISTORY_COLUMNS) - 1)]
    assert points_of(root, run.run_id, "val_loss") == [(1, 0.5), (2, 0.5)]


def test_values_have_six_digits_and_a_second_call_adds_nothing(root: Path) -> None:
    for _ in range(2):
        with open_run(root, TRAINING, "run", "k") as run:
            run.log_parameters({"learning_rate": 1 / 3000, "units": 1234567})
            run.log_metrics({"val_accuracy": 2 / 3, "images": 1234567}, step=1)
            run.log_metrics({"best": 1 / 3})
    (found,) = runs_of(root)
    assert found.data.params == {"learning_rate": "0.000333333", "units": "1234567"}
    assert found.data.metrics == {"val_accuracy": 0.666667, "images": 1234567, "best": 0.333333}


def test_final_scores_belong_to_the_last_epoch(root: Path) -> None:
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_metrics({"before": 0.5})
        run.log_metrics({"loss": 1.5}, step=3)
        run.log_metrics({"after": 0.5})
    assert points_of(root, run.run_id, "before") == [(0, 0.5)]
    assert points_of(root, run.run_id, "after") == [(3, 0.5)]


def test_a_table_is_listed_as_a_table_and_not_repeated_by_a_resumed_run(root: Path) -> None:
    for _ in range(2):
        with contextlib.suppress(ZeroDivisionError), open_run(root, TRAINING, "run", "k") as run:
            run.log_table("confusion", ["actual", "Bag"], [["Bag", 7]])
            raise ZeroDivisionError
    (found,) = runs_of(root)
    content = json.loads((Path(found.info.artifact_uri) / "tables/confusion.json").read_text())
    assert content == {"columns": ["actual", "Bag"], "data": [["Bag", 7]]}
    listed = json.loads(found.data.tags["mlflow.loggedArtifacts"])
    assert listed == [{"path": "tables/confusion.json", "type": "table"}]


def test_long_values_are_cut_and_many_values_are_split_to_mlflow_limits(root: Path) -> None:
    with open_run(root, TRAINING, "run", "k", description="d" * 9000) as run:
        run.log_parameters({"long": "x" * 7000, **{f"p{i}": i for i in range(250)}})
        run.log_metrics({f"m{i}": i for i in range(1500)}, step=0)
    (found,) = runs_of(root)
    assert len(found.data.params) == 251
    assert found.data.params["long"] == "x" * 5999 + "…"
    assert len(found.data.metrics) == 1500
    assert len(found.data.tags["mlflow.note.content"]) == 8000


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [("loss?", 1.0, 'Invalid value "loss?"'), ("loss", "low", "ValueError: could not convert")],
)
def test_a_mistake_in_logging_is_reported_and_stops_nothing(
    root: Path, name: str, value: Any, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_metrics({name: value})
        run.log_metrics({"accuracy": 0.5})
    assert f"fails ({reason}" in capsys.readouterr().err
    (found,) = runs_of(root)
    assert found.data.metrics == {"accuracy": 0.5}
    assert "logged" not in found.data.tags
