"""Take screenshots of MLflow, DVC and the report, and write docs/tour.md: `make tour`.

Needs Debian's packages chromium and chromium-driver, and the results of `make repro`.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sidebyside.config.paths import CHECKOUT
from sidebyside.core.errors import UserError
from sidebyside.core.files import write_bytes, write_text
from sidebyside.workflow import command
from tools import browser, tour_contents
from tools.browser import TIMEOUT, Driver
from tools.tour_contents import Listing, Page


def main() -> None:
    """Take all screenshots and write the page."""
    command.parser(__doc__).parse_args()
    root = CHECKOUT
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # show this checkout's store
    if not (root / "mlflow.db").exists():
        raise UserError("mlflow.db is missing: run `make repro backfill`")
    with tempfile.TemporaryDirectory() as folder, ui(root) as address, browser.opened() as driver:
        parts = [
            *tour_contents.mlflow_pages(root, address),
            *tour_contents.dvc_contents(root, Path(folder)),
            *tour_contents.report_pages(root),
            *tour_contents.command_listings(root, Path(folder)),
        ]
        for part in parts:
            print(part.title, flush=True)
            if isinstance(part, Page):
                picture = photograph(driver, part)
                write_bytes(root / "docs/tour" / f"{part.name}.png", picture)
    write_text(root / "docs/tour.md", document(parts))


def document(parts: Sequence[Page | Listing]) -> str:
    """Return docs/tour.md."""
    lines = [
        "# A tour",
        "What does a user see after `make repro`? `make tour` takes these screenshots; they may"
        " show an earlier run than README.md. Runs logged by `make backfill` show the time of"
        " logging, not of training.",
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
    """Run `make ui` during the block, and yield its address.

    Raises:
        UserError: the server did not start.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(root / "src")}
    environment.pop("MLFLOW_BACKEND_STORE_URI", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "sidebyside.tracking.ui", "--port", str(port)],
        cwd=root,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + TIMEOUT
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise UserError("`make ui` did not start")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):  # already ended
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def photograph(driver: Driver, page: Page) -> bytes:
    """Return the screenshot of a page as PNG.

    Raises:
        UserError: the page did not show the expected text.
    """
    browser.resize(driver, page.size)
    browser.prefer(driver, "dark" if page.dark else "light")
    driver.get(page.address)
    browser.wait_for(driver, page.shows)
    if page.click:
        driver.find_element("xpath", page.click).click()
    if page.top:
        element = driver.find_element("xpath", f"//*[text()='{page.top}']")
        driver.execute_script("arguments[0].scrollIntoView({block: 'start'})", element)
    time.sleep(3)  # charts and images appear after the text
    png: bytes = driver.get_screenshot_as_png()
    return png


if __name__ == "__main__":
    command.run(main)
