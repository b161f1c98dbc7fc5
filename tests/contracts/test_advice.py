"""Every command that a message advises exists, with its targets, subcommands and options."""

import ast
import importlib
import importlib.util
import re
import shlex
import shutil
import subprocess
import warnings
from collections.abc import Iterator

import click
import pytest
from dvc.cli import DvcParserError, parse_args

from tests.support.source_code import PROJECT

SOURCES = ("src", "pipeline", "replications/src", "replications/pipeline", "tools", "benchmarks")
FILLED_IN = "…"  # in the place of a value that a message is formatted with
TARGET = re.compile(r"^([a-z0-9-]+):.*## ", re.M)
SHELL = {"apt-get", "chmod", "chown", "cp", "install", "mv", "rm", "sudo"}
# Commands whose program follows from a value.
PREFIXES = {
    f"{FILLED_IN} checkout": "dvc",
    f"{FILLED_IN} config": "dvc",
    f"{FILLED_IN} repro": "dvc",
    f"{FILLED_IN}git": "",
}

CHECKS = "unit/workflow/test_check.py"
CHECK = f"{CHECKS}::test_a_damaged_file_is_named_with_a_command_that_restores_it"
RECREATED = f"{CHECKS}::test_what_no_copy_is_left_of_is_removed_so_that_dvc_creates_it"
FAILURES = "unit/tracking/test_failures.py"
MOVED = f"{FAILURES}::test_a_database_that_cannot_be_used_is_moved_away_by_the_advice"
UPGRADED = f"{FAILURES}::test_a_database_of_an_older_mlflow_is_upgraded_by_the_advice"
SERVED = (
    "system/test_serve.py::test_a_model_that_is_not_the_evaluated_one_is_served_after_a_backfill"
)
CURED = "system/test_advice.py::test_the_advised_command_cures"
INPUT = (
    "integration/test_bad_input.py::test_damaged_data_fails_the_dvc_stage_and_leaves_its_outputs"
)
# Beginning of the advice of an error → the test that carries it out; the longest one applies.
CARRIED_OUT = {
    "cp … … && mlflow db upgrade …": UPGRADED,
    "dvc repro": CURED,
    "dvc repro download": INPUT,
    "dvc repro train": CURED,
    "git checkout HEAD": CHECK,
    "install -m 444 … …": CHECK,
    "make backfill": SERVED,
    "make repro backfill": CURED,
    "mv … … && make backfill": MOVED,
    "mv … ….damaged": CHECK,
    "rm -f …": CHECK,
    "rm -r …": CHECK,
    "rm -rf …": RECREATED,
    "rm …": CHECK,
    "… checkout --force …": CURED,
    "… config": f"{CHECKS}::test_a_cache_on_another_disk_that_dvc_cannot_link_to_is_found",
    "… repro": CURED,
    "… repro --force --single-item …": CURED,
    "…git checkout HEAD": CHECK,
}
# Advice for maintainers, or about another system; commands that a page or a message only mentions.
NOT_CARRIED_OUT = re.compile(
    r"apt-get |chmod |dvc (cache|exp|metrics|plots|status|repro --force --single-item train@…)"
    r"|git (checkout reports|checkout …|diff)|mlflow (server|ui)"
    r"|make (…|benchmark|install|mnist|peers|predict|ray|readme|record|reference"
    r"|replications|repro$|target|test|tour|ui|verify)"
)


def advised_commands() -> dict[str, set[str]]:
    """Return command → files, of the commands in backticks in the messages of the project."""
    found: dict[str, set[str]] = {}
    for folder in SOURCES:
        for path in (PROJECT / folder).rglob("*.py"):
            for text in messages(ast.parse(path.read_text(encoding="utf-8"))):
                for command in re.findall(r"`([^`\n]+)`", text):
                    found.setdefault(command, set()).add(path.name)
    return {command: files for command, files in found.items() if program(command)}


def messages(tree: ast.AST) -> Iterator[str]:
    """Yield the strings of a module, except docstrings; with `…` for formatted values."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = list(ast.walk(tree))
    parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    docs = {id(node.body[0]) for node in nodes if isinstance(node, documented) and node.body}
    parts |= {id(node.value) for node in nodes if isinstance(node, ast.Expr) and id(node) in docs}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            values = (getattr(part, "value", None) for part in node.values)
            yield "".join(text if isinstance(text, str) else FILLED_IN for text in values)
        elif id(node) not in parts and isinstance(value := getattr(node, "value", None), str):
            yield value


def program(command: str) -> str | None:
    """Return the program that a command starts with; None if the text is not a command."""
    known = {*SHELL, "make", "dvc", "git", "mlflow", "python", "uv"}
    first, *rest = command.split()
    if first in known:
        return first if rest else None
    prefix = next((one for one in PREFIXES if command.startswith(one)), None)
    return prefix and (PREFIXES[prefix] or "git")


COMMANDS = advised_commands()


def test_advice_is_found_in_all_folders() -> None:
    assert len(COMMANDS) > 30
    assert {"backfill.py", "failures.py", "integrity.py", "readme.py"} <= set().union(
        *COMMANDS.values()
    )


@pytest.mark.parametrize("advice", sorted(COMMANDS))
def test_an_advised_command_exists(advice: str) -> None:
    for command in advice.split(" && "):
        first = program(command)
        words = shlex.split(command)[1:] if first else []
        assert first, f"{command}: add its program to this test"
        if first == "make":
            check_make(words)
        elif first == "dvc":
            check_dvc(words)
        elif first == "git":
            assert words[0] in git_commands()
        elif first == "mlflow":
            check_mlflow(words)
        elif first == "python":
            assert words[0] == "-m"
            assert importlib.util.find_spec(words[1])
        elif first != "apt-get":  # another system has another program
            assert shutil.which(first)


def test_a_test_carries_out_every_advice_for_users() -> None:
    advised = {command for command in COMMANDS if not NOT_CARRIED_OUT.match(command)}
    found = {
        command: max(filter(command.startswith, CARRIED_OUT), default="") for command in advised
    }
    assert {*found.values()} == CARRIED_OUT.keys(), [one for one in found if not found[one]]
    for test in CARRIED_OUT.values():
        file, _, name = test.partition("::")
        assert f"def {name}(" in (PROJECT / "tests" / file).read_text(encoding="utf-8"), test


def check_make(words: list[str]) -> None:
    targets = TARGET.findall((PROJECT / "Makefile").read_text(encoding="utf-8"))
    for word in words:
        assert "=" in word or word in {*targets, FILLED_IN, "target"}, word


def check_dvc(words: list[str]) -> None:
    try:
        parse_args(words)
    except DvcParserError:
        pytest.fail(f"dvc {shlex.join(words)} is not valid")


def git_commands() -> list[str]:
    listed = subprocess.run(
        ["git", "--list-cmds=builtins"], capture_output=True, text=True, check=True
    )
    return listed.stdout.split()


def check_mlflow(words: list[str]) -> None:
    with warnings.catch_warnings(action="ignore"):
        command: click.Command | None = importlib.import_module("mlflow.cli").cli
    for word in words:
        if isinstance(command, click.Group):
            command = command.get_command(click.Context(command), word)
    assert command, shlex.join(words)
