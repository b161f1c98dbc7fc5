"""The replications' pipeline, run by DVC on a few hundred made-up images."""

import contextlib
import hashlib
import re
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_csv, read_json, write_json
from sidebyside.core.seeding import derive_seed
from sidebyside.data.npz import read_split, write_split
from sidebyside.data.splits import Split
from sidebyside.reproducibility.perturb import ENVIRONMENT as PERTURBED
from sidebyside.workflow import command
from sidebyside.workflow.progress import duration
from study.comparison.results import read_runs
from study.tracking import REPLICATIONS
from tests.support import replicating, stores

if TYPE_CHECKING:
    from tests.support.checkout import Checkout

PROJECT = Path(__file__).parents[2]
PYTHON = ("sh", "-c", 'cd replications && exec "$@"', "sh", "python")
ENVIRONMENT = {"PYTHONPATH": "../src", "MPLBACKEND": PERTURBED["MPLBACKEND"]}
REPLICATE = ("python", "-m", "study.run")
MODULE = {"PYTHONPATH": "src"}
# Of every system something, of every kind of stage one; what the claims need of system 3.
FEW = (
    *("1-dropout", "2-cnn-augmented", "3-tyler", "3-jackson", "3-jackson-l2", "3-batch-size"),
    *("4-grid-2-sgd-01-512", "5-baseline"),
)
ONCE = ("2-cnn-augmented", "3-jackson", "3-jackson-l2")  # nothing looks at their second seed
BACKFILL_TWICE = """
from pathlib import Path
from study.backfill import backfill
backfill(Path.cwd())
print("again")
backfill(Path.cwd())
"""
pytestmark = pytest.mark.slow


def dvc(checkout: "Checkout", *arguments: str, **options: Any) -> str:
    line = ("sh", "-c", 'cd replications && exec dvc "$@"', "sh", *arguments)
    return checkout.run(*line, **options).stdout


def make(checkout: "Checkout", **options: Any) -> None:
    """Run `make replications` in the environment of the tests."""
    checkout.run("make", "--assume-old", ".venv/installed", "replications", **options)


def script(checkout: "Checkout", name: str, *arguments: str, **options: Any) -> Any:
    line = (*PYTHON, f"pipeline/{name}.py", *arguments)
    return checkout.run(*line, environment=ENVIRONMENT, **options)


def kill(checkout: "Checkout", name: str, item: str, at: str) -> None:
    """Run a stage's script for an item and kill it when it prints `at`."""
    process = checkout.start(*PYTHON, f"pipeline/{name}.py", item, environment=ENVIRONMENT)
    assert process.stdout
    for line in process.stdout:
        if at in line:
            process.send_signal(signal.SIGKILL)
            break
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def leave(checkout: "Checkout", *names: str) -> Path:
    """Leave nothing but what is named in the plan; return the replications' folder."""
    content = replicating.plan(checkout)
    replicating.keep(content, *names)
    replicating.write(checkout, content)
    return checkout.root / "replications"


def results(checkout: "Checkout") -> dict[str, str]:
    """Return the SHA-256 of every file of the replications' results, by its path."""
    folder = checkout.root / "replications/results"
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


@pytest.fixture(scope="module")
def replicated(checkout_from: "Callable[..., Checkout]") -> "Checkout":
    """A checkout after `make replications` of a part of the plan; for reading only."""
    checkout = checkout_from()
    content = replicating.shrink(checkout)
    replicating.keep(content, *FEW)
    for name in ONCE:
        content["models"][name]["seeds"] = [1]
    told_of = {"first": "3-jackson", "second": "3-tyler", "text": "A claim on two of the few"}
    content["claims"].append({**content["claims"][0], **told_of})
    replicating.write(checkout, content)
    make(checkout)
    return checkout


@pytest.mark.timeout(900)
def test_every_part_is_run_and_told_of_on_the_page(replicated: "Checkout") -> None:
    folder = replicated.root / "replications"
    plan = replicating.plan(replicated)
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    for group in ("searches", "models", "winners"):
        for part in plan[group].values():
            assert part["what"] in markdown or part["what"].startswith("Row of the grid")
    for system in plan["systems"].values():
        assert system["title"] in markdown
        assert all(choice in markdown for choice in system["choices"])
    for claim in plan["claims"]:
        assert claim["text"] in markdown
    assert len(plan["claims"]) == 3
    assert "The grid's losses differ from the published ones by" in markdown
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert html.count("<img") == len(list((folder / "figures").glob("*.png")))
    told = read_json(folder / "summary.json")
    assert [one["models"] for one in told["systems"].values()] == [1, 1, 3, 1, 1]
    assert told["missing"] == []
    assert "Not run yet" not in markdown


