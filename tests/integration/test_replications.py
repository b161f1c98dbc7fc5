"""The pipeline of the replications, run by DVC on a few hundred made-up images."""

import contextlib
import hashlib
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient

from sidebyside.config.dataset import read_dataset
from sidebyside.core.files import read_csv, read_json, write_json
from sidebyside.core.seeding import derive_seed
from sidebyside.data.npz import read_split, write_split
from sidebyside.data.splits import Split
from sidebyside.reproducibility.perturb import ENVIRONMENT as PERTURBED
from study.tracking import REPLICATIONS
from tests.support import replicating, stores
from tests.support.replicating import make_replications

if TYPE_CHECKING:
    from tests.support.checkout import Checkout

PROJECT = Path(__file__).parents[2]
PYTHON = ("sh", "-c", 'cd replications && exec "$@"', "sh", "python")
ENVIRONMENT = {"PYTHONPATH": "../src:src", "MPLBACKEND": PERTURBED["MPLBACKEND"]}
MODULE = {"PYTHONPATH": "src:replications/src"}
# A part of every system and kind of stage, and both models of the claims of system 3.
FEW = (
    *("1-dropout", "2-cnn-augmented", "3-tyler", "3-jackson", "3-jackson-l2", "3-batch-size"),
    *("4-grid-2-sgd-01-512", "5-baseline"),
)
ONCE = {"1-dropout", "2-cnn-augmented", "3-jackson", "3-jackson-l2", "5-baseline"}  # one seed
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


def script(checkout: "Checkout", name: str, *arguments: str, **options: Any) -> Any:
    line = (*PYTHON, f"pipeline/{name}.py", *arguments)
    return checkout.run(*line, environment=ENVIRONMENT, **options)


def kill(checkout: "Checkout", name: str, item: str, text: str) -> None:
    """Run the script of a stage for an item, and kill it when it prints a text."""
    process = checkout.start(*PYTHON, f"pipeline/{name}.py", item, environment=ENVIRONMENT)
    assert process.stdout
    for line in process.stdout:
        if text in line:
            process.send_signal(signal.SIGKILL)
            break
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def restrict(checkout: "Checkout", *names: str) -> Path:
    """Restrict the plan to some searches and models; return the replications' folder."""
    content = replicating.plan(checkout)
    replicating.keep(content, *names)
    replicating.write(checkout, content)
    return checkout.root / "replications"


def results(checkout: "Checkout") -> dict[str, str]:
    """Return path → SHA-256 of every result of the replications."""
    folder = checkout.root / "replications/results"
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


@pytest.fixture(scope="module")
def replicated(checkout_from: "Callable[..., Checkout]") -> "Checkout":
    """A checkout after `make replications` with a part of the plan; read-only."""
    checkout = checkout_from()
    content = replicating.shrink(checkout)
    replicating.keep(content, *FEW)
    for name, part in (content["models"] | content["winners"]).items():
        part["seeds"] = [1] if name in ONCE else part["seeds"]
    claim = {"first": "3-jackson", "second": "3-tyler", "text": "A claim about two of them"}
    content["claims"].append({**content["claims"][0], **claim})
    replicating.write(checkout, content)
    make_replications(checkout)
    return checkout


@pytest.mark.timeout(900)
def test_every_part_of_the_plan_is_run_and_on_the_page(replicated: "Checkout") -> None:
    folder = replicated.root / "replications"
    plan = replicating.plan(replicated)
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    for group in ("searches", "models", "winners"):
        for part in plan[group].values():
            assert part["title"] in markdown or part["title"].startswith("Row of the grid")
    for system in plan["systems"].values():
        assert system["title"] in markdown
        assert all(choice in markdown for choice in system["choices"])
    for claim in plan["claims"]:
        assert claim["text"] in markdown
    assert len(plan["claims"]) == 3
    assert "the losses of the grid's rows differ from the published ones by" in markdown
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert html.count("<img") == len(list((folder / "figures").glob("*.png")))
    summary = read_json(folder / "summary.json")
    assert [one["models"] for one in summary["systems"].values()] == [1, 1, 3, 1, 1]
    assert summary["missing"] == []
    assert "Not completed" not in markdown


