"""Control a headless Chromium: open pages, wait for their text, take screenshots."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from sidebyside.core.errors import UserError

BROWSER, DRIVER = "chromium", "chromedriver"
TIMEOUT = 60  # seconds for a page to show the expected text
DESKTOP, PHONE = (1440, 1000), (390, 844)  # CSS pixels

Driver = Any  # a selenium driver; selenium is a development dependency and imported on use


@contextlib.contextmanager
def opened() -> Iterator[Driver]:
    """Open a headless browser during the block.

    Raises:
        UserError: the browser is not installed, or does not start.
    """
    from selenium import webdriver  # noqa: PLC0415 (development dependency)
    from selenium.common.exceptions import WebDriverException  # noqa: PLC0415
    from selenium.webdriver.chrome.service import Service  # noqa: PLC0415

    executables = {name: shutil.which(name) for name in (BROWSER, DRIVER)}
    if not all(executables.values()):
        raise UserError("chromium is missing: on Debian, apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(executables[BROWSER])
    # Its processes may still write to the profile after it has quit.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for switch in (
            *("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars"),
            *("disable-background-networking", "disable-component-update", "disable-sync"),
            f"user-data-dir={profile}",
        ):
            options.add_argument(f"--{switch}")
        try:
            driver = webdriver.Chrome(options=options, service=Service(executables[DRIVER]))
        except WebDriverException as error:
            reason = (error.msg or "no reason given").splitlines()[0]
            raise UserError(f"chromium does not start: {reason}") from None
        try:
            yield driver
        finally:
            driver.quit()


def resize(driver: Driver, size: tuple[int, int]) -> None:
    """Set the size of the page in CSS pixels; PHONE emulates a touch screen."""
    width, height = size
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE},
    )


def prefer(driver: Driver, scheme: str) -> None:
    """Set the preferred colour scheme, `light` or `dark`."""
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )


def wait_for(driver: Driver, text: str) -> None:
    """Wait until a text appears on the page.

    Raises:
        UserError: the text did not appear in time.
    """
    deadline = time.monotonic() + TIMEOUT
    while text not in driver.find_element("tag name", "body").text:
        if time.monotonic() > deadline:
            raise UserError(f"{driver.current_url} does not show {text!r}")
        time.sleep(0.2)
