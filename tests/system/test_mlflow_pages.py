"""MLflow's pages as `make ui` shows them in a new browser, on a desktop and on a phone."""

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.support.wait import WebDriverWait

from tests.support.stores import REGISTERED, SEARCH, TRAINING, client_of, runs_of
from tools import browser
from tools.browser import DESKTOP, PHONE, Driver
from tools.tour import ui

if TYPE_CHECKING:
    from tests.support.checkout import Checkout

COLUMNS = {
    *("best_val_accuracy", "test_accuracy", "difference", "dvc.experiment"),
    *("learning_rate", "epochs"),  # what the searches and the experiment varied
}

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"]),
]


@pytest.fixture(scope="module")
def project(reproduced: "Checkout", checkout_from: Callable[..., "Checkout"]) -> Path:
    """A project with the runs of the pipeline and of a DVC experiment."""
    checkout: Checkout = checkout_from(reproduced)
    checkout.commit()
    changes = ("-S", "train.budget.mlp.epochs=1")
    checkout.run("dvc", "exp", "run", "--temp", "--name", "shorter", *changes)
    return checkout.root


@pytest.fixture(scope="module")
def address(project: Path) -> Iterator[str]:
    with ui(project) as found:
        yield found


@pytest.fixture
def fresh(
    size: tuple[int, int], address: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Driver]:
    """A browser with a new profile; the last page is kept as a picture."""
    with browser.opened() as driver:
        browser.resize(driver, size)
        driver.get(address)
        yield driver
        time.sleep(3)  # charts appear after their names
        driver.save_screenshot(str(tmp_path / f"{request.node.name}.png"))


def click(driver: Driver, xpath: str) -> None:
    """Click an element when it is there, even if it is outside the window."""
    found = WebDriverWait(driver, browser.TIMEOUT).until(
        lambda page: page.find_elements("xpath", xpath), xpath
    )
    driver.execute_script("arguments[0].click()", found[0])


def text(driver: Driver) -> str:
    return str(driver.find_element("tag name", "body").text)


def experiment_id(project: Path, name: str) -> str:
    found = client_of(project).get_experiment_by_name(name)
    assert found
    return str(found.experiment_id)


def test_the_first_page_is_the_table_of_runs_and_stays_so_after_a_reload(
    fresh: Driver, size: tuple[int, int]
) -> None:
    for _ in range(2):
        browser.wait_for(fresh, "cnn-original-1")
        assert "Assistant" not in text(fresh) and "Overview" not in text(fresh)
        if size == DESKTOP:
            WebDriverWait(fresh, browser.TIMEOUT).until(
                lambda page: columns(page, size[0]) >= COLUMNS, str(COLUMNS)
            )
            assert not {"optimizer", "batch_norm", "seed"} & columns(fresh, size[0])
            assert "mlp-original-1 (shorter)" in text(fresh)
            assert "comparison (shorter)" in text(fresh)
        assert not re.search(r"\.\d{7}", text(fresh))
        fresh.refresh()
    browser.wait_for(fresh, "cnn-original-1")


def columns(driver: Driver, width: int) -> set[str]:
    """Return the columns of the table of runs that are inside the window."""
    headers = driver.find_elements("css selector", "[role=columnheader]")
    return {one.text for one in headers if one.rect["x"] + one.rect["width"] <= width}


def test_two_clicks_lead_to_both_confusion_matrices_and_their_difference(
    fresh: Driver, size: tuple[int, int]
) -> None:
    click(fresh, "//a[contains(., 'comparison')]")
    click(fresh, "//a[text()='side by side']")
    WebDriverWait(fresh, browser.TIMEOUT).until(lambda page: len(page.window_handles) == 2)
    fresh.switch_to.window(fresh.window_handles[1])
    browser.resize(fresh, size)
    until = WebDriverWait(fresh, browser.TIMEOUT)
    until.until(lambda page: page.find_elements("tag name", "iframe"))
    fresh.switch_to.frame(fresh.find_element("tag name", "iframe"))
    until.until(lambda page: len(page.find_elements("tag name", "caption")) > 2)
    first, second, difference = fresh.find_elements("css selector", ".matrices table")[:3]
    assert [one.find_element("tag name", "caption").text for one in (first, second)] == [
        "mlp-original",
        "cnn-original",
    ]
    assert difference.text.startswith("Difference: cnn-original − mlp-original")
    if size == DESKTOP:
        assert first.rect["y"] == second.rect["y"]  # beside each other


def test_one_click_leads_to_the_curves_of_both_architectures_in_one_chart(
    fresh: Driver, size: tuple[int, int]
) -> None:
    click(fresh, "//input[@name='runs-view-mode' and @value='CHART']")
    browser.wait_for(fresh, "Curves")
    browser.wait_for(fresh, "cnn-original-1 (val_accuracy)")


def test_parallel_coordinates_show_what_each_search_varied(
    fresh: Driver, project: Path, address: str, size: tuple[int, int]
) -> None:
    number = experiment_id(project, SEARCH.name)
    fresh.get(f"{address}/#/experiments/{number}/runs?compareRunsMode=CHART")
    for shown in ("MLP trials", "CNN trials"):
        browser.wait_for(fresh, shown)
    for shown in ("cnn_val_accuracy", "learning_rate"):
        WebDriverWait(fresh, browser.TIMEOUT).until(partial(has_axis, shown), shown)
    assert not has_axis("optimizer", fresh)


def has_axis(name: str, driver: Driver) -> bool:
    """Return whether a chart has an axis of a name."""
    found = driver.execute_script(
        "return Array.from(document.querySelectorAll('svg text'), one => one.textContent)"
    )
    return name in found


def test_the_note_of_a_run_says_what_it_is_and_how_to_make_it_again(
    fresh: Driver, project: Path, address: str, size: tuple[int, int]
) -> None:
    found = {run.info.run_name: run.info for run in runs_of(project, TRAINING)}
    run = found["mlp-original-1 (shorter)"]
    fresh.get(f"{address}/#/experiments/{run.experiment_id}/runs/{run.run_id}")
    browser.wait_for(fresh, "MLP trained on the original training data of Fashion-MNIST")
    again = "dvc exp apply shorter && dvc repro train@mlp-original-1"
    assert again in " ".join(text(fresh).split())


def test_the_page_of_a_registered_model_says_how_to_load_it(
    fresh: Driver, address: str, size: tuple[int, int]
) -> None:
    fresh.get(f"{address}/#/models/{REGISTERED['cnn']}/versions/1")
    browser.wait_for(fresh, "Intended use")
    for shown in ("mlflow.keras.load_model(", "Ankle boot", "macro F1", "Confusion matrix"):
        assert shown in text(fresh), shown


def test_a_worse_model_of_an_experiment_is_no_version_of_the_registered_one(
    fresh: Driver, project: Path, address: str, size: tuple[int, int]
) -> None:
    for name in REGISTERED.values():
        fresh.get(f"{address}/#/models/{name}")
        browser.wait_for(fresh, "Version 1")
        assert "Version 2" not in text(fresh)
