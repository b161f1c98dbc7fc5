from sidebyside.config.paths import ModelName
from sidebyside.evaluation.selection import best_model
from tests.support.reports import made_up_result


def test_the_best_model_is_selected_by_validation_accuracy() -> None:
    weak = made_up_result(ModelName("mlp", "original", 1), 0.9)
    strong = made_up_result(ModelName("cnn", "original", 1), 0.8)
    assert strong.scores["accuracy"] > weak.scores["accuracy"]
    assert best_model([strong, weak]) is weak


def test_the_first_of_equally_good_models_is_selected() -> None:
    first = made_up_result(ModelName("mlp", "original", 1), 0.9)
    second = made_up_result(ModelName("cnn", "original", 1), 0.9)
    assert best_model([first, second]) is first
