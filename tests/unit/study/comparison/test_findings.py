"""The rows of the grid; test_page.py tests the other comparisons."""

from typing import Any

import pytest

from sidebyside.config.paths import CHECKOUT
from sidebyside.core.errors import UserError
from study.comparison.findings import check_rows
from study.plan import read_plan

PLAN = read_plan(CHECKOUT / "replications/params.yaml")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seeds": (1, 2)}, "seeds: expected 1 for a row of the grid, not 2"),
        ({"published": ()}, "published: expected test_accuracy, val_accuracy, "),
        ({"source": "Appendix"}, "source: expected 'Model 1 using 2 hidden layers'"),
    ],
)
def test_a_row_that_does_not_fit_the_grids_table_is_refused(
    changed: dict[str, Any], message: str
) -> None:
    check_rows(PLAN)
    name = "4-grid-2-sgd-01-512"
    models = {**PLAN.models, name: PLAN.models[name].model_copy(update=changed)}
    with pytest.raises(UserError, match=f"models.{name}.{message}"):
        check_rows(PLAN.model_copy(update={"models": models}))
