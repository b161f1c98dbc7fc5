import pytest

from sidebyside.core import progress_bar


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_shown_only_on_a_terminal(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_bar, "_on_terminal", lambda: terminal)
    with progress_bar.transfer_bar("a file", 2000) as bar:
        bar.update(2000)
    assert ("a file" in capsys.readouterr().err) == terminal