def test_results_are_small_tables_with_a_row_per_seed(replicated: "Checkout") -> None:
    folder = replicated.root / "replications/results"
    for name, part in replicating.plan(replicated)["models"].items():
        rows = read_csv(folder / "models" / name / "scores.csv")
        assert [int(row["seed"]) for row in rows] == part["seeds"]
        digests = {row["weights_sha256"] for row in rows}
        assert len(digests) == len(rows)
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    assert max(sizes) < 20_000


def test_a_run_of_everything_is_timed(replicated: "Checkout") -> None:
    folder = replicated.root / "replications"
    took = read_json(folder / "durations/everything.json")["seconds"]
    assert took > 10  # starting Python and TensorFlow once for each of its stages
    assert read_json(folder / "summary.json")["seconds"] == round(took)
    told = f"When everything was last run from nothing, that took {duration(took)}"
    assert told in (folder / "report.md").read_text(encoding="utf-8")


@pytest.mark.timeout(900)
def test_a_run_of_everything_that_was_stopped_took_the_time_before_that_too(
    replicated: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from(replicated)
    folder = leave(own, "3-tyler", "3-jackson", "5-baseline")
    for name in ("results", ".state", "durations"):
        shutil.rmtree(folder / name)
    (folder / "dvc.lock").unlink()
    process = own.start(*REPLICATE, environment=MODULE)
    assert process.stdout
    for line in process.stdout:
        if "done: 1 of 3 stages" in line:
            process.send_signal(signal.SIGTERM)
            break
    assert process.wait() == command.EXIT_TERMINATED
    process.communicate()
    (spent,) = folder.glob(".state/replicate/*/seconds.json")
    assert read_json(spent) > 1
    write_json(spent, 1000.0)  # as if it had been at it for so long
    told = own.run(*REPLICATE, environment=MODULE).stdout
    # DVC may have recorded a stage that the stopped process did not come to count.
    assert re.search(r"done: (\d) of \1 stages, 1[67] min ", told)


@pytest.mark.timeout(900)
def test_a_run_of_a_part_leaves_the_time_of_everything(
    replicated: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from(replicated)
    folder = own.root / "replications"
    before = read_json(folder / "durations/everything.json")
    shutil.rmtree(folder / "results/models/5-baseline")
    told = own.run(*REPLICATE, environment=MODULE).stdout
    assert "train@5-baseline done: 1 of 1 stages" in told
    assert read_json(folder / "durations/everything.json") == before


@pytest.mark.timeout(900)
def test_what_fails_is_named_in_one_line(
    replicated: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from(replicated)
    folder = leave(own, "3-tyler", "5-baseline")
    (folder / "durations/everything.json").unlink()
    (own.root / "data/processed/val.npz").write_bytes(b"no archive")
    error = own.run(*REPLICATE, environment=MODULE, fails=True).stderr
    last = error.splitlines()[-1]
    assert last.startswith("replicate: error: train@")
    assert last.endswith("failed, and the lines above say why; run the same command again to go on")
    assert all(name in last for name in ("train@3-tyler", "train@5-baseline"))
    assert not (folder / "durations/everything.json").exists()


def test_a_second_time_there_is_nothing_to_do(replicated: "Checkout") -> None:
    before = (replicated.root / "replications/dvc.lock").read_bytes()
    assert "Data and pipelines are up to date" in dvc(replicated, "repro")
    assert (replicated.root / "replications/dvc.lock").read_bytes() == before


def test_one_system_is_asked_for_alone(replicated: "Checkout") -> None:
    asked = dvc(replicated, "repro", "--dry", "--force", "--glob", "*@3-*")
    stages = {line.split("'")[1] for line in asked.splitlines() if line.startswith("Running stage")}
    assert stages == {
        *("search@3-batch-size", "train@3-tyler", "train@3-jackson", "train@3-jackson-l2")
    }


def test_the_main_pipeline_does_not_see_them(replicated: "Checkout") -> None:
    listed = replicated.run("dvc", "stage", "list", "--all").stdout
    assert "train@cnn-augmented-1" in listed
    assert "train@3-tyler" not in listed


def test_runs_are_in_the_projects_store_under_their_own_experiment(
    replicated: "Checkout",
) -> None:
    assert not (replicated.root / "replications/mlflow.db").exists()
    with contextlib.chdir(replicated.root):
        client = MlflowClient(f"sqlite:///{replicated.root}/mlflow.db")
        experiment = client.get_experiment_by_name(REPLICATIONS.name)
        assert experiment
        runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
        curve = client.get_metric_history(runs["3-tyler-1"].info.run_id, "val_accuracy")
    assert {"1-dropout-search", "1-dropout-1", "1-dropout-2", "3-tyler-2", "1-dropout-trial-1"} <= {
        *runs
    }
    tyler = runs["3-tyler-1"]
    assert tyler.data.tags["system"] == "3"
    assert tyler.data.params["hidden_units"] == "[128, 128, 128, 128, 128]"
    scores = read_csv(replicated.root / "replications/results/models/3-tyler/scores.csv")
    assert tyler.data.metrics["test_accuracy"] == float(scores[0]["test_accuracy"])
    assert len(curve) == 2


@pytest.mark.timeout(900)
def test_a_lost_store_is_filled_again_as_far_as_the_results_go(
    replicated: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from(replicated)
    expected = stores.own_store(replicated)["runs"]
    own.forget_runs()
    shutil.rmtree(own.root / "replications/results/models/5-baseline")
    environment = {"PYTHONPATH": "src:replications/src"}
    output = own.run("python", "-c", BACKFILL_TWICE, environment=environment).stdout
    first, again = output.split("again\n")
    assert "3-tyler: logged" in first
    assert "3-batch-size-search: logged" in first
    found = stores.own_store(own)["runs"]
    missing = {place for place in expected if place[2].startswith("5-baseline")}
    assert len(missing) == 2
    assert found.keys() == expected.keys() - missing
    for place, run in found.items():
        assert run == expected[place], place
    assert "logged" not in again
    assert again.count("in MLflow already") == first.count("logged")


def test_tables_of_different_seeds_are_refused(replicated: "Checkout", tmp_path: Path) -> None:
    folder = tmp_path / "3-tyler"
    shutil.copytree(replicated.root / "replications/results/models/3-tyler", folder)
    assert list(read_runs(folder)) == [1, 2]
    lines = (folder / "scores.csv").read_text().splitlines(keepends=True)
    (folder / "scores.csv").write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match="not of the same seeds"):
        read_runs(folder)


@pytest.mark.timeout(900)
def test_a_killed_training_goes_on_where_it_was(
    replicated: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from(replicated)
    expected = results(own)
    kill(own, "train", "3-tyler", "seed 2 epoch 1/")
    (spent,) = own.root.glob("replications/.state/train-3-tyler/*/2.seconds")
    write_json(spent, 1000.0)  # as if it had been at it for so long
    (own.root / "replications/results/models/3-tyler/scores.csv").unlink()
    again = script(own, "train", "3-tyler").stdout
    assert "seed 1 epoch" not in again
    assert "seed 2 epoch 1/" not in again
    assert results(own) == expected
    took = read_json(own.root / "replications/durations/train-3-tyler.json")
    assert took["seconds"] > 1000


@pytest.mark.timeout(900)
def test_a_killed_training_starts_afresh_on_other_images(
    replicated: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from(replicated)
    kill(own, "train", "3-tyler", "seed 1 epoch 1/")
    file = own.root / "data/original/train.npz"
    train = read_split(file)
    write_split(file, Split(255 - train.images, train.labels))
    assert "seed 1 epoch 1/" in script(own, "train", "3-tyler").stdout


@pytest.mark.timeout(900)
def test_a_killed_search_goes_on_where_it_was(
    replicated: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from(replicated)
    expected = results(own)
    kill(own, "search", "3-batch-size", "trial 2/8:")
    state = own.root / "replications/.state/search-3-batch-size"
    finished = {file: file.stat().st_mtime_ns for file in state.glob("*/*.json")}
    assert len(finished) >= 2
    (own.root / "replications/results/searches/3-batch-size/trials.csv").unlink()
    script(own, "search", "3-batch-size")
    assert {file: file.stat().st_mtime_ns for file in finished} == finished  # none trained twice
    assert results(own) == expected


@pytest.mark.timeout(900)
def test_what_a_search_trained_is_not_trained_again(
    replicated: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from(replicated)
    shutil.copy(PROJECT / "replications/params.yaml", own.root / "replications/params.yaml")
    content = replicating.shrink(own)
    replicating.keep(content, "2-mlp", "2-mlp-found")
    searched = content["searches"]["2-mlp"]["search"]
    winner = content["winners"]["2-mlp-found"]
    winner["seeds"] = [derive_seed(content["seed"], "trial", 0), 1]
    winner["training"] |= {name: searched[name] for name in ("epochs", "patience")}
    replicating.write(own, content)
    script(own, "search", "2-mlp")
    told = script(own, "train", "2-mlp-found").stdout
    assert f"seed {winner['seeds'][0]}: as search 2-mlp left it" in told
    assert re.findall(r"seed (\d+) epoch", told) == ["1"]  # the other seed, its only epoch
    expected = results(own)
    shutil.rmtree(own.root / "replications/.state")
    told = script(own, "train", "2-mlp-found").stdout
    assert len(re.findall(r"seed \d+ epoch", told)) == 2
    assert results(own) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("search", "no search '9-nothing': choose from 1-dropout"),
        ("train", "unknown model '9-nothing'"),
    ],
)
def test_an_unknown_name_is_refused_in_one_line(
    replicated: "Checkout", name: str, message: str
) -> None:
    error = script(replicated, name, "9-nothing", fails=True).stderr
    assert error.startswith(f"{name}: error: {message}")
    assert error.count("\n") == 1


def test_a_changed_published_number_trains_nothing_again(
    replicated: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from(replicated)
    content = replicating.plan(own)
    content["models"]["3-tyler"]["published"][0]["values"] = {"test_accuracy": "0.12345"}
    replicating.write(own, content)
    output = dvc(own, "repro")
    assert "Running stage 'compare'" in output
    assert output.count("Running stage") == 1
    assert "0.12345" in (own.root / "replications/report.md").read_text(encoding="utf-8")


def test_the_page_of_a_part_says_what_is_missing(
    replicated: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from(replicated)
    folder = own.root / "replications"
    for path in ("models/3-jackson-l2", "searches/3-batch-size"):
        shutil.rmtree(folder / "results" / path)
    content = replicating.plan(own)
    content["models"]["5-baseline"]["training"]["epochs"] = 3  # trained with 2
    content["models"]["4-grid-2-sgd-01-512"]["seeds"] = [2]  # trained from 1
    replicating.write(own, content)
    missing = [
        *("search@3-batch-size", "train@3-jackson-l2", "train@5-baseline"),
        "train@4-grid-2-sgd-01-512",
    ]
    told = dvc(own, "repro", "--single-item", "compare")
    assert f"not run yet as params.yaml has it, and left out: {', '.join(missing)}" in told
    summary = read_json(folder / "summary.json")
    assert summary["missing"] == missing
    assert [one["models"] for one in summary["systems"].values()] == [1, 1, 2, 0, 0]
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    assert "left out with the claims about it: `search@3-batch-size`, " in markdown
    claims = [claim["text"] in markdown for claim in replicating.plan(own)["claims"]]
    assert claims == [False, False, True]


def test_no_figure_is_left_of_models_that_left_the_plan(
    replicated: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from(replicated)
    folder = leave(own, *({*FEW} - {"3-jackson-l2", "4-grid-2-sgd-01-512"}))
    gone = {"confusion-3-jackson-l2.png", "grid.png"}
    assert gone <= {file.name for file in (folder / "figures").iterdir()}
    script(own, "compare", forked=False)  # matplotlib has to read MPLBACKEND
    left = {file.name for file in (folder / "figures").iterdir()}
    assert left == set(re.findall(r"\]\(figures/(.*?)\)", (folder / "report.md").read_text()))
    assert not left & gone
    assert "confusion-3-jackson.png" in left


def test_a_grid_that_is_no_table_is_refused_in_one_line(
    replicated: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from(replicated)
    content = replicating.plan(own)
    content["models"]["4-grid-2-sgd-01-512"]["seeds"] = [1, 2]
    replicating.write(own, content)
    error = script(own, "compare", fails=True).stderr
    told = "models.4-grid-2-sgd-01-512.seeds: a row of the grid has one, not 2"
    assert error == f"compare: error: {told}\n"


def test_without_any_result_there_is_no_page(
    replicated: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from(replicated)
    shutil.rmtree(own.root / "replications/results/models")
    error = script(own, "compare", fails=True).stderr
    assert error.endswith("results has no trained model: run `make replications`\n")
    assert error.count("\n") == 1


@pytest.mark.system
@pytest.mark.timeout(3600)
def test_the_whole_plan_runs(checkout_from: "Callable[..., Checkout]") -> None:
    checkout = checkout_from()
    content = replicating.shrink(checkout)
    replicating.write(checkout, content)
    make(checkout, limit=3600)
    told: Mapping[str, Any] = read_json(checkout.root / "replications/summary.json")
    assert told["missing"] == []
    trained = [*content["models"], *content["winners"]]
    assert sum(one["models"] for one in told["systems"].values()) == len(trained)
    claims = sum(sum(one["claims"].values()) for one in told["systems"].values())
    assert claims == len(content["claims"]) + len(content["lowest"])
    for name, part in content["searches"].items():
        trials = read_csv(checkout.root / f"replications/results/searches/{name}/trials.csv", ())
        assert len(trials) == part["search"]["trials"] or part["search"]["strategy"] == "hyperband"
