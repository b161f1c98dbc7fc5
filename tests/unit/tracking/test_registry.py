from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from sidebyside.tracking.logged_models import Images
from sidebyside.tracking.registry import CLASSES_TAG, register
from sidebyside.tracking.runs import open_run, reopen_run
from tests.support.datasets import FASHION_MNIST
from tests.support.stores import DIGESTS, REGISTERED, TRAINING, client_of


@pytest.mark.slow
def test_a_champion_is_registered_once_and_replaced_only_by_a_model_as_good(
    with_model: Path, model: Any, pixels: Images
) -> None:
    name = REGISTERED["mlp"]
    client = client_of(with_model)
    (version,) = client.search_model_versions(f"name = '{name}'")
    assert version.description == "0.9 on validation"
    with open_run(with_model, TRAINING, "mlp-original-2", "k2") as run:
        run.log_model(model, FASHION_MNIST, pixels[:1], step=0)
        run.register(name, 0.89, DIGESTS)
        assert client.get_model_version_by_alias(name, "champion").version == version.version
        run.register(name, 0.9, DIGESTS)
    second = client.get_model_version_by_alias(name, "champion")
    assert second.run_id == run.run_id
    # A score that somebody edited in the UI and that is not a number is below every score.
    client.set_model_version_tag(name, second.version, "val_accuracy", "90 %")
    with reopen_run(with_model, TRAINING, "mlp-original-1", "k", evaluated="e") as run:
        assert run.complete
        run.register(name, 0.92, DIGESTS, "again")  # works on a complete run too
    assert client.get_model_version_by_alias(name, "champion").version == version.version
    assert len(client.search_model_versions(f"name = '{name}'")) == 2
    assert second.run_id
    client.delete_run(second.run_id)
    client.delete_model_version(name, second.version)


NAME = "registered at once"


def logged_model(client: MlflowClient, run_id: str) -> str:
    """Create a logged model without files."""
    return str(client.create_logged_model("1", source_run_id=run_id).model_id)


def interrupted(root: Path, method: str, meanwhile: Callable[[], None]) -> MlflowClient:
    """Return a client that another process overtakes before its first call of a method."""
    client = client_of(root)
    call = getattr(client, method)

    def overtaken(*arguments: Any, **options: Any) -> Any:
        setattr(client, method, call)
        meanwhile()
        return call(*arguments, **options)

    setattr(client, method, overtaken)
    return client


@pytest.mark.parametrize("scores", [(0.91, 0.95), (0.95, 0.91)])
def test_a_registration_at_the_same_time_does_not_move_the_champion_back(
    root: Path, monkeypatch: pytest.MonkeyPatch, scores: tuple[float, float]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    other = client_of(root)
    run_id = other.create_run("1").info.run_id
    models = [logged_model(other, run_id) for _ in scores]

    def meanwhile() -> None:
        register(other, NAME, models[1], run_id, scores[1], DIGESTS, "")

    client = interrupted(root, "set_registered_model_alias", meanwhile)
    register(client, NAME, models[0], run_id, scores[0], DIGESTS, "")
    champion = other.get_model_version_by_alias(NAME, "champion")
    assert champion.tags == {"val_accuracy": "0.95", **DIGESTS}
    for model, score in zip(models, scores, strict=True):  # in the next run, in either order
        register(other, NAME, model, run_id, score, DIGESTS, "")
        assert other.get_model_version_by_alias(NAME, "champion").version == champion.version


def test_a_model_that_two_processes_register_at_the_same_time_has_one_version(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    other = client_of(root)
    run_id = other.create_run("1").info.run_id
    model = logged_model(other, run_id)

    def meanwhile() -> None:
        register(other, NAME, model, run_id, 0.9, DIGESTS, "card")

    client = interrupted(root, "create_model_version", meanwhile)
    register(client, NAME, model, run_id, 0.9, DIGESTS, "card")
    (version,) = other.search_model_versions(f"name = '{NAME}'")
    champion = other.get_model_version_by_alias(NAME, "champion")
    assert champion.version == version.version
    assert version.description == "card"


def test_an_older_model_as_good_as_the_champion_does_not_replace_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    client = client_of(root)
    run_id = client.create_run("1").info.run_id
    older, newer = (logged_model(client, run_id) for _ in range(2))
    for model in (older, newer, older):
        register(client, NAME, model, run_id, 0.9, DIGESTS, "")
    champion = client.get_model_version_by_alias(NAME, "champion")
    assert champion.source == f"models:/{newer}"


def test_models_of_other_classes_do_not_compete(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    client = client_of(root)
    run_id = client.create_run("1").info.run_id
    before, after = (logged_model(client, run_id) for _ in range(2))
    more = {**DIGESTS, CLASSES_TAG: "01" * 32}
    for model, score, digests in (
        (before, 0.95, DIGESTS),
        (after, 0.9, more),  # a class was added to the data
        (before, 0.95, DIGESTS),  # and removed again
    ):
        register(client, NAME, model, run_id, score, digests, "")
        champion = client.get_model_version_by_alias(NAME, "champion")
        assert champion.source == f"models:/{model}"


def test_a_worse_model_of_an_experiment_is_not_registered(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    client, other = client_of(root), {**DIGESTS, CLASSES_TAG: "other classes"}
    with open_run(root, TRAINING, "run", "k") as run:
        pass
    assert run.run_id
    for score, digests, only_better, versions in (
        (0.9, DIGESTS, False, 1),
        (0.8, DIGESTS, True, 1),
        (0.9, DIGESTS, True, 2),
        (0.8, DIGESTS, False, 3),
        (0.1, other, True, 4),
    ):
        model = logged_model(client, run.run_id)
        register(client, "models", model, run.run_id, score, digests, "", only_better)
        assert len(client.search_model_versions("name = 'models'")) == versions
