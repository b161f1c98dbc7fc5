"""The same bytes in another environment and without tracking; inputs as declared in dvc.yaml."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.support.bad_servers import Answer, answering
from tests.support.checkout import Checkout
from tests.support.pipeline import SEARCH, STAGES, TRAINING, runs
from tests.support.reproductions import Reproductions
from tests.support.source_code import LIBRARY, PROJECT, closure, module_path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_another_environment_gives_the_same_bytes(
    reproductions: Reproductions,
) -> None:
    here, elsewhere = reproductions.here.results(), reproductions.elsewhere.results()
    assert {name for name in here if here[name] != elsewhere.get(name)} == set()
    assert set(here) == set(elsewhere)


def test_outputs_contain_no_path_and_no_run_id(reproductions: Reproductions) -> None:
    for checkout in (reproductions.here, reproductions.elsewhere):
        ids = [run.info.run_id for kind in (TRAINING, SEARCH) for run in runs(checkout, kind)]
        assert len(ids) > 2
        for name in checkout.results():
            content = (checkout.root / name).read_bytes()
            for volatile in (str(checkout.root), *ids):
                assert volatile.encode() not in content, (name, volatile)


def test_stages_give_the_same_bytes_without_tracking(
    reproduced: Checkout, checkout_from: Callable[..., Checkout]
) -> None:
    # The other stages import no tracking.
    before = reproduced.results()
    unlogged = {
        ("tune", "mlp"): ("search-mlp", Answer(200, "<html>Log in</html>"), "is not JSON"),
        ("train", "mlp", "original", "1"): ("mlp-original-1", Answer(401), "not allowed"),
        ("evaluate",): ("comparison", Answer(400), "Bad Request"),
    }
    copies = {stage: checkout_from(reproduced) for stage in unlogged}
    damaged = copies["evaluate",].root / ".state/provenance/train@mlp-original-1.json"
    damaged.write_text("{")
    with contextlib.ExitStack() as stack:
        running = {
            stage: copies[stage].start_stage(
                *stage,
                environment={"MLFLOW_TRACKING_URI": stack.enter_context(answering(answer))},
            )
            for stage, (_, answer, _) in unlogged.items()
        }
        for stage, (run, _, reason) in unlogged.items():
            done = copies[stage].finish(running[stage])
            assert copies[stage].results() == before
            assert "Traceback" not in done.stderr
            assert "warning: MLflow at http://127.0.0.1:" in done.stderr
            assert reason in done.stderr
            assert f"not logged to MLflow: {run}: " in done.stderr
            assert ("1 model" in done.stderr) == (stage[0] == "train")
    assert f"{damaged.name} is damaged" in done.stderr


# The declarations in dvc.yaml, compared with the reads recorded in the second run.


def leaves(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from leaves(part, f"{path}.{name}")
    else:
        yield path


def in_or_below(path: str, tops: list[str], separator: str) -> bool:
    return any(path == top or path.startswith(top + separator) for top in tops)


@pytest.mark.parametrize("stage", STAGES)
def test_the_parameters_a_stage_lists_are_those_it_reads(
    reproductions: Reproductions, stage: str
) -> None:
    lock = yaml.safe_load((reproductions.here.root / "dvc.lock").read_text())
    listed = list(lock["stages"][stage].get("params", {}).get("params.yaml", {}))
    content = reproductions.here.parameters()
    every = [leaf for name, value in content.items() for leaf in leaves(value, name)]
    record = json.loads((reproductions.records / f"{stage}.json").read_text())
    reads = list(content) if stage == "download" else record["reads"]  # it checks the whole file
    read = {leaf for leaf in every if in_or_below(leaf, reads, ".")}
    tracked = {leaf for leaf in every if in_or_below(leaf, listed, ".")}
    assert (sorted(read - tracked), sorted(tracked - read)) == ([], []), "missing, not read"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_opens_nothing_but_its_dependencies_and_outputs(
    reproductions: Reproductions, stage: str
) -> None:
    lock = yaml.safe_load((reproductions.here.root / "dvc.lock").read_text())["stages"][stage]
    named = [entry["path"] for kind in ("deps", "outs") for entry in lock.get(kind, [])]
    named += lock.get("params", {})  # files of which it reads some keys
    record = json.loads((reproductions.records / f"{stage}.json").read_text())
    opened = [
        file
        for file in record["files"]
        if file.startswith(("data/", "models/", "reports/")) and "/." not in file
    ]
    assert [file for file in opened if not in_or_below(file, named, "/")] == []
    assert opened
    tests = [file for file in record["files"] if "t10k" in file or file.endswith("test.npz")]
    assert bool(tests) == (stage in ("download", "preprocess", "evaluate"))


@pytest.mark.parametrize("stage", STAGES)
def test_the_contract_tests_see_every_module_that_a_stage_loads(
    reproductions: Reproductions, stage: str
) -> None:
    record = json.loads((reproductions.records / f"{stage}.json").read_text())
    loaded = {file for name in record["modules"] if (file := module_path(name))}
    script = PROJECT / "pipeline" / f"{stage.partition('@')[0]}.py"
    perturb = LIBRARY / "reproducibility/perturb.py"  # imported to change the environment
    assert loaded <= closure(script) | {perturb}
    if stage in ("download", "preprocess", "augment"):
        assert not {"tensorflow", "keras", "mlflow", "sklearn"} & set(record["modules"])
