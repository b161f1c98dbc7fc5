"""The tour, in a real browser: Debian's chromium."""

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from sidebyside.core.errors import UserError
from tools import browser
from tools.tour import document
from tools.tour_contents import Listing, Page

if TYPE_CHECKING:
    from tests.support.checkout import Checkout


def test_a_page_has_a_heading_a_text_and_a_screenshot() -> None:
    text = document([Page("runs", "The runs", "Sorted.", "http://x", "x")])
    assert "## The runs\n\nSorted.\n\n![The runs](tour/runs.png)\n" in text


def test_a_command_is_followed_by_its_output() -> None:
    table = Listing("Scores", "", "dvc metrics show --md", "| a |\n| - |\n")
    lines = Listing("Help", "", "python x.py --help", "usage: x\n")
    text = document([table, lines])
    assert "## Scores\n\n```sh\ndvc metrics show --md\n```\n\n| a |\n| - |\n" in text
    assert "```sh\npython x.py --help\n```\n\n```text\nusage: x\n```\n" in text


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_missing_store_is_reported_with_advice(own: "Checkout") -> None:
    (own.root / "mlflow.db").unlink()
    done = own.run(*("python", "-m", "tools.tour"), environment={"PYTHONPATH": "src"}, fails=True)
    assert done.stderr == "tour: error: mlflow.db is missing: run `make repro backfill`\n"


def test_a_missing_browser_is_reported_with_advice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"^chromium is missing: .*apt-get"), browser.opened():
        pass


def test_a_browser_that_does_not_start_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (browser.BROWSER, browser.DRIVER):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"^chromium does not start: ") as caught, browser.opened():
        pass
    assert "\n" not in str(caught.value)


def test_a_missing_text_is_reported_with_its_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(browser, "TIMEOUT", 0)
    body = SimpleNamespace(text="Runs")
    driver = SimpleNamespace(current_url="http://x", find_element=lambda *_: body)
    browser.wait_for(driver, "Runs")
    with pytest.raises(UserError, match=r"^http://x does not show 'Models'$"):
        browser.wait_for(driver, "Models")