def test_results_are_small_tables_with_one_row_per_seed(replicated: "Checkout") -> None:
    folder = replicated.root / "replications/results"
    for name, part in replicating.plan(replicated)["models"].items():
        rows = read_csv(folder / "models" / name / "scores.csv")
        assert [int(row["seed"]) for row in rows] == part["seeds"]
        digests = {row["weights_sha256"] for row in rows}
        assert len(digests) == len(rows)
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    assert max(sizes) < 20_000


def test_durations_are_provenance_and_not_results(replicated: "Checkout") -> None:
    folder = replicated.root / "replications"
    provenance = folder / ".state/provenance"
    whole = read_json(provenance / "everything.json")
    trained = read_json(provenance / "train@3-tyler.json")
    assert whole["seconds"] > trained["seconds"] > 0
    processor = trained["machine"]["processor"].encode()
    outputs = [folder / name for name in ("report.md", "report.html", "summary.json")]
    for file in (*outputs, *(folder / "results").glob("*/*/*")):
        assert processor not in file.read_bytes(), file
    assert "seconds" not in (folder / "summary.json").read_text()


def test_a_second_run_has_nothing_to_do(replicated: "Checkout") -> None:
    before = (replicated.root / "replications/dvc.lock").read_bytes()
    assert "Data and pipelines are up to date" in dvc(replicated, "repro")
    assert (replicated.root / "replications/dvc.lock").read_bytes() == before


def test_one_system_can_be_selected(replicated: "Checkout") -> None:
    output = dvc(replicated, "repro", "--dry", "--force", "--glob", "*@3-*")
    stages = {
        line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")
    }
    assert stages == {
        *("search@3-batch-size", "train@3-tyler", "train@3-jackson", "train@3-jackson-l2")
    }


def test_the_main_pipeline_has_no_stages_of_the_replications(replicated: "Checkout") -> None:
    listed = replicated.run("dvc", "stage", "list", "--all").stdout
    assert "train@cnn-augmented-1" in listed
    assert "train@3-tyler" not in listed


def test_runs_are_in_the_projects_store_in_an_experiment_of_their_own(
    replicated: "Checkout",
) -> None:
    assert not (replicated.root / "replications/mlflow.db").exists()
    with contextlib.chdir(replicated.root):
        client = MlflowClient(f"sqlite:///{replicated.root}/mlflow.db")
        experiment = client.get_experiment_by_name(REPLICATIONS.name)
        assert experiment
        runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
        curve = client.get_metric_history(runs["3-tyler-1"].info.run_id, "val_accuracy")
    assert {"1-dropout-search", "1-dropout-1", "1-dropout-trial-1", "3-tyler-2"} <= {*runs}
    tyler = runs["3-tyler-1"]
    assert tyler.data.tags["system"] == "3"
    assert tyler.data.params["hidden_units"] == "[128, 128, 128, 128, 128]"
    scores = read_csv(replicated.root / "replications/results/models/3-tyler/scores.csv")
    assert tyler.data.metrics["test_accuracy"] == float(scores[0]["test_accuracy"])
    assert len(curve) == 2


