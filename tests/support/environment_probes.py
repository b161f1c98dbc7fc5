"""Commands that show whether an environment variable acts: each returns what it has made.

A command is a process of its own, as many variables are read while the libraries are loaded.
"""

import shutil
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from sidebyside.core.files import read_json
from tests.support.checkout import Checkout
from tests.support.stores import own_store

Variables = Mapping[str, str]
Probe = Callable[[Checkout, Variables], Any]

# What git says about a changed checkout, and the repositories that it makes.
GIT = """
import tempfile
from pathlib import Path
from sidebyside.reproducibility import clones
from sidebyside.workflow import command, git, provenance

def main():
    root = Path.cwd()
    print(provenance.source(root), git.project(root), provenance.results(root))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        clones.copy(root, copy)
        for one in (copy, clones.clone(root, Path(folder) / "clone")):
            print(sorted(path.name for path in (one / ".git").iterdir()))
            print(git.ask(one, "rev-parse", "--show-object-format"), git.ask(one, "ls-files"))

command.run(main)
"""
# The settings that pip sees, the interpreter that uv finds, and what uv would install.
INSTALLATION = """
import sys
from pathlib import Path
from tools.install import run

uv = Path(sys.executable).with_name("uv")
print(run("show pip's settings", sys.executable, "-m", "pip", "config", "list"))
print(run("find Python", uv, "python", "find"))
dry = ("pip", "install", "--dry-run", "--offline", "--python", sys.executable, "numpy")
print(run("install", uv, *dry))
"""


def trained(checkout: Checkout, variables: Variables) -> Any:
    """Train the CNN; return files and fingerprint."""
    return stage(checkout, variables, "train", "cnn", "original", "1")


def searched(checkout: Checkout, variables: Variables) -> Any:
    """Search for the hyperparameters of the MLP; return files and fingerprint."""
    return stage(checkout, variables, "tune", "mlp")


def drawn(checkout: Checkout, variables: Variables) -> Any:
    """Transform images and draw figures; return files and fingerprint."""
    stage(checkout, variables, "preprocess")
    return stage(checkout, variables, "augment")


def scored(checkout: Checkout, variables: Variables) -> Any:
    """Transform images and compute scores; return files and fingerprint."""
    stage(checkout, variables, "augment")
    return stage(checkout, variables, "evaluate")


def logged(checkout: Checkout, variables: Variables) -> Any:
    """Log a training to a store without it; return files, fingerprint and content of the store."""
    database, before = checkout.root / "mlflow.db", checkout.root / ".state/before.db"
    if before.exists():
        shutil.copy(before, database)
    return stage(checkout, variables, "train", "mlp", "original", "1"), own_store(checkout)


def cloned(checkout: Checkout, variables: Variables) -> Any:
    """Describe a changed checkout, and copy it."""
    readme = checkout.root / "README.md"
    before = readme.read_text()
    try:
        readme.write_text("changed\n")
        return run(checkout, variables, GIT, "src")
    finally:
        readme.write_text(before)


def installed(checkout: Checkout, variables: Variables) -> Any:
    """Show into which environment, and with which settings, the installation installs."""
    return run(checkout, variables, INSTALLATION, "src:.")


# Patterns of names → a command in which the variable would act; the first match counts.
PROBES: Mapping[str, Probe] = {
    "MLFLOW_TRACKING_URI": trained,  # it is not logged to the checkout's own store
    "GIT_*": cloned,
    "PIP_* UV_* VIRTUAL_ENV CONDA_PREFIX": installed,
    "KERASTUNER_*": searched,
    "MLFLOW_* _MLFLOW_*": logged,
    "PYTHON* MPL* MATPLOTLIBRC FREETYPE_PROPERTIES LC_ALL": drawn,
    "OPENBLAS_* GOTO_* MKL_* NPY_* OMP_* GLIBC_TUNABLES": scored,
    "*": trained,  # TensorFlow, Keras and the libraries below them
}


def probe_of(name: str) -> Probe:
    """Return the command in which a variable would act."""
    return next(
        probe
        for patterns, probe in PROBES.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns.split())
    )


def stage(checkout: Checkout, variables: Variables, script: str, *arguments: str) -> Any:
    """Run a stage from scratch; return the digests of all files and the machine's fingerprint."""
    shutil.rmtree(checkout.root / ".state" / "-".join([script, *arguments]), ignore_errors=True)
    provenance = checkout.root / ".state/provenance"
    shutil.rmtree(provenance, ignore_errors=True)
    checkout.stage(script, *arguments, environment=variables, forked=False)
    (entry,) = provenance.glob("*.json")
    return checkout.results(), read_json(entry)["machine"]["fingerprint"]


def run(checkout: Checkout, variables: Variables, script: str, path: str) -> str:
    """Run a program; return its output."""
    environment = {"PYTHONPATH": path, **variables}
    return checkout.run("python", "-c", script, environment=environment, forked=False).stdout
