"""Pages in a real browser with a fresh profile, opened from disk: Debian's chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from sidebyside.reporting import report
from tests.support.page_checks import (
    CUT_OFF,
    FIRST_COLUMN,
    LOWEST_CONTRAST,
    UNFOLD,
    UNREACHABLE,
    WIDTH,
)
from tests.support.reports import made_up_content
from tools import browser
from tools.browser import PHONE, Driver

PROJECT = Path(__file__).resolve().parents[2]
REPORT = PROJECT / "reports/evaluate/report.html"
PAGES = {  # name → recorded page; `report` is made of made-up results by the present code
    "recorded": REPORT,
    "data": PROJECT / "reports/preprocess/report.html",
    "replications": PROJECT / "replications/report.html",
    "report": None,
}
DESKTOP = (1440, 900)
SIZES = {"desktop": DESKTOP, "phone": PHONE}
A4_TEXT = (688, 1016)  # CSS pixels inside the page's margins of 14 mm


@pytest.fixture(scope="module")
def chromium() -> Iterator[Driver]:
    with browser.opened() as driver:
        driver.set_script_timeout(120)
        yield driver


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of made-up results with drawn figures."""
    page = tmp_path_factory.mktemp("report") / "report.html"
    page.write_text(report.render(made_up_content())[0], encoding="utf-8")
    return page


@pytest.fixture(params=PAGES)
def any_page(request: pytest.FixtureRequest, made_up: Path) -> Path:
    return PAGES[request.param] or made_up


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    return SIZES[request.param]


def show(
    driver: Driver, page: Path, size: tuple[int, int] = DESKTOP, scheme: str = "light"
) -> Driver:
    browser.resize(driver, size)
    browser.prefer(driver, scheme)
    driver.get(page.as_uri())
    return driver


@pytest.fixture
def page(chromium: Driver) -> Driver:
    return show(chromium, REPORT)


def test_the_page_fits_the_window_and_nothing_is_cut_off(
    chromium: Driver, any_page: Path, size: tuple[int, int]
) -> None:
    page = show(chromium, any_page, size)
    page.execute_script(UNFOLD)
    assert page.execute_script(WIDTH) <= size[0]
    assert page.execute_script(CUT_OFF) == []


def test_every_number_can_be_reached(
    chromium: Driver, any_page: Path, size: tuple[int, int]
) -> None:
    page = show(chromium, any_page, size)
    page.execute_script(UNFOLD)
    assert page.execute_script(FIRST_COLUMN) <= 0.6
    assert page.execute_script(UNREACHABLE) == []


def test_the_first_screen_has_the_better_model_and_the_one_to_use(
    chromium: Driver, made_up: Path, size: tuple[int, int]
) -> None:
    page = show(chromium, made_up, size)
    better, to_use = page.find_elements(By.CSS_SELECTOR, "#summary li")[:2]
    assert "The CNN is better than the MLP" in better.text
    assert "percentage points (95 % interval" in better.text
    assert to_use.text.startswith("Model to use")
    assert to_use.rect["y"] + to_use.rect["height"] <= size[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(
    chromium: Driver, any_page: Path, size: tuple[int, int], scheme: str
) -> None:
    from axe_core_python.selenium import Axe

    page = show(chromium, any_page, size, scheme)
    page.execute_script(UNFOLD)
    violations = Axe().run(page)["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in violations] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(chromium: Driver, made_up: Path, scheme: str) -> None:
    page = show(chromium, made_up, scheme=scheme)
    page.execute_script(UNFOLD)
    ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    assert page.execute_script(LOWEST_CONTRAST) >= 4.5  # WCAG 2.2, level AA


def test_charts_are_dark_in_the_dark_and_images_of_the_data_set_keep_their_colours(
    chromium: Driver, made_up: Path
) -> None:
    filters = (
        "return Array.from(document.querySelectorAll('{} img'), e => getComputedStyle(e).filter)"
    )
    for scheme, expected in (("light", "none"), ("dark", "invert(1) hue-rotate(180deg)")):
        page = show(chromium, made_up, scheme=scheme)
        assert {*page.execute_script(filters.format(".chart"))} == {expected}
        assert {*page.execute_script(filters.format(".images"))} == {"none"}


def test_on_paper_everything_is_unfolded_light_and_within_the_page(
    chromium: Driver, made_up: Path
) -> None:
    page = show(chromium, made_up, A4_TEXT)
    media = {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        needed = page.execute_script(WIDTH)
        hidden = page.execute_script(
            "return Array.from(document.querySelectorAll('table, figure, dl'))"
            ".filter(one => !one.checkVisibility() || !one.clientHeight).length"
        )
        ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        inside = page.execute_script(
            "return Array.from(document.querySelectorAll('figure, tr'),"
            " one => getComputedStyle(one).breakInside)"
        )
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert needed <= A4_TEXT[0]
    assert hidden == 0
    assert ground == "rgb(255, 255, 255)"
    assert {*inside} == {"avoid"}


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
        cells = [
            row.find_elements(By.XPATH, "./*")[column].text
            for row in table.find_elements(By.CSS_SELECTOR, "tbody tr")
        ]
        return [float(text.split()[0]) for text in cells if text != "–"]

    button = heading.find_element(By.TAG_NAME, "button")
    button.send_keys(Keys.ENTER)
    assert heading.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(values())
    button.send_keys(Keys.ENTER)
    assert heading.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True)


def test_the_tab_key_reaches_every_link_table_and_heading(page: Driver) -> None:
    page.execute_script(UNFOLD)
    wanted = len(page.find_elements(By.CSS_SELECTOR, "a[href], button, summary, .scroll"))
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
