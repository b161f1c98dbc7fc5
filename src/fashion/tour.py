"""Photograph what a user sees, in a real browser, and write docs/tour.md: `make tour`.

MLflow's UI on the runs of this checkout, DVC's plots and the report, on a screen and on a phone. It
needs Debian's packages chromium and chromium-driver, and the results of `make repro`.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from fashion import command
from fashion.errors import UserError
from fashion.files import write_bytes, write_text
from fashion.store import SEARCH, TRAINING, UNREACHABLE, VIEW, Store, open_store

BROWSER, DRIVER = "chromium", "chromedriver"
DESKTOP, PHONE = (1440, 1000), (390, 844)  # CSS pixels
PATIENCE = 60  # seconds for a page to show what it is waited for
# MLflow's own settings, as its UI keeps them: the pages for training, no assistant beside them.
SETTINGS = {
    "mlflow.workflowType_v1": '"machine_learning"',
    "mlflow.assistant.panelOpen_v1": "false",
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
}


class Page(NamedTuple):
    """One thing to look at."""

    name: str  # of the picture
    title: str
    text: str  # what the reader should see
    address: str
    shows: str  # a text on the page; when it is there, the page has loaded
    click: str = ""  # a text to be clicked before the picture is taken, and scrolled to
    size: tuple[int, int] = DESKTOP
    dark: bool = False


def main() -> None:
    """Take all pictures and write the page."""
    command.parser(__doc__).parse_args()
    root = Path(__file__).resolve().parents[2]
    if not (root / "mlflow.db").exists():
        raise UserError("there is nothing to show: run `make repro`")
    with ui(root) as address, browser() as driver:
        pages = [*mlflow_pages(open_store(root), address), *file_pages(root)]
        for page in pages:
            write_bytes(root / "docs/tour" / f"{page.name}.png", photograph(driver, page, address))
            print(f"{page.name}: {page.title}", flush=True)
    write_text(root / "docs/tour.md", document(pages))


def mlflow_pages(store: Store, address: str) -> list[Page]:
    """Return what to look at in MLflow's UI.

    Raises:
        UserError: the store cannot be reached, or lacks a run.
    """
    found = store.attempt(
        lambda: {
            name: {
                run.info.run_name: run.info.run_id
                for run in store.client.search_runs([store.experiment(name)])
            }
            for name in (TRAINING, SEARCH)
        }
    )
    if found is UNREACHABLE:
        raise UserError(f"MLflow at {store.place} cannot be reached")
    numbers = {name: store.experiment(name) for name in (TRAINING, SEARCH)}
    runs = found[TRAINING]
    pair = [name for name in ("mlp-original-1", "cnn-original-1") if name in runs]
    if len(pair) < 2:
        raise UserError("MLflow lacks the runs of mlp-original-1 and cnn-original-1: `make refill`")
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
            "The link in the experiment's description leads here: sorted by test accuracy, the"
            " columns that matter.",
            f"{training}/runs?viewStateShareKey={VIEW}",
            "cnn-original-1",
        ),
        Page(
            "curves",
            "Curves, overlaid",
            "The second of the three buttons: every metric of all runs in one chart.",
            f"{training}/runs?compareRunsMode=CHART",
            "val_accuracy",
        ),
        Page(
            "compare",
            "Two runs compared",
            "What differs is marked.",
            compared,
            "Run details",
        ),
        Page(
            "confusion",
            "Their confusion matrices",
            "Further down on the same page, under *Artifacts*.",
            compared,
            "confusion.png",
            click="confusion.png",
        ),
        Page(
            "run",
            "One run",
            "Where it comes from: commit, machine, data, seeds.",
            f"{training}/runs/{runs['cnn-original-1']}",
            "About this run",
        ),
        Page(
            "search",
            "A search and its trials",
            "Sorted by validation accuracy.",
            f"{search}/runs?viewStateShareKey={VIEW}",
            "trial-1",
        ),
        Page(
            "registry",
            "The registered model",
            "The best CNN, with its model card.",
            f"{address}/#/models/{TRAINING}-cnn/versions/1",
            "Intended use",
        ),
    ]


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


def document(pages: list[Page]) -> str:
    """Return docs/tour.md."""
    parts = [
        "# A tour",
        "What a user sees after `make repro`. The pictures are taken by `make tour`.",
    ]
    for page in pages:
        parts.append(f"## {page.title}")
        parts += [page.text] if page.text else []
        parts.append(f"![{page.title}](tour/{page.name}.png)")
    return "\n\n".join(parts) + "\n"


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
        [sys.executable, "-m", "mlflow", "ui", "--port", str(port)],
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
        os.killpg(process.pid, 15)
        process.wait()


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Give a headless browser.

    Raises:
        UserError: it is not installed.
    """
    from selenium import webdriver  # noqa: PLC0415 (for development; not needed to train)
    from selenium.webdriver.chrome.service import Service  # noqa: PLC0415

    places = {name: shutil.which(name) for name in (BROWSER, DRIVER)}
    if not all(places.values()):
        raise UserError("chromium is missing: on Debian, apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(places[BROWSER])
    with tempfile.TemporaryDirectory() as profile:
        for switch in (
            *("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars"),
            *("disable-background-networking", "disable-component-update", "disable-sync"),
            f"user-data-dir={profile}",
        ):
            options.add_argument(f"--{switch}")
        driver = webdriver.Chrome(options=options, service=Service(places[DRIVER]))
        try:
            yield driver
        finally:
            driver.quit()


def photograph(driver: Any, page: Page, address: str) -> bytes:
    """Return a page's picture as PNG.

    Raises:
        UserError: it did not show what it was waited for.
    """
    width, height = page.size
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": page.size == PHONE},
    )
    scheme = "dark" if page.dark else "light"
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    if page.address.startswith(address):
        driver.get(f"{address}/favicon.ico")  # of the same origin, whose settings these are
        for name, value in SETTINGS.items():
            driver.execute_script("localStorage.setItem(arguments[0], arguments[1])", name, value)
    driver.get(page.address)
    wait_for(driver, page.shows)
    if page.click:
        element = driver.find_element("xpath", f"//*[text()='{page.click}']")
        element.click()
        driver.execute_script("arguments[0].scrollIntoView({block: 'start'})", element)
    time.sleep(3)  # charts and pictures come in after the text
    png: bytes = driver.get_screenshot_as_png()
    return png


def wait_for(driver: Any, text: str) -> None:
    """Wait until a text stands on the page.

    Raises:
        UserError: it did not come.
    """
    deadline = time.monotonic() + PATIENCE
    while text not in driver.find_element("tag name", "body").text:
        if time.monotonic() > deadline:
            raise UserError(f"{driver.current_url} does not show {text!r}")
        time.sleep(0.2)


if __name__ == "__main__":
    command.run(main)
