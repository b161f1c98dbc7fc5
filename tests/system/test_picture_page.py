"""The scoring server's page in a real browser with a new profile: Debian's chromium."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from sidebyside.serving.picture import Picture, read_picture
from sidebyside.serving.request_body import MAXIMUM_SIZE
from tests.support import pictures
from tests.support.datasets import CLASS_NAMES, FASHION_MNIST
from tests.support.page_checks import LOWEST_CONTRAST, WIDTH
from tests.support.scoring import Running, serving
from tools import browser
from tools.browser import DESKTOP, PHONE, Driver

SHIRT = CLASS_NAMES.index("Shirt")
PROBABILITIES = np.full(10, 0.01, np.float32)
PROBABILITIES[SHIRT] = 0.91
PREDICTED = "Shirt, 91.0 %"
SHOWN_PIXELS = """
const canvas = document.querySelector("canvas");
const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
return [canvas.width, canvas.height, Array.from(data)];
"""
DROP = """
const bytes = Uint8Array.from(atob(arguments[0]), character => character.charCodeAt(0));
const transfer = new DataTransfer();
transfer.items.add(new File([bytes], arguments[1]));
document.body.dispatchEvent(
  new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
"""
PASTE = (
    DROP.replace("DragEvent", "ClipboardEvent")
    .replace("dataTransfer", "clipboardData")
    .replace('"drop"', '"paste"')
)
CHOOSE_LARGE = f"""
const transfer = new DataTransfer();
transfer.items.add(new File([new Uint8Array({MAXIMUM_SIZE} + 1)], "large.png"));
const input = document.querySelector("input");
input.files = transfer.files;
input.dispatchEvent(new Event("change"));
"""
SEND_FROM_ANOTHER_SITE = """
const done = arguments[arguments.length - 1];
Promise.allSettled(["invocations", "picture"].flatMap(path => [
  fetch(arguments[0] + path, {method: "POST", mode: "no-cors", body: arguments[1]}),
  fetch(arguments[0] + path, {
    method: "POST", body: arguments[1], headers: {"Content-Type": "application/json"}}),
])).then(settled => done(settled.map(one => one.status)));
"""

asked: list[NDArray[np.uint8]] = []  # images that the model was shown


def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    asked.append(images)
    return np.tile(PROBABILITIES, (len(images), 1))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(predict, tmp_path_factory.mktemp("uploads")) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Driver]:
    with browser.opened() as driver:
        yield driver


@pytest.fixture
def page(chromium: Driver, server: Running) -> Driver:
    browser.resize(chromium, DESKTOP)
    browser.prefer(chromium, "light")
    chromium.get(f"{server.url}/")
    return chromium


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shirt.png"
    path.write_bytes(pictures.SAMPLES["PNG"])
    return path


def choose(page: Driver, file: Path) -> None:
    page.find_element(By.TAG_NAME, "input").send_keys(str(file))


def result(page: Driver) -> list[str]:
    """Return the words of each row of the table, once the picture is classified."""
    browser.wait_for(page, PREDICTED)
    rows = page.find_elements(By.CSS_SELECTOR, "#classes tr")
    return [" ".join(row.text.split()) for row in rows]


def assert_shown(page: Driver, expected: Picture) -> None:
    """Check that the page shows a grey picture as the model saw it."""
    width, height, data = page.execute_script(SHOWN_PIXELS)
    shown = np.array(data, np.uint8).reshape(height, width, 4)
    assert (shown[..., 3] == 255).all()
    for channel in range(3):
        assert np.array_equal(shown[..., channel], expected.pixels)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_chosen_picture_is_shown_as_the_model_saw_it_with_the_classes(
    page: Driver, file: Path, size: tuple[int, int], scheme: str
) -> None:
    browser.resize(page, size)
    browser.prefer(page, scheme)
    assert page.execute_script(WIDTH) <= size[0]
    choose(page, file)
    rows = result(page)
    assert rows[0] == "Shirt 91.0 %"
    assert {row.rsplit(" ", 2)[0] for row in rows} == set(CLASS_NAMES)
    expected = read_picture(file, FASHION_MNIST)
    assert_shown(page, expected)
    steps = page.find_elements(By.CSS_SELECTOR, "#steps li")
    assert [step.text for step in steps] == list(expected.steps)
    widths = [bar.size["width"] for bar in page.find_elements(By.CLASS_NAME, "bar")]
    assert widths[0] > 50 * widths[1] > 0
    assert page.execute_script("return document.querySelector('#original').naturalWidth") > 0
    assert page.execute_script(WIDTH) <= size[0]
    assert page.execute_script(LOWEST_CONTRAST) >= 4.5  # WCAG 2.2, level AA
    ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    assert not page.get_log("browser")  # no error, nothing that the page's policy blocks


def test_of_a_kind_that_browsers_do_not_show_the_page_shows_only_what_the_model_saw(
    page: Driver, file: Path, tmp_path: Path
) -> None:
    pgm = tmp_path / "shirt.pgm"
    Image.open(file).convert("L").save(pgm, "PPM")
    choose(page, pgm)
    result(page)
    assert_shown(page, read_picture(pgm, FASHION_MNIST))
    original = page.find_element(By.ID, "original")
    WebDriverWait(page, 10).until(lambda _: not original.is_displayed())
    choose(page, file)
    result(page)
    assert original.is_displayed()


@pytest.mark.parametrize("script", [DROP, PASTE], ids=["dropped", "pasted"])
def test_a_picture_may_be_dropped_or_pasted(page: Driver, file: Path, script: str) -> None:
    page.execute_script(script, base64.b64encode(file.read_bytes()).decode(), "shirt.png")
    assert len(result(page)) == len(CLASS_NAMES)
    assert_shown(page, read_picture(file, FASHION_MNIST))


def test_what_is_not_a_picture_gets_one_sentence_and_the_next_picture_a_result(
    page: Driver, file: Path
) -> None:
    page.execute_script(DROP, base64.b64encode(b"a shirt").decode(), "shirt.txt")
    browser.wait_for(page, "the picture is not a PNG")
    alert = page.find_element(By.CSS_SELECTOR, "[role=alert]")
    assert len(alert.text.splitlines()) == 1
    assert not page.find_element(By.ID, "result").is_displayed()
    choose(page, file)
    assert result(page)
    assert not alert.text


def test_a_file_that_is_too_large_is_not_sent(page: Driver) -> None:
    before = len(asked)
    page.execute_script(CHOOSE_LARGE)
    browser.wait_for(page, f"The file exceeds {MAXIMUM_SIZE} bytes.")
    assert len(asked) == before


def test_the_page_is_used_with_the_keyboard(page: Driver) -> None:
    reached = []
    for _ in range(2):
        ActionChains(page).send_keys(Keys.TAB).perform()
        focus = page.switch_to.active_element
        assert focus.value_of_css_property("outline-style") == "solid"
        reached.append(focus.tag_name)
    assert reached == ["input", "a"]


def test_every_image_table_heading_and_input_has_an_accessible_name(
    page: Driver, file: Path
) -> None:
    choose(page, file)
    result(page)
    nodes = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    elements = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    for role in ("image", "table", "heading", "link", "button", "rowheader", "list"):
        names = [name for other, name in elements if other == role]
        assert names and all(names), role
    assert len([role for role, _ in elements if role == "main"]) == 1


def test_the_page_of_another_site_cannot_use_the_server(
    chromium: Driver, server: Running, file: Path
) -> None:
    before = len(asked)
    chromium.get("data:text/html,<title>another site</title>")
    body = json.dumps({"inputs": [[[0] * 28] * 28]})
    answers = chromium.execute_async_script(SEND_FROM_ANOTHER_SITE, f"{server.url}/", body)
    assert answers.count("rejected") >= 2  # those with a type that a form cannot send
    assert len(asked) == before
