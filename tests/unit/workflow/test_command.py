import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from sidebyside.workflow import command

SOURCE = Path(__file__).resolve().parents[3] / "src"


def run(
    tmp_path: Path,
    body: str,
    *arguments: str,
    on_ctrl_c: signal.Handlers = signal.SIG_DFL,
    variables: Mapping[str, str] | None = None,
) -> tuple[int, str, str]:
    """Return exit status, standard output and standard error of a script with this `main`."""
    script = tmp_path / "stage.py"
    script.write_text(
        "import os, signal, sys, time\n"
        "from sidebyside.workflow import command\n"
        "from sidebyside.core.errors import UserError\n"
        "def main():\n" + textwrap.indent(textwrap.dedent(body), "    ") + "\n"
        "command.run(main)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE), **(variables or {})},
        # A shell makes background jobs ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, on_ctrl_c),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_success_ends_with_status_0(tmp_path: Path) -> None:
    assert run(tmp_path, "print('done')") == (0, "done\n", "")


def test_a_user_error_is_one_line_and_status_1(tmp_path: Path) -> None:
    assert run(tmp_path, "raise UserError('x is 3: choose 1 or 2')") == (
        1,
        "",
        "stage: error: x is 3: choose 1 or 2\n",
    )


def test_an_error_of_the_operating_system_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    status, _, error = run(tmp_path, "open('/nowhere/file')")
    assert (status, error) == (1, "stage: error: /nowhere/file: No such file or directory\n")


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    status, _, error = run(tmp_path, "{}['key']")
    assert status == 1
    assert error.startswith("Traceback")
    assert error.endswith("KeyError: 'key'\n")


def test_ctrl_c_runs_the_clean_up_and_ends_with_status_130(tmp_path: Path) -> None:
    status, out, error = run(
        tmp_path,
        """\
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        finally:
            print('cleaned')
        """,
    )
    assert (status, out) == (130, "cleaned\n")
    assert error == "stage: interrupted; run the same command again to resume\n"


def test_sigterm_runs_the_clean_up_and_ends_with_status_143(tmp_path: Path) -> None:
    status, out, error = run(
        tmp_path,
        """\
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except Exception:
            print('swallowed')
        finally:
            print('cleaned')
        """,
    )
    assert (status, out) == (143, "cleaned\n")
    assert error == "stage: terminated; run the same command again to resume\n"


def test_a_closed_terminal_runs_the_clean_up(tmp_path: Path) -> None:
    body = """\
        try:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(10)
        finally:
            print('cleaned')
        """
    assert run(tmp_path, body)[:2] == (143, "cleaned\n")


@pytest.mark.parametrize("second", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_second_signal_at_the_end_changes_nothing(tmp_path: Path, second: str) -> None:
    body = f"""\
        class Interrupting:
            def write(self, text):
                os.kill(os.getpid(), signal.{second})
                return sys.__stderr__.write(text)
            def flush(self):
                sys.__stderr__.flush()
        sys.stderr = Interrupting()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
        """
    message = "stage: interrupted; run the same command again to resume\n"
    assert run(tmp_path, body) == (130, "", message)


def test_a_signal_ends_a_command_that_waits_for_a_thread_at_its_end(tmp_path: Path) -> None:
    body = """\
        import threading
        def interrupt():
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        threading.Thread(target=interrupt).start()
        """
    assert run(tmp_path, body) == (-signal.SIGINT, "", "")


def test_a_command_of_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    body = "os.kill(os.getpid(), signal.SIGHUP); print('done')"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited
    try:
        assert run(tmp_path, body) == (0, "done\n", "")
    finally:
        signal.signal(signal.SIGHUP, before)


CONVERTED = """\
from sidebyside.models.tensorflow_setup import configure
configure(1)
import tensorflow as tf
class Interrupted:
    def __array__(self, *_, **__):
        print('asked')
        for _ in range({signals}):
            os.kill(os.getpid(), signal.SIGINT)
        print('converted')
        return tf.ones([1]).numpy()
try:
    tf.constant(Interrupted())
    print('not interrupted')
finally:
    print('cleaned')
"""


def test_ctrl_c_inside_tensorflow_is_raised_after_the_call(tmp_path: Path) -> None:
    status, out, error = run(tmp_path, CONVERTED.format(signals=1))
    assert (status, out) == (130, "asked\nconverted\ncleaned\n")
    assert error == "stage: interrupted; run the same command again to resume\n"


def test_a_second_ctrl_c_inside_tensorflow_is_raised_at_once(tmp_path: Path) -> None:
    status, out, _ = run(tmp_path, CONVERTED.format(signals=2))
    assert out.startswith("asked\n")
    assert "converted" not in out
    assert status != 0


def test_ctrl_c_stays_ignored_in_a_background_job(tmp_path: Path) -> None:
    body = "os.kill(os.getpid(), signal.SIGINT); print('not interrupted')"
    assert run(tmp_path, body, on_ctrl_c=signal.SIG_IGN) == (0, "not interrupted\n", "")


def test_threads_do_not_delay_the_exit_after_an_interrupt(tmp_path: Path) -> None:
    status, _, _ = run(
        tmp_path,
        """\
        import threading
        threading.Thread(target=time.sleep, args=(60,)).start()
        raise KeyboardInterrupt
        """,
    )
    assert status == 130


def test_an_invalid_command_line_ends_with_status_2(tmp_path: Path) -> None:
    status, _, error = run(tmp_path, "command.parser('Do it.').parse_args()", "--odd")
    assert status == 2
    assert "unrecognized arguments: --odd" in error


def test_help_shows_the_docstring_verbatim_and_the_exit_statuses(tmp_path: Path) -> None:
    body = "command.parser('First.\\n\\nReads: a\\nWrites: b').parse_args()"
    status, out, error = run(tmp_path, body, "--help")
    assert (status, error) == (0, "")
    assert "Reads: a\nWrites: b\n" in out
    assert command.EXIT_CODES in out


def test_documented_exit_statuses_are_the_real_ones() -> None:
    listed = {int(line.split()[0]) for line in command.EXIT_CODES.splitlines()[1:]}
    assert listed == {0, command.EXIT_FAILED, 2, command.EXIT_INTERRUPTED, command.EXIT_TERMINATED}
    assert command.EXIT_INTERRUPTED == 128 + signal.SIGINT
    assert command.EXIT_TERMINATED == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.EACCES, "Permission denied", "a/b"), "a/b: Permission denied"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a"),
            "a: No space left on device: free some space and run the same command again",
        ),
        (
            OSError(errno.EDQUOT, "Disk quota exceeded"),
            "Disk quota exceeded: free some space and run the same command again",
        ),
        (OSError("odd"), "odd"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_error_of_the_operating_system_is_described(error: OSError, expected: str) -> None:
    assert command.describe(error) == expected


def test_a_command_starts_with_a_clean_environment(tmp_path: Path) -> None:
    hostile = {"GIT_DIR": "/nowhere", "TF_USE_LEGACY_KERAS": "1", "KERAS_BACKEND": "jax"}
    body = "print(*(os.environ.get(name) for name in ('GIT_DIR', 'TF_USE_LEGACY_KERAS',"
    body += " 'KERAS_BACKEND', 'KERAS_HOME')))"
    expected = (0, "None None tensorflow /dev/null\n", "")
    assert run(tmp_path, body, variables=hostile) == expected


def test_a_command_starts_again_without_variables_that_python_has_read(tmp_path: Path) -> None:
    hostile = {"PYTHONOPTIMIZE": "2", "PYTHONINSPECT": "1", "PYTHONWARNINGS": "error"}
    hostile |= {"PYTHONUTF8": "0", "LC_ALL": "C", "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2"}
    body = "print(sys.flags.optimize, sys.flags.inspect, sys.warnoptions, sys.argv[1:],"
    body += " sys.flags.utf8_mode, 'GLIBC_TUNABLES' in os.environ)"
    status, out, error = run(tmp_path, body, "one two", variables=hostile)
    assert (status, out) == (0, "0 0 [] ['one two'] 1 False\n"), error


def test_a_variable_that_comes_back_causes_no_endless_loop(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os.environ['NPY_X'] = 'again'\n")
    path = os.pathsep.join([str(SOURCE), str(tmp_path)])
    body = "print(os.environ.get('NPY_X'))"
    assert run(tmp_path, body, variables={"PYTHONPATH": path}) == (0, "None\n", "")
