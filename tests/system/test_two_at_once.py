"""Several processes at once: in one folder, in two clones, on SQLite, PostgreSQL and a server."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient

from tests.support.pictures import write_photos
from tests.support.pipeline import stages_run
from tests.support.ports import free_port
from tests.support.servers import postgresql, serving
from tests.support.stores import TRAINING, content, own_store
from tests.support.tracking_process import start
from tests.system.test_own_pictures import DATASET as PHOTOS

if TYPE_CHECKING:
    from tests.support.checkout import Checkout

pytestmark = pytest.mark.timeout(1800)

CLONES, EPOCHS = 4, 30
BUSY = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}  # a busy machine takes longer than the default
LOG = """
    with open_run(root, TRAINING, "other", "k") as run:
        run.log_parameters({"a": 1})
        run.log_dataset("val", "ab" * 32, "validation", {"images": 12000})
        for epoch in range(1, int(sys.argv[2]) + 1):
            run.log_metrics({"loss": 1 / epoch}, step=epoch)
            time.sleep(0.05)
        run.log_text("a.txt", "a")
"""
REGISTER = """
    from sidebyside.tracking.registry import register
    from sidebyside.tracking.store import open_store
    from tests.support.stores import DIGESTS
    store, score = open_store(root), float(sys.argv[2])
    def register_one():
        name = f"other-{score}"
        run = store.client.create_run(store.experiment(TRAINING), run_name=name).info
        model = store.client.create_logged_model(run.experiment_id, source_run_id=run.run_id)
        register(store.client, "champions", model.model_id, run.run_id, score, DIGESTS, "")
    store.require(register_one)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server on PostgreSQL."""
    folder = tmp_path_factory.mktemp("artifacts")
    with postgresql() as database, serving(database, folder, free_port()) as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql", "server"])
def address(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The address of a store without tables, or of a server."""
    if request.param == "server":
        yield request.getfixturevalue("server")
    elif request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'shared.db'}"
    else:
        with postgresql() as database:
            yield database


def in_clones(folder: Path, script: str, address: str, arguments: list[str]) -> None:
    """Run a script in several clones at once; none of them may print anything."""
    processes = []
    for number, argument in enumerate(arguments):
        clone = folder / f"clone {number}"
        clone.mkdir()
        environment = {"MLFLOW_TRACKING_URI": address, **BUSY}
        processes.append(start(script, clone, argument, environment=environment))
    assert [process.communicate() for process in processes] == [("", "")] * len(processes)
    assert {process.returncode for process in processes} == {0}


def test_clones_that_log_the_same_work_at_once_leave_one_run(address: str, tmp_path: Path) -> None:
    in_clones(tmp_path, LOG, address, [str(EPOCHS)] * CLONES)
    client = MlflowClient(address)
    (experiment,) = (one for one in client.search_experiments() if one.name == TRAINING.name)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["logged"] == "k"
    curve = client.get_metric_history(run.info.run_id, "loss")
    assert [point.step for point in curve] == list(range(1, EPOCHS + 1))


def test_the_best_of_models_registered_at_once_is_the_champion(
    address: str, tmp_path: Path
) -> None:
    scores = ["0.91", "0.94", "0.92", "0.93"]
    in_clones(tmp_path, REGISTER, address, scores)
    client = MlflowClient(address)
    assert client.get_model_version_by_alias("champions", "champion").tags["val_accuracy"] == "0.94"
    versions = client.search_model_versions("name = 'champions'")
    assert sorted(version.tags["val_accuracy"] for version in versions) == sorted(scores)


