import gc
import sys
from collections.abc import Iterator

import pytest

from sidebyside.core import imports


@pytest.fixture(autouse=True)
def collector_restored() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


def test_garbage_collection_is_off_in_the_block_only() -> None:
    with imports.fast_imports():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_garbage_collection_that_was_off_stays_off() -> None:
    gc.disable()
    with imports.fast_imports():
        pass
    assert not gc.isenabled()


def test_imported_objects_are_exempt_from_garbage_collection() -> None:
    with imports.fast_imports():
        loaded = [object]
    assert gc.get_freeze_count() > 0
    assert not any(each is loaded for each in gc.get_objects())


def test_an_excluded_package_cannot_be_imported_until_the_block_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with imports.fast_imports(without=["colorsys"]), pytest.raises(ModuleNotFoundError):
        import colorsys
    import colorsys  # noqa: F401


def test_an_excluded_package_that_is_already_imported_stays() -> None:
    with imports.fast_imports(without=["pytest"]):
        assert sys.modules["pytest"] is pytest


def test_a_failed_import_restores_garbage_collection_and_excluded_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with pytest.raises(ImportError), imports.fast_imports(without=["colorsys"]):
        raise ImportError
    assert gc.isenabled()
    import colorsys  # noqa: F401
