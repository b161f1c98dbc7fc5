"""The recorded report in a real browser, opened from disk: Debian's chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.page_checks import LOWEST_CONTRAST, WIDTH
from tools import browser
from tools.browser import DESKTOP, PHONE, Driver

PROJECT = Path(__file__).resolve().parents[2]
REPORT = PROJECT / "reports/evaluate/report.html"
A4_TEXT = (688, 1016)  # CSS pixels inside the page's margins of 14 mm


@pytest.fixture(scope="module")
def chromium() -> Iterator[Driver]:
    with browser.opened() as driver:
        yield driver


@pytest.fixture
def page(chromium: Driver) -> Driver:
    browser.resize(chromium, DESKTOP)
    browser.prefer(chromium, "light")
    chromium.get(REPORT.as_uri())
    return chromium


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_fits_the_window(page: Driver, size: tuple[int, int]) -> None:
    browser.resize(page, size)
    assert page.execute_script(WIDTH) <= size[0]


def test_nothing_is_cut_off_in_print(page: Driver) -> None:
    browser.resize(page, A4_TEXT)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    needed = page.execute_script(WIDTH)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert needed <= A4_TEXT[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(page: Driver, scheme: str) -> None:
    browser.prefer(page, scheme)
    ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    assert page.execute_script(LOWEST_CONTRAST) >= 4.5  # WCAG 2.2, level AA


def test_nothing_is_loaded_from_other_addresses(page: Driver) -> None:
    pictures = page.execute_script(
        "return Array.from(document.images, image => [image.currentSrc, image.naturalWidth])"
    )
    assert pictures
    assert all(source.startswith("data:") and width > 0 for source, width in pictures)
    others = "link:not([href^='data:']), script[src], iframe, object, embed"
    assert not page.find_elements(By.CSS_SELECTOR, others)


def test_a_table_can_be_sorted_with_the_keyboard(page: Driver) -> None:
    heading = page.find_element(By.XPATH, "(//th[contains(., 'accuracy')])[1]")
    table = heading.find_element(By.XPATH, "./ancestor::table")
    column = len(heading.find_elements(By.XPATH, "./preceding-sibling::th"))

    def values() -> list[float]:
        return [
            float(row.find_elements(By.XPATH, "./*")[column].text.split()[0])
            for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")
        ]

    button = heading.find_element(By.TAG_NAME, "button")
    button.send_keys(Keys.ENTER)
    assert heading.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(values())
    button.send_keys(Keys.ENTER)
    assert heading.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True)


def test_the_tab_key_reaches_every_link_table_and_heading(page: Driver) -> None:
    wanted = len(page.find_elements(By.CSS_SELECTOR, "a[href], button, .scroll"))
    reached = set()
    for _ in range(wanted):
        page.switch_to.active_element.send_keys(Keys.TAB)
        focus = page.switch_to.active_element
        reached.add(focus.id)
        assert focus.value_of_css_property("outline-style") == "solid", focus.text
    assert len(reached) == wanted


def test_every_image_table_and_heading_has_an_accessible_name(page: Driver) -> None:
    nodes = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    elements = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    for role in ("image", "table", "heading", "link", "button"):
        names = [name for other, name in elements if other == role]
        assert names and all(names), role
    assert len([role for role, _ in elements if role == "main"]) == 1
