import subprocess
import sys
from pathlib import Path

import pytest

from sidebyside.reporting import summary


def scores(val_accuracy: float) -> dict[str, dict[str, float]]:
    test = {"accuracy": val_accuracy - 0.01, "f1_macro": 0.9, "log_loss": 0.25}
    return {"val": {"accuracy": val_accuracy, "log_loss": 0.2}, "test": test}


def test_the_summary_is_an_aligned_table_and_the_best_model() -> None:
    metrics = {"mlp-original": scores(0.91), "cnn": scores(0.93), "mlp-augmented": scores(0.92)}
    assert summary.text(metrics).splitlines() == [
        "model          val accuracy  test accuracy  test macro F1  test log loss",
        "mlp-original         0.9100         0.9000         0.9000         0.2500",
        "cnn                  0.9300         0.9200         0.9000         0.2500",
        "mlp-augmented        0.9200         0.9100         0.9000         0.2500",
        "",
        "Best model by validation accuracy: cnn (test accuracy 92.00 %)",
    ]


def test_the_first_of_equally_good_models_is_the_best() -> None:
    assert summary.best_model({"a": scores(0.9), "b": scores(0.9)}) == "a"


def test_a_run_without_a_model_has_no_summary() -> None:
    with pytest.raises(ValueError, match="empty"):
        summary.text({})


def test_the_summary_needs_no_large_package() -> None:
    program = (
        "import sys; from sidebyside.reporting import summary;"
        " print(*{'numpy', 'pandas', 'sklearn', 'matplotlib', 'tensorflow'} & {*sys.modules})"
    )
    source = str(Path(summary.__file__).parents[2])
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": source},
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == ""
