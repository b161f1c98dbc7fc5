"""The environment is built beside the one in use and swapped in; a failure leaves it alone."""

import fcntl
import os
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
    with pytest.raises(install.InstallError, match=r"^requirements\.lock has no pip$"):
        install.entry(LOCK, "pip")


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_an_unsupported_python_is_refused(
    version: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    with pytest.raises(install.InstallError, match=rf"3.{version[1]} is not supported: install"):
        install.check_python()


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


def test_an_environment_left_by_a_kill_in_the_middle_of_the_swap_is_restored(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(root: Path, target: Path) -> None:
        raise install.InstallError

    (project / ".venv").rename(project / ".venv.old")
    monkeypatch.setattr(install, "build", refused)
    with pytest.raises(install.InstallError):
        install.install(project)
    assert (project / ".venv/bin/python").read_text() == "in use"


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("", ""),
        (
            "Traceback\n  line\nOSError: [Errno 28] No space left",
            "OSError: [Errno 28] No space left",
        ),
        (
            "note\nerror: Failed to download `a==1`\n  ╰─▶ Hash mismatch\n      Expected:\n",
            "error: Failed to download `a==1` Hash mismatch Expected:",
        ),
        ("WARNING: retrying\nERROR: no a\nERROR: none", "ERROR: no a ERROR: none"),
        (
            "Configuration file could not be loaded.\n'x'\n",
            "Configuration file could not be loaded. 'x'",
        ),
        ("error: " + "word " * 400, "error:" + " word" * 198 + " …"),
    ],
)
def test_an_error_is_whole_and_in_one_line(output: str, error: str) -> None:
    assert install.error_of(output) == error


def test_an_edited_lock_file_is_named_with_the_cure(project: Path) -> None:
    assert install.advice(project) == ""
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "state"]):
        command = ["git", "-c", "user.name=T", "-c", "user.email=t@example.com", *arguments]
        subprocess.run(command, cwd=project, check=True)
    assert install.advice(project) == ""
    (project / install.LOCK).write_text("<<<<<<< HEAD")
    cure = install.advice(project).split("`")[1]
    subprocess.run(cure.split(), cwd=project, check=True, capture_output=True)
    assert (project / install.LOCK).read_text() == LOCK


@pytest.mark.parametrize("home", ["/proc", "/dev/null"])
def test_a_home_that_is_not_writable_has_no_cache(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert install.has_cache()
    monkeypatch.setenv("HOME", home)
    assert not install.has_cache()


def test_of_pips_settings_only_those_that_lead_to_an_index_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "pip.conf"
    settings.write_text(
        "[global]\nuser = true\ntarget = /elsewhere\nfind-links = a b\ntimeout = 7\n"
        "[install]\ntimeout = 8\nprefix = /elsewhere\n"
    )
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    monkeypatch.setenv("PIP_CERT", "/certificates")
    found = install.index_settings(Path(sys.executable))
    expected = {
        "PIP_FIND_LINKS": "a b",
        "PIP_TIMEOUT": "8",
        "PIP_CERT": "/certificates",
        "PIP_CONFIG_FILE": os.devnull,
    }
    assert expected.items() <= found.items()
    assert found["PIP_USER"] == "0"
    assert not {"PIP_TARGET", "PIP_PREFIX"} & {*found}


def test_a_question_for_help_installs_nothing() -> None:
    line = [sys.executable, "-I", install.__file__]
    done = subprocess.run([*line, "--help"], check=True, capture_output=True, text=True)
    assert "usage" in done.stdout
    assert subprocess.run([*line, "x"], check=False, capture_output=True).returncode == 2


def test_a_second_installation_waits_and_finds_the_environment_built(project: Path) -> None:
    program = "import sys; from pathlib import Path; from tools import install;"
    program += " install.install(Path(sys.argv[1]))"
    command = [sys.executable, "-c", program, str(project)]
    root = Path(install.__file__).parents[1]
    with (project / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen(
            command,
            cwd=root,
            env={**os.environ, "PYTHONPATH": "src"},
            stdout=subprocess.PIPE,
            text=True,
        ) as second:
            assert second.stdout is not None
            assert "waiting" in second.stdout.readline()
            (project / ".venv/installed").touch()
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert second.wait(30) == 0
    assert (project / ".venv/bin/python").read_text() == "in use"
