"""Fixtures of the tests of tracking."""

from tests.support.store_fixtures import empty_store, model, pixels, root, with_model

__all__ = ["empty_store", "model", "pixels", "root", "with_model"]
