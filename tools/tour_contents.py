"""Collect the pages and command outputs that the tour shows."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from PIL import Image

from sidebyside.config.dataset import read_dataset
from sidebyside.config.paths import Paths
from sidebyside.core.errors import UserError
from sidebyside.data.npz import read_split
from sidebyside.reproducibility import clones
from sidebyside.serving.serve import champion
from sidebyside.tracking.store import open_store
from sidebyside.tracking.views import (
    COMPARISON,
    registered_model,
    search_experiment,
    training_experiment,
)
from tools.browser import DESKTOP, PHONE

EXPERIMENT = ("train.budget.mlp.epochs=5",)  # run in a clone, so that DVC has two runs to compare


class Listing(NamedTuple):
    """A command and its output."""

    title: str
    text: str  # explanation
    command: str
    output: str  # plain text, or a Markdown table


class Page(NamedTuple):
    """A web page, shown by a screenshot."""

    name: str  # of the screenshot
    title: str
    text: str  # explanation
    address: str
    shows: str  # text that appears once the page has loaded
    click: str = ""  # XPath of an element to click before the screenshot
    top: str = ""  # text to scroll to
    size: tuple[int, int] = DESKTOP
    dark: bool = False


def mlflow_pages(root: Path, address: str) -> list[Page]:
    """Return the pages of MLflow's UI.

    Args:
        root: the checkout whose store the UI shows.
        address: address of the UI.

    Raises:
        UserError: the store cannot be reached, or lacks a run.
    """
    store = open_store(root)
    dataset = read_dataset(Paths(root).dataset)
    experiments = training_experiment(dataset), search_experiment(dataset)
    found = store.require(
        lambda: {
            experiment.name: {
                run.info.run_name: run.info.run_id
                for run in store.client.search_runs(
                    [store.experiment(experiment)], order_by=["attributes.start_time ASC"]
                )
            }
            for experiment in experiments
        }
    )
    numbers = [store.experiment(experiment) for experiment in experiments]
    runs, searches = (found[experiment.name] for experiment in experiments)
    pair = ["mlp-original-1", "cnn-original-1"]
    if missing := [name for name in (*pair, COMPARISON) if name not in runs]:
        raise UserError(f"MLflow lacks the run {missing[0]}: run `make backfill`")
    if not searches:
        raise UserError("MLflow lacks the searches: run `make backfill`")
    registered = registered_model(dataset.name, "cnn")
    _, version, _ = champion(root, registered)
    best = store.client.get_run(store.client.get_model_version(registered, version).run_id)
    model = best.outputs.model_outputs[0].model_id
    training, search = (f"{address}/#/experiments/{number}" for number in numbers)
    both = quote(json.dumps([runs[name] for name in pair]))
    compared = f"{address}/#/compare-runs?runs={both}&experiments={quote(json.dumps(numbers[:1]))}"
    return [
        Page(
            "experiments",
            "The experiments",
            "Each has a description.",
            f"{address}/#/experiments",
            dataset.name,
        ),
        Page(
            "runs",
            "The trained models",
            "The first page of `make ui`: sorted by validation accuracy, with the hyperparameters"
            " that were searched or differ between runs.",
            address,
            "cnn-original-1",
        ),
        Page(
            "curves",
            "Learning curves",
            "Click the chart icon above the table. Charts of the other metrics are below.",
            f"{training}/runs?compareRunsMode=CHART",
            "val_accuracy",
        ),
        Page(
            "side-by-side",
            "MLP and CNN side by side",
            "The first link in the note of the run *comparison*: both confusion matrices at one"
            " scale, and their difference.",
            f"{training}/runs/{runs[COMPARISON]}/artifacts/side_by_side.html",
            "side_by_side.html",
        ),
        Page(
            "compare",
            "Comparison of two runs",
            "Differing parameters are highlighted.",
            compared,
            "Run details",
            top="Parameters",
        ),
        Page(
            "confusion",
            "Confusion matrices",
            "The same page, under *Artifacts*.",
            compared,
            "confusion.png",
            click="//*[text()='confusion.png']",
            top="confusion.png",
        ),
        Page(
            "run",
            "A run",
            "Its commit, machine, data and seeds.",
            f"{training}/runs/{best.info.run_id}",
            "About this run",
        ),
        Page(
            "model",
            "A logged model",
            "Its scores, their data sets, and its run.",
            f"{training}/models/{model}",
            "test_accuracy",
        ),
        Page(
            "signature",
            "Model signature",
            "`MLmodel` contains the signature; `input_example.json` is an example input.",
            f"{training}/models/{model}/artifacts",
            "MLmodel",
            click="//*[text()='MLmodel']",
        ),
        Page(
            "searches",
            "Searches and trials",
            "Sorted by validation accuracy, with the hyperparameters that were searched. Click the"
            " expand icon before the name of a search to show its trials.",
            f"{search}/runs",
            "search-cnn",
            click="(//div[@role='gridcell']//button)[1]",
        ),
        Page(
            "trials",
            "Trials as parallel coordinates",
            "Click the chart icon above the table: one chart per architecture, with an axis for"
            " each hyperparameter that was searched.",
            f"{search}/runs?compareRunsMode=CHART",
            "Parallel Coordinates",
        ),
        Page(
            "registry",
            "A registered model",
            "The best CNN, with its model card.",
            f"{address}/#/models/{registered}/versions/{version}",
            "Intended use",
        ),
    ]


def dvc_contents(root: Path, folder: Path) -> list[Page | Listing]:
    """Return DVC's plots and tables of the results and of an experiment.

    Args:
        root: the checkout.
        folder: an empty folder for the pages and the clone.

    Raises:
        UserError: a DVC command failed.
    """
    clone = clones.clone(root, folder / "clone")
    clones.restore_results(clone, root)
    shutil.copy(root / ".dvc/plots/page.html", clone / ".dvc/plots")  # written by `make install`
    settings = [word for value in EXPERIMENT for word in ("-S", value)]
    dvc(clone, "exp", "run", "--name", "shorter", *settings)
    show, diff = ["plots", "show"], ["plots", "diff", "HEAD"]
    for name, words, checkout in (("plots", show, root), ("plots-diff", diff, clone)):
        dvc(checkout, *words, "--out", str(folder / name))
    changed = [
        "exp",
        "show",
        "--md",
        "--only-changed",
        "--drop",
        "^(data|models|pipeline|reports|src)(/|$)|Created",
    ]
    metrics = ["metrics", "diff", "--md"]
    return [
        Page(
            "plots",
            "`dvc plots show`",
            "Learning curves, confusion matrices and figures of all models; works offline.",
            (folder / "plots/index.html").as_uri(),
            "Validation accuracy by epoch",
        ),
        Page(
            "plots-diff",
            "`dvc plots diff`",
            f"Dashed: the experiment `dvc exp run --name shorter {' '.join(settings)}`. With"
            " `--temp` it would leave the workspace unchanged.",
            (folder / "plots-diff/index.html").as_uri(),
            "Validation accuracy by epoch",
        ),
        Listing(
            "`dvc exp show`",
            "The experiment and its baseline.",
            shlex.join(["dvc", *changed]),
            dvc(clone, *changed),
        ),
        Listing(
            "`dvc metrics diff`",
            "The scores of the experiment.",
            shlex.join(["dvc", *metrics]),
            dvc(clone, *metrics),
        ),
    ]


def dvc(folder: Path, *words: str) -> str:
    """Return the output of a DVC command; see `output`."""
    return output(["dvc", *words], folder)


def output(line: Sequence[str], folder: Path) -> str:
    """Return the output of a command that runs in a folder.

    Raises:
        UserError: the command failed.
    """
    environment = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run(
        line, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"`{shlex.join(line)}` failed: {done.stderr.strip()}")
    return done.stdout


def report_pages(root: Path) -> list[Page]:
    """Return the pages of the report.

    Raises:
        UserError: the report is missing.
    """
    report = root / "reports/evaluate/report.html"
    if not report.exists():
        raise UserError(f"{report.relative_to(root)} is missing: run `make repro`")
    shown = "Summary"
    return [
        Page("report", "The report", "", report.as_uri(), shown),
        Page("report-dark", "The report in dark mode", "", report.as_uri(), shown,
             dark=True),
        Page("report-phone", "The report on a phone", "", report.as_uri(), shown, size=PHONE),
    ]  # fmt: skip


def command_listings(root: Path, folder: Path) -> list[Listing]:
    """Return the output of commands: a prediction, and the help of a stage.

    Args:
        root: the checkout.
        folder: a folder for the picture to classify.

    Raises:
        UserError: a command failed.
    """
    picture = folder / "image.png"
    paths = Paths(root)
    pixels = read_split(paths.split("test"), read_dataset(paths.dataset)).images[0]
    Image.fromarray(pixels).save(picture)
    predict = ["-m", "sidebyside.serving.predict"]
    stage = ["pipeline/train.py", "--help"]
    return [
        Listing(
            "`make predict`",
            "The first test image, as a file.",
            "make predict IMAGE=image.png",
            output([sys.executable, *predict, str(picture)], root).replace(f"{folder}/", ""),
        ),
        Listing(
            "`--help`",
            "Every script prints its inputs, outputs and exit codes.",
            f"PYTHONPATH=src {shlex.join(['python', *stage])}",
            output([sys.executable, *stage], root),
        ),
    ]
