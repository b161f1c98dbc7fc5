"""What other seeds gave: the distribution that a new score is held against.

`python -m sidebyside.reproducibility.seed_variance <checkout>` keeps here what a run in that checkout gave from them.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import CHECKOUT, ModelName, Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_json
from sidebyside.evaluation.intervals import mean_with_interval
from sidebyside.workflow import command

FOLDER = "reference"  # of reports/, with what `make reference` gave
CONFIDENCE = 0.95  # of the interval of a mean over seeds
MADE_FROM = "made_from"  # beside a model's scores: the digests of its data, its settings
ERRORS = 3  # binomial standard errors that an accuracy may be off on another kind of machine

Metrics = Mapping[str, Any]  # the content of reports/evaluate/metrics.json


def main() -> None:
    """Keep the scores of a checkout in reports/reference/."""
    parser = command.parser(__doc__)
    parser.add_argument("checkout", type=Path, help="where `dvc repro` has run with other seeds")
    checkout = Paths(parser.parse_args().checkout.resolve())
    here = Paths(CHECKOUT)
    write_json(here.report(FOLDER) / "metrics.json", gathered(checkout))


@dataclass(frozen=True)
class Comparison:
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


def compare_scores(
    recorded: Metrics, found: Metrics, others: Metrics, images: Mapping[str, int]
) -> Iterator[Comparison]:
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
            yield Comparison(
                model,
                split,
                expected,
                new,
                tolerance(expected, images[split]),
                None if new is None or len(known) < 2 else probability(known, new),
            )


def gathered(paths: Paths) -> dict[str, Any]:
    """Return the scores of a checkout's models by their full names, and what they are made from.

    Raises:
        UserError: a model of params.yaml was not trained or not evaluated.
    """
    path = paths.report("evaluate") / "metrics.json"
    scores = read_json(path)
    found = {}
    for name in map(str, _models(paths)):
        shown = name if name in scores else without_seed(name)  # as a model of one seed is called
        if shown not in scores:
            raise UserError(f"{path} lacks {name}: run `dvc repro` to evaluate it")
        found[name] = {**scores[shown], MADE_FROM: _made_from(paths, name)}
    return found


def read_others(paths: Paths) -> Metrics:
    """Return the scores of other seeds, everything else the same as in the recorded run.

    Empty where `make reference` was not run, or with other hyperparameters, budgets or data.

    Raises:
        UserError: a recorded model has no reports/train/<name>/model.json.
    """
    path = paths.report(FOLDER) / "metrics.json"
    if not path.exists():
        return {}
    names = [str(name) for name in _models(paths)]
    recorded = {without_seed(name): _made_from(paths, name) for name in names}
    return {
        name: scores
        for name, scores in read_json(path).items()
        if scores[MADE_FROM] == recorded.get(without_seed(name)) and name not in names
    }


def _models(paths: Paths) -> Iterator[ModelName]:
    """Give the models of params.yaml."""
    train = read_parameters(paths.params).train
    for parts in itertools.product(train.models, train.data, train.seeds):
        yield ModelName(*parts)


def _made_from(paths: Paths, name: str) -> dict[str, Any]:
    """Return what a model's bits follow from but its seed, code and machine."""
    path = paths.report("train") / name / "model.json"
    record = read_json(path)
    try:
        return {part: record[part] for part in ("data_sha256", "settings")}
    except (KeyError, TypeError):
        raise UserError(f"{path} is damaged: run `dvc repro` to make it again") from None


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
    sample = mean_with_interval(known, CONFIDENCE)
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


if __name__ == "__main__":
    command.run(main)