def test_two_clones_that_train_and_evaluate_at_once_log_each_run_once(
    server: str, reproduced: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    clones = [checkout_from(reproduced) for _ in range(2)]
    command = ("dvc", "repro", "--force", "--single-item", "tune", "train", "evaluate")
    running = []
    for clone in clones:
        clone.forget_runs()
        environment = {"MLFLOW_TRACKING_URI": server, **BUSY}
        running.append(clone.start(*command, environment=environment))
    for clone, process in zip(clones, running, strict=True):
        assert "MLflow" not in clone.finish(process).stderr
        assert clone.results() == reproduced.results()
    expected, client = own_store(reproduced), MlflowClient(server)
    found = content(client)  # fails if two runs have the same name
    found["runs"] = {  # without those of the other tests
        path: run for path, run in found["runs"].items() if not str(path[2]).startswith("other")
    }
    assert found["runs"].keys() == expected["runs"].keys()
    for path, run in expected["runs"].items():
        assert found["runs"][path]["status"] == "FINISHED"
        assert found["runs"][path]["metrics"] == run["metrics"], path
        assert found["runs"][path]["models"] == run["models"], path
    for name, champion in expected["champions"].items():
        assert found["champions"][name] == champion
        assert len(client.search_model_versions(f"name = '{name}'")) == 1


@pytest.fixture(scope="module")
def projects(checkout_from: "Callable[..., Checkout]") -> "list[Checkout]":
    """Projects with other data: one with scanned digits, one with photographs."""
    made = [checkout_from() for _ in range(2)]
    write_photos(made[1].root / "data/local/photos")
    for project, dataset in zip(made, ("digits", PHOTOS), strict=True):
        project.edit({"dataset": dataset, "train.data": ["original"]})
        project.commit()
    return made


@pytest.mark.parametrize("address", ["sqlite", "postgresql"], indirect=True)
def test_projects_with_other_data_share_a_store_without_mixing_runs(
    address: str, projects: "list[Checkout]", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = [checkout_from(project) for project in projects]
    environment = {"MLFLOW_TRACKING_URI": address, **BUSY}
    running = [project.start("dvc", "repro", environment=environment) for project in own]
    for project, process in zip(own, running, strict=True):
        assert "MLflow" not in project.finish(process).stderr
        assert not (project.root / "mlflow.db").exists()
    found = content(MlflowClient(address))
    for project, name in zip(own, ("digits", "photos"), strict=True):
        backfill = ("python", "-m", "sidebyside.tracking.backfill")
        project.run(*backfill, environment={"PYTHONPATH": "src"})  # to its own store
        expected = own_store(project)
        runs = {path: run for path, run in found["runs"].items() if str(path[0]).startswith(name)}
        assert runs == expected["runs"]
        for model, champion in expected["champions"].items():
            assert found["champions"][model] == champion


def test_two_experiments_at_once_share_the_run_of_a_training(committed: "Checkout") -> None:
    changes = ("-S", "train.budget.mlp.epochs=4", "-S", "train.budget.mlp.patience=4")
    command = ("dvc", "exp", "run", "--temp", *changes)
    before = own_store(committed)["runs"]
    running = [
        committed.start(*command, "--name", "first"),
        committed.start(*command, "--name", "second", "-S", "evaluate.bootstrap_samples=300"),
    ]
    for process in running:
        committed.finish(process)
    client = MlflowClient(f"sqlite:///{committed.root / 'mlflow.db'}")
    (experiment,) = (one for one in client.search_experiments() if one.name == TRAINING.name)
    trained = [
        run
        for run in client.search_runs([experiment.experiment_id])
        if run.data.params.get("epochs") == "4"
    ]
    names = sorted(str(run.info.run_name) for run in trained)
    assert names == ["mlp-augmented-1", "mlp-original-1"], before.keys()
    for run in trained:
        assert run.info.status == "FINISHED"
        assert "logged" in run.data.tags
        curve = client.get_metric_history(run.info.run_id, "val_accuracy")
        assert [point.step for point in curve] == [1, 2, 3, 4]


def test_a_second_reproduction_waits_for_the_first(own: "Checkout") -> None:
    own.edit({"train.budget.mlp": {"epochs": 3, "patience": 3}})
    command = ("python", "-m", "sidebyside.workflow.in_turn", "repro", "dvc", "repro")
    running = [own.start(*command, environment={"PYTHONPATH": "src"}) for _ in range(2)]
    done = [own.finish(process) for process in running]
    waited = [one for one in done if "is at work in this folder: waiting" in one.stderr]
    assert len(waited) == 1
    ran = [stages_run(one.stdout) for one in done]
    assert sorted(map(len, ran))[0] == 0
    assert "train@mlp-original-1" in ran[0] + ran[1]


def test_a_backfill_beside_a_training_logs_each_run_once(
    own: "Checkout", reproduced: "Checkout"
) -> None:
    own.forget_runs()
    backfill = ("python", "-m", "sidebyside.tracking.backfill")
    training = own.start("dvc", "repro", "--force", "--single-item", "train")
    beside = own.start(*backfill, environment={"PYTHONPATH": "src"})
    out, error = beside.communicate()
    own.finish(training)
    if beside.returncode:  # it has said which process is at work
        assert "is logging a run: wait for it to end" in error, out
    own.run(*backfill, environment={"PYTHONPATH": "src"})
    found, expected = own_store(own), own_store(reproduced)
    assert found["runs"].keys() == expected["runs"].keys()
    for path, run in expected["runs"].items():
        assert found["runs"][path]["metrics"] == run["metrics"], path
    assert found["champions"] == expected["champions"]
