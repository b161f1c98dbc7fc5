"""The environment is built beside the one in use and swapped in; a failure leaves it alone."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from sidebyside.core.environment import pinned
from tools import install

LOCK = """\
attrs==25.1.0 \\
    --hash=sha256:1
uv==0.13.8 \\
    --hash=sha256:0000000000000000000000000000000000000000000000000000000000000000
    # via sidebyside (pyproject.toml:install)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose environment works, and whose lock has a hash that no file has."""
    for name, text in {
        "requirements.lock": LOCK,
        ".dvc/plots/page.py": "",
        "tools/install.py": "",
        ".venv/installed": "",
        ".venv/bin/python": "in use",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_variables_that_redirect_an_installation_are_dropped() -> None:
    hostile = {
        "PIP_USER": "1",
        "PIP_TARGET": "/elsewhere",
        "PIP_PREFIX": "/elsewhere",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "UV_PYTHON": "3.9",
        "UV_TARGET": "/elsewhere",
        "UV_NO_VERIFY_HASHES": "1",
        "PYTHONHOME": "/elsewhere",
        "PYTHONPATH": "/elsewhere",
        "VIRTUAL_ENV": "/elsewhere",
        "CONDA_PREFIX": "/elsewhere",
    }
    assert install.environment(hostile) == pinned()
    assert pinned()["PIP_USER"] == "0"


@pytest.mark.parametrize(
    "name", ["PIP_INDEX_URL", "UV_INDEX", "PATH", "HOME", "HTTPS_PROXY", "SSL_CERT_FILE"]
)
def test_variables_that_lead_to_a_package_index_are_kept(name: str) -> None:
    assert install.environment({name: "x"})[name] == "x"


def test_the_entry_of_a_package_has_its_hashes() -> None:
    assert install.entry(LOCK, "attrs") == "attrs==25.1.0 \\\n    --hash=sha256:1\n"
    with pytest.raises(install.InstallError, match=r"requirements\.lock has no pip"):
        install.entry(LOCK, "pip")


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_an_unsupported_python_is_refused(
    version: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    with pytest.raises(install.InstallError, match=rf"3.{version[1]} is not supported: install"):
        install.check_python()


@pytest.mark.slow
def test_a_package_with_another_hash_is_refused_in_one_line_and_the_environment_stays(
    project: Path,
) -> None:
    with pytest.raises(install.InstallError) as refused:
        install.install(project)
    assert "cannot install uv: " in str(refused.value)
    assert "\n" not in str(refused.value)
    assert (project / ".venv/bin/python").read_text() == "in use"
    assert not (project / ".venv.new").exists()


def test_an_interruption_leaves_the_environment(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(root: Path, target: Path) -> None:
        target.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(install, "build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        install.install(project)
    assert (project / ".venv/bin/python").read_text() == "in use"
    assert not (project / ".venv.new").exists()


def test_a_new_environment_replaces_the_old_one(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "build", lambda root, target: target.mkdir())
    install.install(project)
    assert not list((project / ".venv").iterdir())
    assert not (project / ".venv.old").exists()


def test_a_second_installation_waits_and_finds_the_environment_built(project: Path) -> None:
    program = "import sys; from pathlib import Path; from tools import install;"
    program += " install.install(Path(sys.argv[1]))"
    command = [sys.executable, "-c", program, str(project)]
    with (project / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen(
            command, cwd=Path(install.__file__).parents[1], stdout=subprocess.PIPE, text=True
        ) as second:
            assert second.stdout is not None
            assert "waiting" in second.stdout.readline()
            (project / ".venv/installed").touch()
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert second.wait(30) == 0
    assert (project / ".venv/bin/python").read_text() == "in use"
