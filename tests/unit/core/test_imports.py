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


def test_nothing_is_collected_while_packages_load_but_afterwards() -> None:
    with imports.fast_imports():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_collection_that_was_off_stays_off() -> None:
    gc.disable()
    with imports.fast_imports():
        pass
    assert not gc.isenabled()


def test_what_was_loaded_is_left_out_of_every_collection() -> None:
    with imports.fast_imports():
        loaded = [object]
    assert gc.get_freeze_count() > 0
    assert not any(each is loaded for each in gc.get_objects())


def test_a_package_seems_absent_while_others_load_and_loads_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with imports.fast_imports(without=["colorsys"]), pytest.raises(ModuleNotFoundError):
        import colorsys
    import colorsys  # noqa: F401


def test_a_package_that_is_loaded_already_stays() -> None:
    with imports.fast_imports(without=["pytest"]):
        assert sys.modules["pytest"] is pytest


def test_a_failed_import_leaves_the_collector_on_and_no_package_absent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with pytest.raises(ImportError), imports.fast_imports(without=["colorsys"]):
        raise ImportError
    assert gc.isenabled()
    import colorsys  # noqa: F401
