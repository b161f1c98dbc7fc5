"""Photograph what a user sees, in a real browser, and write docs/tour.md: `make tour`.

MLflow's UI on the runs of this checkout, what DVC shows of them and of an experiment, made in a
clone, the report, on a screen and on a phone, and what commands say. It needs Debian's packages
chromium and chromium-driver, and the results of `make repro`.
"""

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from PIL import Image

from sidebyside.config.paths import Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_bytes, write_text
from sidebyside.data.npz import read_split
from sidebyside.reproducibility import rerun
from sidebyside.serving.serve import champion
from sidebyside.tracking.store import open_store
from sidebyside.tracking.views import SEARCH, TRAINING, VIEW, registered_model
from sidebyside.workflow import command
from tools import browser
from tools.browser import DESKTOP, PATIENCE, PHONE, Driver

# MLflow's own settings, as its UI keeps them: the pages for training, no assistant beside them.
SETTINGS = {
    "mlflow.workflowType_v1": '"machine_learning"',
    "mlflow.assistant.panelOpen_v1": "false",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
}


# What is tried in the clone, so that DVC has two things to compare.
EXPERIMENT = ("train.budget.mlp.epochs=5",)


class Listing(NamedTuple):
    """What a command prints."""

    title: str
    text: str  # what the reader should see
    command: str
    output: str  # shown as it is, or as a table if it is one in Markdown


class Page(NamedTuple):
    """One thing to look at."""

    name: str  # of the picture
    title: str
    text: str  # what the reader should see
    address: str
    shows: str  # a text on the page; when it is there, the page has loaded
    click: str = ""  # XPath of what is to be clicked before the picture is taken
    top: str = ""  # a text to be scrolled to
    size: tuple[int, int] = DESKTOP
    dark: bool = False


def main() -> None:
    """Take all pictures and write the page."""
    command.parser(__doc__).parse_args()
    root = Path(__file__).resolve().parents[1]
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # this checkout's own store is shown
    if not (root / "mlflow.db").exists():
        raise UserError("there is nothing to show: run `make repro`")
    with tempfile.TemporaryDirectory() as folder, ui(root) as address, browser.opened() as driver:
        parts = [
            *mlflow_pages(root, address),
            *dvc_parts(root, Path(folder)),
            *file_pages(root),
            *command_listings(root, Path(folder)),
        ]
        for part in parts:
            print(part.title, flush=True)
            if isinstance(part, Page):
                picture = photograph(driver, part, address)
                write_bytes(root / "docs/tour" / f"{part.name}.png", picture)
    write_text(root / "docs/tour.md", document(parts))


