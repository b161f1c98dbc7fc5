import os

import pytest

from sidebyside.core.cores import cores, share
from sidebyside.core.errors import UserError


def test_all_cores_of_the_process_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CORES", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5})
    assert cores() == 3


def test_cores_limits_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORES", "7")
    assert cores() == 7


@pytest.mark.parametrize(("number", "part"), [(1, "5"), (2, "2"), (9, "1")])
def test_processes_that_share_the_cores_have_equal_parts(
    number: int, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORES", "5")
    assert share(number) == {"CORES": part, "TF_NUM_INTEROP_THREADS": part}


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "²"])
def test_another_value_of_cores_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORES", value)
    with pytest.raises(UserError, match=r"^CORES='.*' is not a whole number from 1: set it to"):
        cores()
