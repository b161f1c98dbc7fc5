"""A headless browser: opens a page, waits until it shows what it should, photographs it."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from sidebyside.core.errors import UserError

BROWSER, DRIVER = "chromium", "chromedriver"
PATIENCE = 60  # seconds for a page to show what it is waited for
DESKTOP, PHONE = (1440, 1000), (390, 844)  # CSS pixels

Driver = Any  # selenium's, which is for development and not imported before it is used


@contextlib.contextmanager
def opened() -> Iterator[Driver]:
    """Give a headless browser for as long as the block lasts.

    Raises:
        UserError: it is not installed, or does not start.
    """
    from selenium import webdriver  # noqa: PLC0415 (for development; not needed to train)
    from selenium.common.exceptions import WebDriverException  # noqa: PLC0415
    from selenium.webdriver.chrome.service import Service  # noqa: PLC0415

    places = {name: shutil.which(name) for name in (BROWSER, DRIVER)}
    if not all(places.values()):
        raise UserError("chromium is missing: on Debian, apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(places[BROWSER])
    # Its processes may still write there when it has quit.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for switch in (
            *("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars"),
            *("disable-background-networking", "disable-component-update", "disable-sync"),
            f"user-data-dir={profile}",
        ):
            options.add_argument(f"--{switch}")
        try:
            driver = webdriver.Chrome(options=options, service=Service(places[DRIVER]))
        except WebDriverException as error:
            reason = (error.msg or "no reason given").splitlines()[0]
            raise UserError(f"chromium does not start: {reason}") from None
        try:
            yield driver
        finally:
            driver.quit()


def resize(driver: Driver, size: tuple[int, int]) -> None:
    """Give the page a width and a height in CSS pixels; the phone's is a touch screen's."""
    width, height = size
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE},
    )


def prefer(driver: Driver, scheme: str) -> None:
    """Let the system ask for colours that are `light` or `dark`."""
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )


def wait_for(driver: Driver, text: str) -> None:
    """Wait until a text stands on the page.

    Raises:
        UserError: it did not come.
    """
    deadline = time.monotonic() + PATIENCE
    while text not in driver.find_element("tag name", "body").text:
        if time.monotonic() > deadline:
            raise UserError(f"{driver.current_url} does not show {text!r}")
        time.sleep(0.2)
