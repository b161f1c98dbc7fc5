"""Tests that need servers, a browser or minutes: all of them are marked `system`."""

from pathlib import Path

import pytest

from tests.support.store_fixtures import empty_store, model, pixels, root, with_model

__all__ = ["empty_store", "model", "pixels", "root", "with_model"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.system)
