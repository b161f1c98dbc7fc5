"""Compare accuracies with those of other seeds: the distribution behind a single score.

`python -m sidebyside.reproducibility.seed_variance <checkout>` stores the scores of a run with
other seeds in reports/reference/ of this checkout.
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
from sidebyside.reproducibility.scores import Metrics, read_scores
from sidebyside.workflow import command

FOLDER = "reference"  # in reports/: the results of `make reference`
CONFIDENCE = 0.95  # level of the interval of a mean over seeds
INPUTS = "made_from"  # key beside a model's scores: digests of its data, its settings
STANDARD_ERRORS = 3  # binomial; the tolerance of an accuracy between different machines


def main() -> None:
    """Store the scores of a checkout in reports/reference/."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "checkout", type=Path, help="checkout in which `dvc repro` has run with other seeds"
    )
    checkout = Paths(parser.parse_args().checkout.resolve())
    here = Paths(CHECKOUT)
    write_json(here.report(FOLDER) / "metrics.json", collect_scores(checkout))


@dataclass(frozen=True)
class Comparison:
    """An accuracy compared with the recorded one and with other seeds."""

    model: str
    split: str
    expected: float
    new: float | None  # None: the new run has no such model
    tolerance: float
    probability: float | None  # of a deviation this large; None: fewer than two other seeds

    @property
    def within(self) -> bool:
        return self.new is not None and abs(self.new - self.expected) <= self.tolerance


def compare_scores(
    recorded: Metrics, new: Metrics, others: Metrics, images: Mapping[str, int]
) -> Iterator[Comparison]:
    """Compare every accuracy of a new run with the recorded run and with other seeds.

    The distribution leaves out the recorded seed, because the new run has the same one.

    Args:
        recorded: scores of the recorded run.
        new: scores of the new run.
        others: scores of other seeds.
        images: split → number of images.
    """
    for model, scores in recorded.items():
        for split in ("val", "test"):
            expected = scores[split]["accuracy"]
            score = new[model][split]["accuracy"] if model in new else None
            known = by_seed([others], without_seed(model), split, "accuracy")
            yield Comparison(
                model,
                split,
                expected,
                score,
                tolerance(expected, images[split]),
                None if score is None or len(known) < 2 else probability(known, score),
            )


def collect_scores(paths: Paths) -> dict[str, Any]:
    """Return the scores and inputs of a checkout's models: name with the seed → scores.

    Raises:
        UserError: a model of params.yaml was not trained or not evaluated.
    """
    path = paths.report("evaluate") / "metrics.json"
    scores = read_scores(path)
    collected = {}
    for name in map(str, _configured_models(paths)):
        shown = name if name in scores else without_seed(name)  # a single seed is left out
        if shown not in scores:
            raise UserError(f"{path} lacks {name}: run `dvc repro` to evaluate it")
        collected[name] = {**scores[shown], INPUTS: _inputs(paths, name)}
    return collected


def read_other_seeds(paths: Paths) -> Metrics:
    """Return the scores of other seeds with the recorded hyperparameters, budgets and data.

    Empty if `make reference` was not run, or only with other ones.

    Raises:
        UserError: a recorded model has no reports/train/<name>/model.json.
    """
    path = paths.report(FOLDER) / "metrics.json"
    if not path.exists():
        return {}
    names = [str(name) for name in _configured_models(paths)]
    recorded = {without_seed(name): _inputs(paths, name) for name in names}
    return {
        name: scores
        for name, scores in read_scores(path, "make reference").items()
        if scores.get(INPUTS) == recorded.get(without_seed(name)) and name not in names
    }


def _configured_models(paths: Paths) -> Iterator[ModelName]:
    """Yield the models of params.yaml."""
    train = read_parameters(paths.params).train
    for parts in itertools.product(train.models, train.data, train.seeds):
        yield ModelName(*parts)


def _inputs(paths: Paths, name: str) -> dict[str, Any]:
    """Return the data digests and the settings of a trained model."""
    path = paths.report("train") / name / "model.json"
    record = read_json(path)
    try:
        return {part: record[part] for part in ("data_sha256", "settings")}
    except (KeyError, TypeError):
        raise UserError(f"{path} is damaged: run `dvc repro` to write it again") from None


def by_seed(sources: Sequence[Metrics], model: str, split: str, metric: str) -> list[float]:
    """Return a model's scores over all seeds; a seed in several sources counts once.

    Args:
        sources: scores of several runs, by model with or without its seed.
        model: name without the seed, such as `mlp-original`.
        split: `val` or `test`.
        metric: such as `accuracy`.
    """
    scores_by_name = {
        name: scores[split][metric]
        for metrics in sources
        for name, scores in metrics.items()
        if without_seed(name) == model
    }
    return list(scores_by_name.values())


def without_seed(name: str) -> str:
    """Return a model's name without its seed, such as `mlp-original` for `mlp-original-2`."""
    model, _, last = name.rpartition("-")
    return model if last.isdecimal() else name


def probability(known: Sequence[float], score: float) -> float:
    """Return the probability that a further seed lies at least as far from the mean as `score`.

    Two-sided, from Student's prediction interval for one more value of a normal sample
    (Hahn & Meeker 1991, section 4.7). Scores without variance give 1 at the mean and 0 otherwise.
    """
    sample = mean_with_interval(known, CONFIDENCE)
    distance = abs(score - sample.mean)
    scale = sample.deviation * math.sqrt(1 + 1 / sample.seeds)
    if scale == 0:
        return float(distance == 0)
    return float(2 * stats.t.sf(distance / scale, sample.seeds - 1))


def tolerance(accuracy: float, images: int) -> float:
    """Return the tolerance of an accuracy where bit-identical results are not promised.

    Three binomial standard errors: wide enough for the rounding of another processor, narrow
    enough to reveal a mistake.

    Args:
        accuracy: share of `images` that were classified correctly.
        images: size of the split.
    """
    return STANDARD_ERRORS * math.sqrt(accuracy * (1 - accuracy) / images)


if __name__ == "__main__":
    command.run(main)
