import pytest
from pydantic import ValidationError

from tests.support.datasets import dataset


@pytest.mark.parametrize("name", ["icons-search", "a-replications"])
def test_a_data_set_does_not_have_the_name_of_another_experiment(name: str) -> None:
    dataset(name=name.replace("-", ""))
    with pytest.raises(ValidationError, match="must not end with -"):
        dataset(name=name)
