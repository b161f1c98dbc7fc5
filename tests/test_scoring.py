"""What the guard before MLflow's scoring server makes of a body."""

import pytest

IMPORTED = pytest.mark.filterwarnings("ignore:.*Any type hint:UserWarning")  # MLflow's, of its own


@IMPORTED
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"inputs": [[[0, 0.5]]]}', "0.5 is no pixel: send whole numbers from 0 to 255"),
        (b'{"inputs": [[[1e2]]]}', "1e2 is no pixel"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"inputs": ' + b"9" * 5000 + b"}", "send whole numbers from 0 to 255"),
    ],
)
def test_what_mlflow_would_misread_has_a_reason(body: bytes, reason: str) -> None:
    from fashion.scoring import misreading

    assert reason in (misreading(body) or "")


@IMPORTED
@pytest.mark.parametrize("body", [b'{"inputs": [[[0, 255]]]}', b"", b"a shirt", b"\xff\xfe\xfd"])
def test_what_mlflow_answers_rightly_is_left_to_it(body: bytes) -> None:
    from fashion.scoring import misreading

    assert misreading(body) is None
