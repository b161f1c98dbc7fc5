"""A small DVC pipeline for runs of several stages at once: a chain, a matrix and a last stage."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import yaml
from dvc.repo import Repo

from sidebyside.config.paths import CHECKOUT
from sidebyside.core.files import read_yaml
from tests.support.dvc_project import commit, git

# `first` halves a number, so that its output may come out unchanged. Each stage adds its name to
# the file `log`.
STAGES: dict[str, Any] = {
    "first": {
        "cmd": "expr $(cat in.txt) / 2 > first.txt && echo first >> log",
        "deps": ["in.txt"],
        "outs": ["first.txt"],
    },
    "tune": {
        "matrix": {"model": "${models}"},
        "cmd": "sleep ${seconds} && cat first.txt > ${item.model}.txt"
        " && echo tune@${item.model} >> log",
        "deps": ["first.txt"],
        "outs": [{"${item.model}.txt": {"cache": False, "persist": True}}],
    },
    "train": {
        "matrix": {"model": "${models}", "seed": "${seeds}"},
        "cmd": "mkdir -p models && sleep ${seconds}"
        " && cat ${item.model}.txt > models/${item.model}-${item.seed}"
        " && echo train@${item.model}-${item.seed} >> log",
        "deps": ["${item.model}.txt"],
        "outs": [{"models/${item.model}-${item.seed}": {"persist": True}}],
    },
    "last": {
        "cmd": "cat models/* > last.txt && echo last >> log",
        "deps": ["models", "first.txt"],
        "outs": [{"last.txt": {"cache": False}}],
    },
}
PARAMETERS: dict[str, Any] = {"models": ["x", "y"], "seeds": [1, 2], "seconds": 0}
NAMES = ("first", "tune@x", "tune@y", *(f"train@{m}-{s}" for m in "xy" for s in "12"), "last")
OUTPUTS = ("first.txt", "x.txt", "y.txt", *(f"models/{m}-{s}" for m in "xy" for s in "12"))
REPRO = (sys.executable, "-m", "sidebyside.workflow.repro")


def new_pipeline(root: Path, stages: Collection[str] = STAGES, **parameters: Any) -> Path:
    """Write the pipeline into a new folder, and commit it without results.

    Args:
        root: the folder.
        stages: names of the stages that it has, without items.
        parameters: values that replace those of PARAMETERS.
    """
    root.mkdir(parents=True)
    git(root, "init", "--quiet")
    Repo.init(str(root)).close()
    (root / ".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    (root / ".gitignore").write_text("/first.txt\n/models\n/log\n/.state\n")
    (root / "in.txt").write_text("4\n")
    graph = {"stages": {name: STAGES[name] for name in stages}}
    (root / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False))
    set_parameters(root, **parameters)
    commit(root)
    return root


def set_parameters(root: Path, **parameters: Any) -> None:
    (root / "params.yaml").write_text(yaml.safe_dump({**PARAMETERS, **parameters}))


def start(
    root: Path, *arguments: str, command: tuple[str, ...] = REPRO, **variables: str
) -> "subprocess.Popen[str]":
    """Start a command in a pipeline; by default the one that runs several stages at once."""
    return subprocess.Popen(
        [*command, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src"), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]", status: int = 0) -> tuple[str, str]:
    """Return the output and errors of a command, which has to end with a status."""
    out, error = process.communicate(timeout=300)
    assert process.returncode == status, out + error
    return out, error


def ran(root: Path) -> list[str]:
    """Return the stages whose commands have ended, in the order of their ends."""
    return (root / "log").read_text().split() if (root / "log").exists() else []


def results(root: Path) -> dict[str, str]:
    """Return the text of dvc.lock and of each output."""
    names = ("dvc.lock", *OUTPUTS, "last.txt")
    return {name: (root / name).read_text() for name in names if (root / name).exists()}


def entries(root: Path) -> list[str]:
    """Return the stages in dvc.lock, in order."""
    file = root / "dvc.lock"
    return [*read_yaml(file)["stages"]] if file.exists() else []


def sleeping(root: Path) -> list[str]:
    """Return the commands of stages that run in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == root.resolve():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # has ended, or belongs to another user
            continue
    return [line for line in found if re.match(r"sleep \d", line)]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
