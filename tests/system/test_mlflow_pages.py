"""MLflow's pages as `make ui` shows them in a new browser, on a desktop and on a phone."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tools import browser
from tools.browser import DESKTOP, PHONE, Driver
from tools.tour import ui

if TYPE_CHECKING:
    from tests.support.checkout import Checkout

SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])


@pytest.fixture(scope="module")
def project(reproduced: "Checkout", checkout_from: Callable[..., "Checkout"]) -> "Checkout":
    checkout: Checkout = checkout_from(reproduced)
    return checkout


@pytest.fixture(scope="module")
def address(project: "Checkout") -> Iterator[str]:
    with ui(project.root) as found:
        yield found


@pytest.fixture
def fresh(size: tuple[int, int]) -> Iterator[Driver]:
    """A browser with a new profile."""
    with browser.opened() as driver:
        browser.resize(driver, size)
        yield driver


@SIZES
def test_the_first_page_is_the_table_of_runs_and_stays_so_after_a_reload(
    fresh: Driver, address: str, size: tuple[int, int]
) -> None:
    fresh.get(address)
    for _ in range(2):
        browser.wait_for(fresh, "cnn-original-1")
        text = fresh.find_element("tag name", "body").text
        assert "Assistant" not in text and "Overview" not in text
        assert "Run Name" in headers(fresh)
        if size == DESKTOP:
            assert "test_accuracy" in headers(fresh)
        fresh.refresh()


def headers(driver: Driver) -> list[str]:
    """Return the texts of the visible column headers of the table of runs."""
    found = driver.find_elements("css selector", "[role=columnheader]")
    return [one.text for one in found if one.text]
