from pathlib import Path

import pytest

from sidebyside.core.errors import UserError
from sidebyside.data import memory


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 MiB of memory that is not in use."""
    (tmp_path / "meminfo").write_text("MemTotal:  99999 kB\nMemAvailable:   8192 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    return tmp_path


def test_the_available_memory_is_that_of_the_machine(system: Path) -> None:
    assert memory.available_memory() == 8 << 20
    (system / "memory.max").write_text("max\n")
    (system / "memory.current").write_text("5\n")
    assert memory.available_memory() == 8 << 20


def test_the_available_memory_is_limited_by_the_container(system: Path) -> None:
    (system / "memory.max").write_text(f"{4 << 20}\n")
    (system / "memory.current").write_text(f"{1 << 20}\n")
    assert memory.available_memory() == 3 << 20


def test_images_that_do_not_fit_are_refused(system: Path) -> None:
    memory.require_memory(2 << 20, "x")
    with pytest.raises(UserError, match="x: images of 3 MiB need about 12 MiB of memory, but only"):
        memory.require_memory(3 << 20, "x")


def test_a_machine_that_does_not_state_its_memory_is_trusted(system: Path) -> None:
    (system / "meminfo").unlink()
    assert memory.available_memory() is None
    memory.require_memory(1 << 60, "x")
