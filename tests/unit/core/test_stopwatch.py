import time
from pathlib import Path

import pytest

from sidebyside.core.errors import UserError
from sidebyside.core.stopwatch import Stopwatch


def test_a_stopwatch_resumes_from_the_seconds_that_a_killed_process_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 103.0, 109.0, 5.0, 7.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    killed = Stopwatch(tmp_path / "seconds.json")
    killed.save()
    assert killed.seconds == 9.0  # the last six seconds are lost because their work is repeated
    assert Stopwatch(tmp_path / "seconds.json").seconds == 3.0 + 2.0


@pytest.mark.parametrize(
    ("content", "reason"), [('"1"', "is damaged: delete it"), ("1.", "is not valid JSON")]
)
def test_a_damaged_stopwatch_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "seconds.json").write_text(content)
    with pytest.raises(UserError, match=rf"seconds\.json {reason}"):
        Stopwatch(tmp_path / "seconds.json")
