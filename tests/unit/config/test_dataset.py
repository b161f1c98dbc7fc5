import pytest
from pydantic import ValidationError

from sidebyside.config.dataset import Dataset
from tests.support.datasets import dataset


@pytest.mark.parametrize("name", ["icons-search", "a-replications"])
def test_a_data_set_does_not_have_the_name_of_another_experiment(name: str) -> None:
    dataset(name=name.replace("-", ""))
    with pytest.raises(ValidationError, match="must not end with -"):
        dataset(name=name)


def test_images_in_colour_are_not_trimmed() -> None:
    with pytest.raises(ValidationError, match="resize must be stretch, pad or crop for images in"):
        dataset(8, 8, 3, preparation="trim")


@pytest.mark.parametrize(("margin", "good"), [(3, True), (4, False)])
def test_a_margin_leaves_pixels_of_the_image(margin: int, *, good: bool) -> None:
    content = {**dataset(8, 10).model_dump(), "margin": margin}
    if good:
        assert Dataset.model_validate(content).margin == margin
    else:
        with pytest.raises(ValidationError, match="margin 4 leaves nothing of 8×10"):
            Dataset.model_validate(content)
