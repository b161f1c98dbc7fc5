"""What of the published systems is held against what; their page's tests have the rest."""

from pathlib import Path
from typing import Any

import pytest

from sidebyside.core.errors import UserError
from study.findings import check_rows
from study.plan import read_plan

PLAN = read_plan(Path(__file__).parents[3] / "replications/params.yaml")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seeds": (1, 2)}, "seeds: a row of the grid has one, not 2"),
        ({"published": ()}, "published: expected test_accuracy, val_accuracy, "),
        ({"place": "Elsewhere"}, "place: expected 'Model 1 using 2 hidden layers'"),
    ],
)
def test_a_row_that_does_not_fit_into_the_grids_table_is_refused(
    changed: dict[str, Any], message: str
) -> None:
    check_rows(PLAN)
    name = "4-grid-2-sgd-01-512"
    models = {**PLAN.models, name: PLAN.models[name].model_copy(update=changed)}
    with pytest.raises(UserError, match=f"models.{name}.{message}"):
        check_rows(PLAN.model_copy(update={"models": models}))
