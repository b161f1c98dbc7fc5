"""The plan of the published systems with budgets that take seconds."""

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from tests.support.checkout import Checkout


def plan(checkout: "Checkout") -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(
        (checkout.root / "replications/params.yaml").read_text()
    )
    return content


def shrink(checkout: "Checkout") -> dict[str, Any]:
    """Limit models to two seeds and epochs and searches to a few trials; return the plan."""
    content = plan(checkout)
    for part in content["searches"].values():
        part["search"] |= {"executions_per_trial": 1, "epochs": 1}
        if part["search"]["strategy"] == "hyperband":
            part["search"]["epochs"] = 2
        if part["search"]["strategy"] == "grid":
            part["space"]["l2"] = 0.0
        else:
            part["search"]["trials"] = 2
    for group in ("models", "winners"):
        for part in content[group].values():
            part["seeds"] = [1, 2] if len(part["seeds"]) > 1 else [1]
            part["training"] |= {"epochs": 2, "patience": 2}
    write(checkout, content)
    return content


def keep(content: dict[str, Any], *names: str) -> None:
    """Remove every search and model that is not named from a plan, with the claims about it."""
    for group in ("searches", "models", "winners"):
        content[group] = {name: part for name, part in content[group].items() if name in names}
    for part in content["searches"].values():
        part["printed"] = [name for name in part.get("printed", ()) if name in names]
    content["lowest"] = [claim for claim in content["lowest"] if claim["model"] in names]
    content["claims"] = [
        claim for claim in content["claims"] if {claim["first"], claim["second"]} <= {*names}
    ]


def write(checkout: "Checkout", content: dict[str, Any]) -> None:
    text = yaml.safe_dump(content, sort_keys=False)
    (checkout.root / "replications/params.yaml").write_text(text)


def make_replications(checkout: "Checkout", **options: Any) -> None:
    """Run `make replications` with the environment of the tests."""
    checkout.run("make", "--assume-old", ".venv/installed", "replications", **options)