@pytest.mark.system
@pytest.mark.timeout(900)
def test_backfill_restores_the_runs_of_all_results(
    replicated: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from(replicated)
    expected = stores.own_store(replicated)["runs"]
    own.forget_runs()
    shutil.rmtree(own.root / "replications/results/models/5-baseline")
    output = own.run("python", "-c", BACKFILL_TWICE, environment=MODULE).stdout
    first, again = output.split("again\n")
    assert "3-tyler: logged" in first
    assert "3-batch-size-search: logged" in first
    restored = stores.own_store(own)["runs"]
    missing = {key for key in expected if key[2].startswith("5-baseline")}
    assert len(missing) == 1
    assert restored.keys() == expected.keys() - missing
    for key, run in restored.items():
        assert run == expected[key], key
    assert "logged" not in again
    assert again.count("already in MLflow") == first.count("logged")


@pytest.mark.system
@pytest.mark.timeout(900)
def test_a_killed_training_resumes_on_the_same_images_only(
    replicated: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from(replicated)
    expected = results(own)
    kill(own, "train", "3-tyler", "seed 2 epoch 1/")
    (saved,) = own.root.glob("replications/.state/train-3-tyler/*/2.seconds")
    write_json(saved, 1000.0)
    (own.root / "replications/results/models/3-tyler/scores.csv").unlink()
    resumed = script(own, "train", "3-tyler").stdout
    assert "seed 1 epoch" not in resumed
    assert "seed 2 epoch 1/" not in resumed
    assert results(own) == expected
    provenance = read_json(own.root / "replications/.state/provenance/train@3-tyler.json")
    assert provenance["seconds"] > 1000
    kill(own, "train", "3-tyler", "seed 1 epoch 1/")
    file = own.root / "data/original/train.npz"
    train = read_split(file, read_dataset(own.root / "data/processed/dataset.json"))
    write_split(file, Split(255 - train.images, train.labels))
    (own.root / "dvc.lock").unlink()  # with it, the changed file is refused
    kill(own, "train", "3-tyler", "seed 1 epoch 1/")


@pytest.mark.timeout(900)
def test_a_killed_search_resumes(
    replicated: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from(replicated)
    expected = results(own)
    kill(own, "search", "3-batch-size", "trial 2/4:")
    state = own.root / "replications/.state/search-3-batch-size"
    trials = {file: file.stat().st_mtime_ns for file in state.glob("*/*.json")}
    assert len(trials) >= 2
    (own.root / "replications/results/searches/3-batch-size/trials.csv").unlink()
    script(own, "search", "3-batch-size")
    assert {file: file.stat().st_mtime_ns for file in trials} == trials  # none trained twice
    assert results(own) == expected


@pytest.mark.system
@pytest.mark.timeout(900)
def test_the_winning_trial_of_a_search_is_not_trained_again(
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
    output = script(own, "train", "2-mlp-found").stdout
    assert f"seed {winner['seeds'][0]}: resumes search 2-mlp" in output
    assert re.findall(r"seed (\d+) epoch", output) == ["1"]  # the other seed, its only epoch
    expected = results(own)
    shutil.rmtree(own.root / "replications/.state")
    output = script(own, "train", "2-mlp-found").stdout
    assert len(re.findall(r"seed \d+ epoch", output)) == 2
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


def test_the_page_of_an_unfinished_study_names_the_missing_stages(
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
    without_results = {"confusion-3-jackson-l2.png", "grid.png"}
    assert without_results <= {file.name for file in (folder / "figures").iterdir()}
    output = dvc(own, "repro", "--single-item", "compare")
    assert f"not completed and left out: {', '.join(missing)}" in output
    summary = read_json(folder / "summary.json")
    assert summary["missing"] == missing
    assert [one["models"] for one in summary["systems"].values()] == [1, 1, 2, 0, 0]
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    assert "left out, together with the claims about them: `search@3-batch-size`, " in markdown
    claims = [claim["text"] in markdown for claim in replicating.plan(own)["claims"]]
    assert claims == [False, False, True]
    figures = {file.name for file in (folder / "figures").iterdir()}
    assert figures == set(re.findall(r"\]\(figures/(.*?)\)", markdown))
    assert not figures & without_results
    assert "confusion-3-jackson.png" in figures


def test_compare_refuses_an_invalid_grid_and_missing_results_in_one_line(
    replicated: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own = checkout_from(replicated)
    content = replicating.plan(own)
    content["models"]["4-grid-2-sgd-01-512"]["seeds"] = [1, 2]
    replicating.write(own, content)
    error = script(own, "compare", fails=True).stderr
    message = "models.4-grid-2-sgd-01-512.seeds: expected 1 for a row of the grid, not 2"
    assert error == f"compare: error: {message}\n"
    content["models"]["4-grid-2-sgd-01-512"]["seeds"] = [1]
    replicating.write(own, content)
    shutil.rmtree(own.root / "replications/results/models")
    error = script(own, "compare", fails=True).stderr
    assert error.endswith("results has no trained model: run `make replications`\n")
    assert error.count("\n") == 1
