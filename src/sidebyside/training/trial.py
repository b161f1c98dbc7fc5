"""One trial of a search."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Values = dict[str, Any]  # hyperparameter → value, all of a record


@dataclass(frozen=True)
class Trial:
    """One set of hyperparameters that was tried."""

    number: int  # from 1, in the order in which the strategy proposed them
    searched: Values  # the searched hyperparameters alone
    epochs: int  # the maximum
    scores: Mapping[str, float] | None  # val_accuracy, val_loss, epochs; None if it failed
    failure: str = ""  # the reason


def trial_identity(values: Mapping[str, Any], epochs: int) -> str:
    """Return the identity of a trial: 16 hexadecimal digits of its values and maximum epochs.

    Args:
        values: all hyperparameters.
        epochs: the maximum.
    """
    content = json.dumps([values, epochs], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
