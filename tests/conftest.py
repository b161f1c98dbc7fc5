"""Fixtures: made-up images, new checkouts, and a checkout in which the small pipeline has run."""

import fcntl
import gc
import os
import shutil
import signal
from collections.abc import Callable, Mapping

import pytest

from sidebyside.data.splits import Split
from sidebyside.reproducibility.clones import clean_environment
from tests.support.checkout import Checkout, new_checkout
from tests.support.images import made_up
from tests.support.reproductions import Reproductions, reproduce_twice, reproductions_in

# A developer's shell may export variables with which the tests would log to a real server, into
# another project or as part of an experiment, and reach loopback servers through a proxy. Unset
# here and not in a fixture, because module- and session-scoped fixtures run before any
# function-scoped one.
variables = clean_environment()
os.environ.clear()
os.environ.update(
    {name: value for name, value in variables.items() if not name.lower().endswith("_proxy")}
)

# A shell ignores SIGINT in background jobs, and their children inherit that; tests send SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-crash-points",
        action="store_true",
        help="interrupt the stages at each of their changes on disk, not at a sample of them",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with slow tests first, so that two processes end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Exempt what the tests import from garbage collection, which Keras starts for each model."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def splits() -> Mapping[str, Split]:
    """Made-up train, val and test images."""
    return {"train": made_up(200, 1), "val": made_up(100, 2), "test": made_up(100, 3)}


@pytest.fixture(scope="session")
def checkout_from(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Checkout]:
    """Return a function that makes a new checkout, or copies one, in a path with a space."""

    def make(source: Checkout | None = None) -> Checkout:
        root = tmp_path_factory.mktemp("a checkout") / "fashion mnist"
        return source.copy(root) if source else new_checkout(root)

    return make


@pytest.fixture(scope="session")
def reproductions(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Reproductions:
    """The whole pipeline, run twice; pytest-xdist's workers share it and only read it.

    No command runs in it afterwards: even `git status` writes temporary files.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "reproductions"
    made = reproductions_in(folder)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.output.exists():
            shutil.rmtree(folder, ignore_errors=True)  # left by a worker in which it failed
            reproduce_twice(made)
    return made


@pytest.fixture(scope="session")
def reproduced(reproductions: Reproductions, checkout_from: Callable[..., Checkout]) -> Checkout:
    """A copy of the reproduced checkout for commands that change nothing, one per process."""
    return checkout_from(reproductions.here)


@pytest.fixture
def own(reproduced: Checkout, checkout_from: Callable[..., Checkout]) -> Checkout:
    """A copy of the reproduced checkout that a test may change."""
    return checkout_from(reproduced)


@pytest.fixture(scope="module")
def committed(reproduced: Checkout, checkout_from: Callable[..., Checkout]) -> Checkout:
    """A copy with its results in git, as a user keeps them, and DVC's plot page installed."""
    checkout: Checkout = checkout_from(reproduced)
    checkout.commit()
    checkout.run("python", ".dvc/plots/page.py")
    return checkout


@pytest.fixture(scope="module")
def experiment(committed: Checkout) -> Checkout:
    """The committed checkout after an experiment in DVC's temporary folder."""
    committed.run("dvc", "exp", "run", "--temp", "--name", "probe", "-S",
                  "evaluate.bootstrap_samples=300")  # fmt: skip
    return committed
