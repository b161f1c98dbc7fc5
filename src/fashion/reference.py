"""What other seeds gave: the distribution that a new score is held against."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from fashion.evaluation import spread
from fashion.files import read_json
from fashion.paths import Paths

FOLDER = "reference"  # of reports/, with what `make reference` gave
CONFIDENCE = 0.95  # of the interval of a mean over seeds
ERRORS = 3  # binomial standard errors that an accuracy may be off on another kind of machine

Metrics = Mapping[str, Any]  # the content of reports/evaluate/metrics.json


@dataclass(frozen=True)
class Held:
    """One accuracy, held against the recorded one and against other seeds."""

    model: str
    split: str
    expected: float
    found: float | None  # None: the new run has no such model
    tolerance: float
    probability: float | None  # None: fewer than two other seeds are known

    @property
    def within(self) -> bool:
        return self.found is not None and abs(self.found - self.expected) <= self.tolerance


def hold(
    recorded: Metrics, found: Metrics, others: Metrics, images: Mapping[str, int]
) -> Iterator[Held]:
    """Hold every accuracy of a new run against the recorded run and other seeds.

    The recorded seed is not among those of the distribution, as the new run has it too.

    Args:
        recorded: the scores of the recorded run.
        found: those of the new run.
        others: those of other seeds.
        images: split → number of images.
    """
    for model, scores in recorded.items():
        for split in ("val", "test"):
            expected = scores[split]["accuracy"]
            new = found[model][split]["accuracy"] if model in found else None
            known = by_seed([others], without_seed(model), split, "accuracy")
            yield Held(
                model,
                split,
                expected,
                new,
                tolerance(expected, images[split]),
                None if new is None or len(known) < 2 else probability(known, new),
            )


def read_others(paths: Paths) -> Metrics:
    """Return the scores of other seeds; none where `make reference` was not run."""
    path = paths.report(FOLDER) / "metrics.json"
    return dict(read_json(path)) if path.exists() else {}


def by_seed(sources: Sequence[Metrics], model: str, split: str, metric: str) -> list[float]:
    """Return a model's scores over all seeds.

    Args:
        sources: scores of the recorded run and of other seeds.
        model: without its seed, such as `mlp-original`; names in `sources` may have one.
        split: `val` or `test`.
        metric: such as `accuracy`.
    """
    found = {
        name: scores[split][metric]
        for metrics in sources
        for name, scores in metrics.items()
        if without_seed(name) == model
    }
    return list(found.values())


def without_seed(name: str) -> str:
    """Return a model's name without its seed, such as `mlp-original` for `mlp-original-2`."""
    model, _, last = name.rpartition("-")
    return model if last.isdecimal() else name


def probability(known: Sequence[float], score: float) -> float:
    """Return how likely a further seed is to lie at least as far from the mean as `score`.

    Two-sided, by Student's prediction interval for one more value of a normal sample
    (Hahn & Meeker 1991, section 4.7). It says nothing of scores that do not vary.
    """
    sample = spread(known, CONFIDENCE)
    distance = abs(score - sample.mean)
    scale = sample.deviation * math.sqrt(1 + 1 / sample.seeds)
    if scale == 0:
        return float(distance == 0)
    return float(2 * stats.t.sf(distance / scale, sample.seeds - 1))


def tolerance(accuracy: float, images: int) -> float:
    """Return how far an accuracy may be off where the bits are not promised.

    Three standard errors of a share of `images` that is `accuracy` (binomial distribution): far
    enough for what another processor rounds, near enough to find a mistake.
    """
    return ERRORS * math.sqrt(accuracy * (1 - accuracy) / images)