def mlflow_pages(root: Path, address: str) -> list[Page]:
    """Return what to look at in MLflow's UI.

    Args:
        root: the checkout, whose store the UI shows.
        address: of the UI.

    Raises:
        UserError: the store cannot be reached, or lacks a run.
    """
    store = open_store(root)
    found = store.ask(
        lambda: {
            name: {
                run.info.run_name: run.info.run_id
                for run in store.client.search_runs(
                    [store.experiment(name)], order_by=["attributes.start_time ASC"]
                )
            }
            for name in (TRAINING, SEARCH)
        }
    )
    numbers = {name: store.experiment(name) for name in (TRAINING, SEARCH)}
    runs = found[TRAINING]
    pair = [name for name in ("mlp-original-1", "cnn-original-1") if name in runs]
    if len(pair) < 2:
        raise UserError("MLflow lacks the runs of mlp-original-1 and cnn-original-1: `make refill`")
    if not found[SEARCH]:
        raise UserError("MLflow lacks the searches: `make refill`")
    registered = registered_model("cnn")
    _, version = champion(root, registered)
    best = store.client.get_run(store.client.get_model_version(registered, version).run_id)
    model = best.outputs.model_outputs[0].model_id
    training, search = (f"{address}/#/experiments/{numbers[name]}" for name in (TRAINING, SEARCH))
    both = quote(json.dumps([runs[name] for name in pair]))
    compared = (
        f"{address}/#/compare-runs?runs={both}&experiments={quote(json.dumps([numbers[TRAINING]]))}"
    )
    return [
        Page(
            "experiments",
            "The experiments",
            "Each says what it holds.",
            f"{address}/#/experiments",
            TRAINING,
        ),
        Page(
            "runs",
            "The trained models",
            "The first link in the experiment's description leads here: sorted by test accuracy,"
            " the columns that matter.",
            f"{training}/runs?viewStateShareKey={VIEW}",
            "cnn-original-1",
        ),
        Page(
            "curves",
            "Curves, overlaid",
            "The second link in the experiment's description leads here; every other metric has a"
            " chart below.",
            f"{training}/runs?viewStateShareKey={VIEW}&compareRunsMode=CHART",
            "val_accuracy",
        ),
        Page(
            "compare",
            "Two runs compared",
            "The parameters that differ are marked; their metrics have the same names.",
            compared,
            "Run details",
            top="Parameters",
        ),
        Page(
            "confusion",
            "Their confusion matrices",
            "Further down on the same page, under *Artifacts*.",
            compared,
            "confusion.png",
            click="//*[text()='confusion.png']",
            top="confusion.png",
        ),
        Page(
            "run",
            "One run",
            "Where it comes from: commit, machine, data, seeds.",
            f"{training}/runs/{best.info.run_id}",
            "About this run",
        ),
        Page(
            "model",
            "Its model",
            "Its scores with the data they are about, and the run that it comes from.",
            f"{training}/models/{model}",
            "test_accuracy",
        ),
        Page(
            "signature",
            "What it takes and gives",
            "Its signature stands in `MLmodel`; `input_example.json` is an image to try it with.",
            f"{training}/models/{model}/artifacts",
            "MLmodel",
            click="//*[text()='MLmodel']",
        ),
        Page(
            "searches",
            "The searches, their trials below",
            "After a click on the sign before a search's name, which shows its trials.",
            f"{search}/runs",
            "search-cnn",
            click="(//div[@role='gridcell']//button)[1]",
        ),
        Page(
            "search",
            "Their trials by score",
            "The first link in the experiment's description: sorted by validation accuracy, a"
            " search beside the best of its trials.",
            f"{search}/runs?viewStateShareKey={VIEW}",
            "trial-1",
        ),
        Page(
            "trials",
            "Its trials, as parallel coordinates",
            "The second link in the experiment's description leads here: a chart for each"
            " architecture.",
            f"{search}/runs?viewStateShareKey={VIEW}&compareRunsMode=CHART",
            "Parallel Coordinates",
        ),
        Page(
            "registry",
            "The registered model",
            "The best CNN, with its model card.",
            f"{address}/#/models/{registered}/versions/{version}",
            "Intended use",
        ),
    ]


def dvc_parts(root: Path, folder: Path) -> list[Page | Listing]:
    """Return what DVC shows of the results, and of an experiment beside them.

    Args:
        root: the checkout.
        folder: an empty one, for the pages that DVC writes and for the clone of the experiment.

    Raises:
        UserError: a command of DVC's fails.
    """
    clone = rerun.clone(root, folder / "clone")
    rerun.fill_from_cache(clone, root)
    shutil.copy(root / ".dvc/plots/page.html", clone / ".dvc/plots")  # `make install` made it
    settings = [word for value in EXPERIMENT for word in ("-S", value)]
    dvc(clone, "exp", "run", "--name", "shorter", *settings)
    show, diff = ["plots", "show"], ["plots", "diff", "HEAD"]
    for name, words, checkout in (("plots", show, root), ("plots-diff", diff, clone)):
        dvc(checkout, *words, "--out", str(folder / name))
    changed = ["exp", "show", "--md", "--only-changed", "--drop", "Created|^(src|pipeline|data)/"]
    metrics = ["metrics", "diff", "--md"]
    return [
        Page(
            "plots",
            "`dvc plots show`",
            "Curves, confusion matrices and figures of all models on one page, without internet.",
            (folder / "plots/index.html").as_uri(),
            "Validation accuracy by epoch",
        ),
        Page(
            "plots-diff",
            "`dvc plots diff`",
            f"An experiment, `dvc exp run --name shorter {' '.join(settings)}`, is dashed. With"
            " `--temp` it would run beside the workspace and leave that as it is.",
            (folder / "plots-diff/index.html").as_uri(),
            "Validation accuracy by epoch",
        ),
        Listing(
            "`dvc exp show`",
            "The same experiment beside what it was made from.",
            shlex.join(["dvc", *changed]),
            dvc(clone, *changed),
        ),
        Listing(
            "`dvc metrics diff`",
            "Its scores.",
            shlex.join(["dvc", *metrics]),
            dvc(clone, *metrics),
        ),
    ]


