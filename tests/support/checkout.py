"""A checkout of the project as it stands in the working tree, with a few hundred made-up images.

Its commands are those of `dvc.yaml`, run with real DVC, real MLflow and the environment that runs
the tests. Only the sizes and checksums of the data, and the budgets, differ from the product.
"""

import compileall
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sidebyside.reproducibility.clones import set_parameters
from sidebyside.tracking import local_store
from sidebyside.workflow import provenance
from tests.support import fork_server
from tests.support.images import replace_fashion_mnist

PROJECT = Path(__file__).resolve().parents[2]
RESULTS = (
    *("data/raw", "data/processed", "data/original", "data/augmented", "data/trials"),
    *("data/predictions", "models", "reports", "dvc.lock"),
)
TIMEOUT = 900  # seconds for one command; the whole pipeline takes 60 on two idle cores

# The real params.yaml with less to do: key → value.
SMALL: Mapping[str, Any] = {
    "tune.search.trials": 2,
    "tune.search.epochs": 1,
    "tune.search.patience": 1,
    "tune.search.images": 200,
    "tune.models.mlp.hidden_units": [16],
    "tune.models.mlp.batch_size": 32,
    "tune.models.cnn.filters": [4, 8],
    "tune.models.cnn.convolutions": [1, 1],
    "tune.models.cnn.batch_size": 32,
    "train.budget.mlp": {"epochs": 2, "patience": 2},
    "train.budget.cnn": {"epochs": 2, "patience": 2},
    "evaluate.bootstrap_samples": 200,
}


def kill_all(process: "subprocess.Popen[str]") -> None:
    """End a process and its children; it leads its own session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


@dataclass(frozen=True)
class Checkout:
    """A git repository with the project, in a folder of its own."""

    root: Path

    def start(
        self,
        *command: str,
        environment: Mapping[str, str] | None = None,
        umask: int = -1,
        file_size: int | None = None,
        forked: bool = True,
        server: Mapping[str, str] | None = None,
    ) -> "subprocess.Popen[str]":
        """Start a command in the root, with the programs of the tests' environment.

        Args:
            command: program and arguments.
            environment: variables to set; those that would reach the tools from outside are unset.
            umask: as for the system call; -1 leaves it.
            file_size: KiB a file may have, as if the disk ended there.
            forked: whether `python` and `dvc` are forks with the libraries loaded, which saves
                their start, or processes of their own.
            server: variables that those libraries are loaded with.
        """
        # Without bytecode, every process would compile the project again.
        unset = ("MLFLOW_", "DVC_", "GIT_", "PYTEST_", "TF_", "PYTHONPATH", "PYTHONDONTWRITE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
        folders = [str(Path(sys.executable).parent), os.environ["PATH"]]
        if forked:
            folders.insert(0, str(fork_server.programs(server)))
        path = os.pathsep.join(folders)
        if file_size is not None:
            command = ("sh", "-c", f'ulimit -f {2 * file_size}; exec "$@"', "sh", *command)
        return subprocess.Popen(
            command,
            cwd=self.root,
            env={**kept, "PATH": path, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            umask=umask,
            start_new_session=True,
        )

    def finish(
        self, process: "subprocess.Popen[str]", *, fails: bool = False, limit: float = TIMEOUT
    ) -> "subprocess.CompletedProcess[str]":
        """Wait for a command; it has to succeed, or to fail."""
        try:
            out, error = process.communicate(timeout=limit)
        finally:
            kill_all(process)
        done = subprocess.CompletedProcess(process.args, process.returncode, out, error)
        assert (done.returncode != 0) == fails, (
            f"{done.args} ended with {done.returncode}\n{out[-3000:]}\n{error[-3000:]}"
        )
        return done

    def run(
        self, *command: str, fails: bool = False, limit: float = TIMEOUT, **options: Any
    ) -> "subprocess.CompletedProcess[str]":
        return self.finish(self.start(*command, **options), fails=fails, limit=limit)

    def stage(
        self, script: str, *arguments: str, fails: bool = False, **options: Any
    ) -> "subprocess.CompletedProcess[str]":
        """Run a stage's command as it stands in dvc.yaml."""
        return self.finish(self.start_stage(script, *arguments, **options), fails=fails)

    def start_stage(
        self,
        script: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        **options: Any,
    ) -> "subprocess.Popen[str]":
        variables = {"PYTHONPATH": "src", **(environment or {})}
        return self.start(
            "python", f"pipeline/{script}.py", *arguments, environment=variables, **options
        )

    def parameters(self) -> dict[str, Any]:
        content: dict[str, Any] = yaml.safe_load((self.root / "params.yaml").read_text())
        return content

    def edit(self, changes: Mapping[str, Any]) -> None:
        """Set values of params.yaml by their dotted keys."""
        set_parameters(self.root, changes)

    def results(self) -> dict[str, str]:
        """Return the SHA-256 of every file that stages write, by its path."""
        files = [
            file
            for name in RESULTS
            for file in ([self.root / name, *(self.root / name).rglob("*")])
            if file.is_file()
        ]
        return {
            str(file.relative_to(self.root)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
        }

    def copy(self, target: Path) -> "Checkout":
        shutil.copytree(self.root, target, symlinks=True)
        local_store.relocate(target)  # tests read the store through clients of their own
        return Checkout(target)

    def forget_runs(self) -> None:
        """Delete the MLflow store."""
        (self.root / "mlflow.db").unlink()
        for entry in (self.root / "mlruns").iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", "--message", "state")


def new_checkout(root: Path) -> Checkout:
    """Write the project's files, committed or not, and small data into a new repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    # The results of the real run are no part of a pipeline that starts from nothing.
    for name in listed:
        file = PROJECT / name
        if name and not name.startswith(provenance.results(PROJECT)) and file.exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, root / name, follow_symlinks=False)
    replace_fashion_mnist(root)
    for folder in ("src", "replications/src"):  # copies keep the bytecode and the files' times
        compileall.compile_dir(root / folder, quiet=2)
    checkout = Checkout(root)
    checkout.edit(SMALL)
    checkout.run("git", "init", "--quiet")
    checkout.run("git", "config", "user.name", "Tester")
    checkout.run("git", "config", "user.email", "tester@example.com")
    checkout.commit()
    return checkout
