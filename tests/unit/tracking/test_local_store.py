import contextlib
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from sidebyside.core.errors import UserError
from sidebyside.tracking import local_store, ui
from sidebyside.tracking.logged_models import Images
from sidebyside.tracking.runs import open_run
from sidebyside.tracking.store import open_store
from tests.support.stores import REGISTERED, SEARCH, TRAINING, client_of, runs_of
from tests.support.tracking_process import start

# Creation.


@pytest.mark.slow
def test_processes_that_start_at_once_create_one_store(tmp_path: Path) -> None:
    script = """
        with open_run(root, TRAINING, "run", sys.argv[2]) as run:
            run.log_text("a.txt", "a")
    """
    processes = [start(script, tmp_path, f"k{i}") for i in range(2)]
    assert [process.communicate() for process in processes] == [("", "")] * 2  # no output
    assert sorted(found.data.tags["key"] for found in runs_of(tmp_path)) == ["k0", "k1"]
    expected = [f"{tmp_path}/mlruns/0", f"{tmp_path}/mlruns/{TRAINING.name}"]
    assert sorted(locations(tmp_path)["experiments"]) == expected


@pytest.mark.parametrize("link", [False, True], ids=["file", "link that leads nowhere"])
def test_what_takes_the_place_of_mlruns_is_moved_away_by_the_advice(
    root: Path,
    link: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    artifacts = root / "mlruns"
    shutil.rmtree(artifacts)
    artifacts.symlink_to("missing") if link else artifacts.touch()
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_text("a.txt", "a")
    move = f"mv '{artifacts}' '{artifacts}.old'"
    reason = f"{artifacts} is not a folder: run `{move} && make backfill`"
    warning, lost = capsys.readouterr().err.splitlines()
    assert warning == f"warning: MLflow at {root}/mlflow.db fails ({reason}): continuing without it"
    assert lost.startswith("not logged to MLflow: run: 1 text")
    for command in (lambda: open_store(root).require(lambda: None), lambda: ui.prepare(root)):
        with pytest.raises(UserError) as caught:
            command()
        assert str(caught.value) == reason
    subprocess.run(["sh", "-c", move], check=True)
    with open_run(root, TRAINING, "run", "k") as run:
        run.log_text("a.txt", "a")
    assert len(runs_of(root)) == 1
    assert capsys.readouterr().err == f"MLflow at {root}/mlflow.db responds again\n"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_store_is_created_after_a_kill_during_its_creation(tmp_path: Path) -> None:
    script = """
        with open_run(root, TRAINING, "run", "k"):
            pass
    """
    process = start(script, tmp_path)
    while not (tmp_path / "mlruns/.new.db").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (tmp_path / "mlflow.db").exists()
    assert start(script, tmp_path).communicate() == ("", "")
    assert len(runs_of(tmp_path)) == 1


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_the_journals_of_a_deleted_database_do_not_damage_the_next_one(
    tmp_path: Path, mode: str
) -> None:
    def create(uri: str) -> None:
        database = Path(uri.removeprefix("sqlite:///"))
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("CREATE TABLE numbers (a)")
            connection.executemany("INSERT INTO numbers VALUES (?)", [(i,) for i in range(5000)])

    (tmp_path / "mlruns").mkdir()
    file = tmp_path / "mlflow.db"
    local_store.create(tmp_path, create)
    expected = file.read_bytes()
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for setting in (f"journal_mode={mode}", "cache_size=1", "synchronous=OFF"):
            connection.execute(f"PRAGMA {setting}")
        for statement in ("UPDATE numbers SET a = 7", "BEGIN", "UPDATE numbers SET a = 8"):
            connection.execute(statement)
        if mode == "wal":
            connection.execute("COMMIT")
        journals = {one: one.read_bytes() for one in tmp_path.glob("mlflow.db-*")}
    assert journals
    for journal, content in journals.items():  # as a kill at this moment leaves them
        journal.write_bytes(content)
    file.unlink()
    local_store.create(tmp_path, create)
    with contextlib.closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT sum(a) FROM numbers").fetchone() == (5000 * 4999 / 2,)
    assert file.read_bytes() == expected


# Locations.


def locations(root: Path) -> dict[str, set[str]]:
    """Return table → locations in it."""
    with contextlib.closing(sqlite3.connect(root / "mlflow.db")) as database:
        return {
            table: {
                row[0]
                for row in database.execute(f"SELECT {column} FROM {table}")  # noqa: S608
            }
            for table, column in local_store.LOCATIONS
        }


def make_relative(root: Path) -> None:
    """Write the locations as this project did before it wrote absolute ones."""
    with contextlib.closing(sqlite3.connect(root / "mlflow.db")) as database, database:
        for table, column in local_store.LOCATIONS:
            database.execute(
                f"UPDATE {table} SET {column} = substr({column}, ?)",  # noqa: S608
                (len(f"{root}/") + 1,),
            )


@pytest.fixture
def project(with_model: Path, tmp_path: Path) -> Path:
    """A copy of the store with a model, opened once in its folder."""
    root = Path(shutil.copytree(with_model, tmp_path / "a project é #1"))
    open_store(root).require(lambda: None)
    return root


@pytest.mark.slow
def test_the_champion_loads_from_another_working_directory(
    project: Path, model: Any, pixels: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    monkeypatch.chdir(notebooks)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project / 'mlflow.db'}")
    loaded = mlflow.pyfunc.load_model(f"models:/{REGISTERED['mlp']}@champion")
    expected = model.predict(pixels, batch_size=32, verbose=0)
    assert (loaded.predict(pixels) == expected).all()
    assert not list(notebooks.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["moved", "copied", "relative"])
def test_locations_follow_the_project(project: Path, tmp_path: Path, how: str) -> None:
    if how == "relative":
        make_relative(project)
        assert f"mlruns/{TRAINING.name}" in locations(project)["experiments"]
    target = tmp_path / "target"
    if how == "copied":
        shutil.copytree(project, target)
    else:
        project.rename(target)
    with open_run(target, TRAINING, "run", "k2") as run:  # opened by an ordinary stage
        run.log_text("a.txt", "a")
    for found in locations(target).values():
        assert found
        assert all(Path(location).is_relative_to(target / "mlruns") for location in found)
    client = client_of(target)
    version = client.get_model_version_by_alias(REGISTERED["mlp"], "champion")
    logged = client.get_logged_model(str(version.source).removeprefix("models:/"))
    assert (Path(logged.artifact_location) / "MLmodel").is_file()
    (new,) = [one for one in runs_of(target) if one.info.run_id == run.run_id]
    assert (Path(new.info.artifact_uri) / "a.txt").is_file()
    if how == "copied":  # the original does not change
        assert all(
            Path(location).is_relative_to(project / "mlruns")
            for found in locations(project).values()
            for location in found
        )
    assert not local_store.relocate(target)


def test_an_experiment_created_in_another_folder_keeps_its_location(
    root: Path, tmp_path: Path
) -> None:
    store = open_store(root)
    store.require(lambda: None)
    notebooks = tmp_path / "notebooks/mlruns/7"
    notebooks.mkdir(parents=True)
    store.client.create_experiment("notes", artifact_location=str(notebooks))
    store.client.create_experiment("bucket", artifact_location="s3://bucket/mlruns/8")
    assert not local_store.relocate(root)
    assert {str(notebooks), "s3://bucket/mlruns/8"} <= locations(root)["experiments"]


def test_similar_names_of_experiments_are_not_confused(root: Path, tmp_path: Path) -> None:
    target = root.rename(tmp_path / "a project b")
    assert local_store.relocate(target)
    names = {Path(location).name for location in locations(target)["experiments"]}
    assert names == {"0", TRAINING.name, SEARCH.name}


def test_a_project_without_a_store_gets_none(tmp_path: Path) -> None:
    assert not local_store.relocate(tmp_path)
    assert not list(tmp_path.iterdir())
