"""A checkout of the project as it stands in the working tree, with a few hundred made-up images.

The commands that run in it are those of `dvc.yaml`, with real DVC, real MLflow and the environment
that runs the tests. Nothing of the product is replaced but the sizes and checksums of its data.
"""

import contextlib
import fcntl
import gzip
import hashlib
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sidebyside.config.dataset import CLASSES, IMAGE_SIZE
from sidebyside.data.fashion_mnist import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from sidebyside.data.idx import IMAGES_MAGIC, LABELS_MAGIC
from sidebyside.data.splits import Split
from sidebyside.reproducibility.rerun import ELSEWHERE, SITECUSTOMIZE, UMASK, set_parameters
from sidebyside.workflow import provenance

PROJECT = Path(__file__).resolve().parents[1]
TRAIN, TEST = 400, 100  # made-up images; a tenth of each class
RESULTS = (
    *("data/raw", "data/processed", "data/original", "data/augmented", "data/trials"),
    *("data/predictions", "models", "reports", "dvc.lock"),
)
LIMIT = 900  # seconds for one command; the whole pipeline takes 60 on two idle cores

# The real params.yaml with less to do: key → value.
SMALL: Mapping[str, Any] = {
    "download.sources": [{"folder": "data/local"}],
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


# What a developer's shell may export: the tests would log into a real server, into another project
# or as part of an experiment, and ask a proxy for servers of their own. Here and not in a fixture,
# as fixtures of a whole module or session come first.
for name in (
    *("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME"),
    *(f"{kind}_proxy" for kind in ("http", "https", "all")),
    *(f"{kind}_PROXY" for kind in ("HTTP", "HTTPS", "ALL")),
):
    os.environ.pop(name, None)

# A shell that starts the tests in the background has Ctrl-C ignored, and so would every process
# they start to see what Ctrl-C does.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-crash-points",
        action="store_true",
        help="strike the stages at each of their changes on disk, and not at some of them",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with slow tests first, so that two processes end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def made_up(count: int, purpose: int) -> Split:
    """Return images a small net can tell apart: each class has its own coarse pattern."""
    patterns = np.random.default_rng(0).integers(0, 200, (CLASSES, 7, 7))
    random = np.random.default_rng(purpose)
    labels = random.permutation(np.arange(count) % CLASSES).astype(np.uint8)
    coarse = patterns[labels].repeat(IMAGE_SIZE // 7, 1).repeat(IMAGE_SIZE // 7, 2)
    return Split((coarse + random.integers(0, 56, coarse.shape)).astype(np.uint8), labels)


def idx_images(split: Split) -> bytes:
    header = struct.pack(">4I", IMAGES_MAGIC, len(split), IMAGE_SIZE, IMAGE_SIZE)
    return header + split.images.tobytes()


def idx_labels(split: Split) -> bytes:
    return struct.pack(">2I", LABELS_MAGIC, len(split)) + split.labels.tobytes()


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
    ) -> "subprocess.Popen[str]":
        """Start a command in the root, with the programs of the tests' environment.

        Args:
            command: program and arguments.
            environment: variables to set; those that would reach the tools from outside are unset.
            umask: as for the system call; -1 leaves it.
            file_size: KiB a file may have, as if the disk ended there.
        """
        # Without bytecode, every process would compile the project again.
        unset = ("MLFLOW_", "DVC_", "GIT_", "PYTEST_", "TF_", "PYTHONPATH", "PYTHONDONTWRITE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
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
        self, process: "subprocess.Popen[str]", *, fails: bool = False, limit: float = LIMIT
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
        self, *command: str, fails: bool = False, limit: float = LIMIT, **options: Any
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
        if name and not name.startswith(provenance.results(PROJECT)) and (PROJECT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, root / name)
    offer(root)
    checkout = Checkout(root)
    checkout.edit(SMALL)
    checkout.run("git", "init", "--quiet")
    checkout.run("git", "config", "user.name", "Tester")
    checkout.run("git", "config", "user.email", "tester@example.com")
    checkout.commit()
    return checkout


def offer(root: Path) -> None:
    """Put made-up data where `download` looks, and their sizes and checksums into its code."""
    train, test = made_up(TRAIN, 1), made_up(TEST, 2)
    contents = {
        "TRAIN_IMAGES": (TRAIN_IMAGES.name, idx_images(train)),
        "TRAIN_LABELS": (TRAIN_LABELS.name, idx_labels(train)),
        "TEST_IMAGES": (TEST_IMAGES.name, idx_images(test)),
        "TEST_LABELS": (TEST_LABELS.name, idx_labels(test)),
    }
    folder = root / "data/local"
    folder.mkdir(parents=True)
    with (root / "src/sidebyside/data/fashion_mnist.py").open("a") as module:
        for constant, (name, content) in contents.items():
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
            digest = hashlib.sha256(content).hexdigest()
            module.write(f'{constant} = RawFile("{name}", {len(content)}, "{digest}")\n')
        module.write(f"RAW_FILES = ({', '.join(contents)})\n")


@pytest.fixture(scope="session")
def splits() -> Mapping[str, Split]:
    """Made-up train, val and test images."""
    return {"train": made_up(200, 1), "val": made_up(100, 2), "test": made_up(100, 3)}


@pytest.fixture(scope="session")
def checkout_from(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Checkout]:
    """Return a function that makes a new checkout, or a copy of one, in a path with a space."""

    def make(source: Checkout | None = None) -> Checkout:
        root = tmp_path_factory.mktemp("a checkout") / "fashion mnist"
        return source.copy(root) if source else new_checkout(root)

    return make


# Python imports this module at its start from PYTHONPATH=src. It writes down what a stage does.
RECORDER = '''
import atexit, json, os, sys
from pathlib import Path

root, stage = Path.cwd(), os.environ.get("DVC_STAGE")
files, reads = set(), set()

def listen(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, os.PathLike)):
        path = Path(os.path.abspath(arguments[0]))
        mode = arguments[1] or ""
        if path.is_relative_to(root) and not set("wax+") & set(str(mode)):
            files.add(str(path.relative_to(root)))

class Recording:
    """Stands for a section of the parameters; remembers which values are read."""

    def __init__(self, value, path):
        self.__dict__.update(_value=value, _path=path)

    def __getattr__(self, name):
        method = getattr(type(self._value), name, None)
        if name == "model_dump":
            reads.add(self._path)
        elif callable(method):
            return lambda *given: method(self, *given)
        return self._record(getattr(self._value, name), name)

    def __getitem__(self, name):
        return self._record(self._value[name], name)

    def __contains__(self, name):
        return name in self._value

    def _record(self, value, name):
        path = f"{self._path}.{name}" if self._path else name
        if isinstance(value, Section):
            return Recording(value, path)
        if isinstance(value, dict) and self._path in ("tune", "train"):
            return Recording(value, path)
        if not callable(value):
            reads.add(path)
        return value

def save():
    content = {
        "files": sorted(files),
        "reads": sorted(reads),
        "modules": sorted(n for n in sys.modules if n.split(".")[0] in NOTED),
    }
    with open(os.path.join(os.environ["RECORDS"], stage + ".json"), "w") as file:
        json.dump(content, file)

NOTED = ("sidebyside", "tensorflow", "keras", "keras_tuner", "mlflow", "matplotlib", "sklearn")
if stage:
    import sidebyside.config.parameters
    from sidebyside.config.hyperparameters import Section
    original = sidebyside.config.parameters.read_parameters
    sidebyside.config.parameters.read_parameters = lambda path: Recording(original(path), "")
    sys.addaudithook(listen)
    atexit.register(save)
'''


@dataclass(frozen=True)
class Reproductions:
    """The whole pipeline, run twice from nothing."""

    here: Checkout
    output: Path  # a file with what `dvc repro` printed
    elsewhere: Checkout
    records: Path  # stage name.json → what that stage read, in the second


@pytest.fixture(scope="session")
def reproductions(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Reproductions:
    """Run `dvc repro` in two checkouts at once, the second under other circumstances.

    With several processes of tests the first one that asks does it, and all of them read it. No
    command runs in it afterwards: even `git status` writes files that come and go.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "reproductions"
    output = folder / "output.txt"
    made = Reproductions(
        Checkout(folder / "a checkout/fashion mnist"),
        output,
        Checkout(folder / "another checkout/fashion mnist"),
        folder / "records",
    )
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not output.exists():
            shutil.rmtree(folder, ignore_errors=True)  # what failed in the other process
            made.records.mkdir(parents=True)
            output.write_text(_reproduced_twice(made))
    return made


def _reproduced_twice(into: Reproductions) -> str:
    """Make both checkouts and run the pipeline in them; return what the first run printed."""
    here, elsewhere = new_checkout(into.here.root), new_checkout(into.elsewhere.root)
    (elsewhere.root / "src/sitecustomize.py").write_text(SITECUSTOMIZE + RECORDER)
    environment = {**ELSEWHERE, "RECORDS": str(into.records)}
    first = here.start("dvc", "repro")
    second = elsewhere.start("dvc", "repro", umask=UMASK, environment=environment)
    try:
        output = here.finish(first).stdout
        elsewhere.finish(second)
    finally:
        kill_all(first)
        kill_all(second)
    return output


@pytest.fixture(scope="session")
def reproduced(reproductions: Reproductions, checkout_from: Callable[..., Checkout]) -> Checkout:
    """A checkout after `dvc repro`, this process's own; for commands that change nothing."""
    return checkout_from(reproductions.here)


@pytest.fixture
def own(reproduced: Checkout, checkout_from: Callable[..., Checkout]) -> Checkout:
    """A copy of the reproduced checkout, to be changed at will."""
    return checkout_from(reproduced)
