"""The small pipeline gives the same files in one process, in several and on Ray clusters."""

import os
import re
import signal
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import pytest

from sidebyside.reproducibility.gather_provenance import training_machine
from sidebyside.reproducibility.verification import same_fingerprint
from sidebyside.workflow import provenance
from tests.support.pipeline import TRAINING, by_name, runs
from tests.support.ray_nodes import jobs_on, lose, nodes
from tests.support.stages import wait_for

if TYPE_CHECKING:
    import subprocess

    from tests.support.checkout import Checkout

pytestmark = pytest.mark.timeout(1800)

REPRO = ("make", "--assume-old", ".venv/installed", "repro")
TRAIN = ("dvc", "repro", "--single-item", "train@mlp-original-1")
EPOCHS = 150  # of a training that is interrupted


@pytest.fixture(scope="module")
def prepared(checkout_from: "Callable[..., Checkout]") -> "Checkout":
    """A checkout with data, in which nothing was trained; a search has four trainings at once."""
    made = checkout_from()
    made.edit(
        {"tune.search.parallel": 4, "tune.search.trials": 4, "train.data": ["original"]},
    )
    made.run("dvc", "repro", "augment")
    return made


@pytest.fixture(scope="module")
def expected(prepared: "Checkout", checkout_from: "Callable[..., Checkout]") -> "Checkout":
    """The checkout after one training after the other, each in the process of its stage."""
    own = checkout_from(prepared)
    own.run(*REPRO, "JOBS=1", environment={"CORES": "1"})
    return own


@pytest.mark.parametrize(("jobs", "cores"), [(1, 2), (1, 4), (4, 4)])
def test_processes_give_the_same_files(
    jobs: int,
    cores: int,
    prepared: "Checkout",
    expected: "Checkout",
    checkout_from: "Callable[..., Checkout]",
) -> None:
    own = checkout_from(prepared)
    own.run(*REPRO, f"JOBS={jobs}", environment={"CORES": str(cores)})
    assert own.results() == expected.results()


@pytest.mark.parametrize(("number", "lost"), [(1, 0), (2, 0), (2, 1)])
def test_a_cluster_gives_the_same_files_also_if_it_loses_a_node(
    number: int,
    lost: int,
    prepared: "Checkout",
    expected: "Checkout",
    checkout_from: "Callable[..., Checkout]",
) -> None:
    own = checkout_from(prepared)
    with nodes(number) as running:
        process = own.start(*REPRO, f"JOBS={number}", forked=False)
        for node in running.list_all_nodes()[number - lost :]:
            read_to(process, "trial 1/4")
            wait_for(partial(jobs_on, node))
            lose(running, node)
        done = own.finish(process)
        wait_for(lambda: not any(map(jobs_on, running.list_all_nodes())))
    assert own.results() == expected.results()
    assert done.stderr.count("continues from its last checkpoint") >= lost
    found, known = (by_name(one, TRAINING) for one in (own, expected))
    for name, run in known.items():
        assert found[name].info.status == "FINISHED"
        assert found[name].data.metrics == run.data.metrics


def test_an_interrupted_training_leaves_no_process_and_resumes(
    expected: "Checkout", checkout_from: "Callable[..., Checkout]"
) -> None:
    own, plain = checkout_from(expected), checkout_from(expected)
    for one in (own, plain):
        one.edit({"train.budget.mlp": {"epochs": EPOCHS, "patience": EPOCHS}})
    plain.run(*TRAIN)
    with nodes(1) as running:
        for number, status in ((signal.SIGINT, "KILLED"), (signal.SIGKILL, "RUNNING")):
            process = own.start(*TRAIN, forked=False)
            read_to(process, " epoch ")
            os.killpg(process.pid, number)
            own.finish(process, fails=True)
            wait_for(lambda: not jobs_on(running.head_node))
            assert status_of_run(own) == status
        process = own.start(*TRAIN, forked=False)
        read_to(process, " epoch ")
    done = own.finish(process, fails=True)  # its cluster has ended
    assert status_of_run(own) == "FAILED"
    assert re.search(
        r"^train: error: .*the connection to the Ray cluster at \S+ is lost: start the cluster"
        r" again if it has ended, and run the same command again to resume$",
        done.stderr,
        re.M,
    )
    assert "Traceback" not in done.stderr
    with nodes(1):
        out = own.run(*TRAIN, forked=False).stdout
    assert f"epoch {EPOCHS}/{EPOCHS}" in out
    assert "epoch 1/" not in out
    assert own.results() == plain.results()
    assert status_of_run(own) == "FINISHED"


def test_a_node_with_another_fingerprint_is_used_if_allowed_and_the_results_say_so(
    expected: "Checkout",
    checkout_from: "Callable[..., Checkout]",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = checkout_from(expected)
    own.forget_runs()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "DEFAULT")  # another fingerprint, not other bytes
    with nodes(1):
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
        line = (*TRAIN[:2], "--force", *TRAIN[2:])
        refused = own.run(*line, fails=True, forked=False).stderr
        own.run(*line, environment={"ANY_MACHINE": "1"}, forked=False)
    assert re.search(r"may give other bytes \(instructions DEFAULT instead of ALL\)", refused)
    assert own.results() == expected.results()
    here, there = (
        provenance.find(one.root, TRAIN[-1], [one.root / "models/mlp-original-1.keras"])
        for one in (expected, own)
    )
    assert here
    assert there
    assert here.machine["fingerprint"] != there.machine["fingerprint"]
    assert there.machine["instructions"] == "DEFAULT"
    (run,) = runs(own, TRAINING)
    assert run.data.tags["machine.fingerprint"] == there.machine["fingerprint"]
    assert not same_fingerprint(training_machine(expected.root), training_machine(own.root))


def status_of_run(checkout: "Checkout") -> str:
    """Return the status of the run of the interrupted training."""
    (run,) = (
        run for run in runs(checkout, TRAINING) if run.data.params.get("epochs") == str(EPOCHS)
    )
    return str(run.info.status)


def read_to(process: "subprocess.Popen[str]", text: str) -> None:
    """Read the output of a process up to a line with a text."""
    assert process.stdout
    assert any(text in line for line in process.stdout)
