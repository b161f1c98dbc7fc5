"""The whole plan of the published systems, at toy size."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from sidebyside.core.files import read_csv, read_json
from tests.support import replicating
from tests.support.replicating import make_replications

if TYPE_CHECKING:
    from tests.support.checkout import Checkout


@pytest.mark.timeout(3600)
def test_the_whole_plan_runs(checkout_from: "Callable[..., Checkout]") -> None:
    checkout = checkout_from()
    content = replicating.shrink(checkout)
    replicating.write(checkout, content)
    make_replications(checkout, limit=3600)
    summary: Mapping[str, Any] = read_json(checkout.root / "replications/summary.json")
    assert summary["missing"] == []
    trained = [*content["models"], *content["winners"]]
    assert sum(one["models"] for one in summary["systems"].values()) == len(trained)
    claims = sum(sum(one["claims"].values()) for one in summary["systems"].values())
    assert claims == len(content["claims"]) + len(content["lowest"])
    for name, part in content["searches"].items():
        trials = read_csv(checkout.root / f"replications/results/searches/{name}/trials.csv", ())
        assert len(trials) == part["search"]["trials"] or part["search"]["strategy"] == "hyperband"
