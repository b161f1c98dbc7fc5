"""Clone the last commit, set its parameters, restore or delete its results, run its pipeline."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from sidebyside.core.errors import UserError
from sidebyside.core.files import read_yaml, write_json
from sidebyside.workflow.graph import LOCK, recorded_outputs

SMOKE = "smoke.txt"  # beside this module; one line key=value per parameter of a smoke run
# Variables that would redirect a clone's runs: to another MLflow, DVC repository or make.
REDIRECTING = ("MLFLOW_TRACKING_URI", "DVC_ROOT", "MAKEFLAGS")


def clone(root: Path, target: Path) -> Path:
    """Clone the last commit into `target` and copy the user's data/local into the clone.

    Raises:
        UserError: `root` is not a git repository with a commit.
    """
    if subprocess.run(["git", "clone", "--quiet", root, target], check=False).returncode:
        raise UserError(f"{root} cannot be cloned: is it a git repository with a commit?")
    if (root / "data/local").is_dir():
        shutil.copytree(root / "data/local", target / "data/local")
    return target


def smoke_parameters() -> dict[str, Any]:
    """Return the small budgets of a smoke run: dotted key of params.yaml → value."""
    file = resources.files("sidebyside.reproducibility").joinpath(SMOKE)
    pairs = (line.split("=", 1) for line in file.read_text(encoding="utf-8").split())
    return {key: json.loads(value) for key, value in pairs}


def set_parameters(checkout: Path, values: Mapping[str, Any]) -> None:
    """Set values of params.yaml by their dotted keys."""
    path = checkout / "params.yaml"
    content = read_yaml(path)
    for key, value in values.items():
        *sections, name = key.split(".")
        section = content
        for part in sections:
            section = section[part]
        section[name] = value
    write_json(path, content)  # JSON is a subset of YAML


def delete_results(checkout: Path) -> None:
    """Delete dvc.lock and the outputs in it, so that a run starts from scratch."""
    for output in recorded_outputs(checkout):
        path = checkout / output
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (checkout / LOCK).unlink(missing_ok=True)


def restore_results(checkout: Path, root: Path) -> None:
    """Check out the recorded data and models of a clone from the DVC cache of `root`.

    Outputs that are missing in the cache stay missing.

    Raises:
        UserError: the clone has no dvc.lock.
    """
    if not recorded_outputs(checkout):
        raise UserError(f"the last commit has no {LOCK}: commit the one that `make repro` writes")
    cache = ["dvc", "config", "--local", "cache.dir", str(cache_folder(root))]
    subprocess.run(cache, cwd=checkout, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        ["dvc", "checkout", "--quiet", "--allow-missing"],
        cwd=checkout,
        check=False,  # a missing output is compared by its digest alone
        stderr=subprocess.DEVNULL,
    )


def cache_folder(root: Path) -> Path:
    """Return the folder of a checkout's DVC cache; several checkouts may share it.

    Raises:
        UserError: `dvc cache dir` fails, for example on a damaged configuration.
    """
    command = ["dvc", "cache", "dir"]
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"`dvc cache dir` fails: {' '.join(done.stderr.split())}")
    return root / done.stdout.strip()


def reproduce(checkout: Path) -> None:
    """Run `dvc repro` in a checkout.

    Raises:
        UserError: it failed.
    """
    done = subprocess.run(["dvc", "repro"], cwd=checkout, env=clean_environment(), check=False)
    if done.returncode:
        raise UserError("`dvc repro` failed in a clone of the last commit")


def clean_environment() -> dict[str, str]:
    """Return this process's environment without the variables that would redirect a clone."""
    return {name: value for name, value in os.environ.items() if name not in REDIRECTING}