def dvc(folder: Path, *words: str) -> str:
    """Return what DVC prints; `folder` and errors as for `output`."""
    return output(["dvc", *words], folder)


def output(line: Sequence[str], folder: Path) -> str:
    """Return what a command prints in a folder.

    Raises:
        UserError: it fails.
    """
    environment = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run(
        line, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"`{shlex.join(line)}` failed: {done.stderr.strip()}")
    return done.stdout


def file_pages(root: Path) -> list[Page]:
    """Return what to look at among the files.

    Raises:
        UserError: the report has not been made.
    """
    report = root / "reports/evaluate/report.html"
    if not report.exists():
        raise UserError(f"{report.relative_to(root)} is missing: run `make repro`")
    shown = "In short"
    return [
        Page("report", "The report", "On a screen.", report.as_uri(), shown),
        Page("report-dark", "The report at night", "As the system asks.", report.as_uri(), shown,
             dark=True),
        Page("report-phone", "The report on a phone", "", report.as_uri(), shown, size=PHONE),
    ]  # fmt: skip


def command_listings(root: Path, folder: Path) -> list[Listing]:
    """Return what commands say: a prediction, and the help of a stage.

    Args:
        root: the checkout.
        folder: a place for the picture that is classified.

    Raises:
        UserError: a command fails.
    """
    picture = folder / "boot.png"
    pixels = read_split(Paths(root).split("test")).images[0]
    on_white = Image.fromarray(255 - pixels)
    on_white.resize((280, 280)).save(picture)
    predict = ["-m", "sidebyside.serving.predict"]
    stage = ["pipeline/train.py", "--help"]
    return [
        Listing(
            "`make predict`",
            "The first image of the test split, enlarged and on a white ground.",
            "make predict IMAGE=boot.png",
            output([sys.executable, *predict, str(picture)], root).replace(f"{folder}/", ""),
        ),
        Listing(
            "`--help`",
            "Every script has it.",
            f"PYTHONPATH=src {shlex.join(['python', *stage])}",
            output([sys.executable, *stage], root),
        ),
    ]


def document(parts: Sequence[Page | Listing]) -> str:
    """Return docs/tour.md."""
    lines = [
        "# A tour",
        "What a user sees after `make repro`. The pictures are taken by `make tour`, so they may be"
        " of an earlier run than the results in README.md; where `make refill` had logged that run,"
        " MLflow shows the times of the logging.",
    ]
    for part in parts:
        lines.append(f"## {part.title}")
        lines += [part.text] if part.text else []
        if isinstance(part, Page):
            lines.append(f"![{part.title}](tour/{part.name}.png)")
        else:
            text = part.output.strip()
            lines.append(f"```sh\n{part.command}\n```")
            lines.append(text if text.startswith("|") else f"```text\n{text}\n```")
    return "\n\n".join(lines) + "\n"


@contextlib.contextmanager
def ui(root: Path) -> Iterator[str]:
    """Give the address of an `mlflow ui` on loopback, for as long as the block lasts.

    Raises:
        UserError: it did not start.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(
        # Said, as a user's MLFLOW_HOST and MLFLOW_BACKEND_STORE_URI would else be taken.
        [
            *(sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", "sqlite:///mlflow.db"),
        ],
        cwd=root,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise UserError("`mlflow ui` did not start")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):  # it ended by itself
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def photograph(driver: Driver, page: Page, address: str) -> bytes:
    """Return a page's picture as PNG.

    Raises:
        UserError: it did not show what it was waited for.
    """
    browser.resize(driver, page.size)
    browser.prefer(driver, "dark" if page.dark else "light")
    if page.address.startswith(address):
        driver.get(f"{address}/favicon.ico")  # of the same origin, whose settings these are
        for name, value in SETTINGS.items():
            driver.execute_script("localStorage.setItem(arguments[0], arguments[1])", name, value)
    driver.get(page.address)
    browser.wait_for(driver, page.shows)
    if page.click:
        driver.find_element("xpath", page.click).click()
    if page.top:
        element = driver.find_element("xpath", f"//*[text()='{page.top}']")
        driver.execute_script("arguments[0].scrollIntoView({block: 'start'})", element)
    time.sleep(3)  # charts and pictures come in after the text
    png: bytes = driver.get_screenshot_as_png()
    return png


if __name__ == "__main__":
    command.run(main)
