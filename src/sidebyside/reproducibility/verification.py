"""Compare the outputs and scores of two checkouts, and report the result."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sidebyside.config.paths import Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json
from sidebyside.reporting import page
from sidebyside.reporting.page import Section, Table, Text
from sidebyside.reproducibility import seed_variance
from sidebyside.reproducibility.compare import first_difference_below
from sidebyside.reproducibility.gather_provenance import Machine, training_machine
from sidebyside.reproducibility.scores import read_scores
from sidebyside.workflow.graph import LOCK, recorded_outputs

IDENTICAL, WITHIN, DIFFERENT = "identical", "within tolerance", "different"
# Outputs without rounding: the same bytes on every machine. (Augmented images are interpolated.)
EXACT = ("data/raw", "data/processed", "data/original", "reports/preprocess")
# Reports in reports/, one per kind of comparison, so that neither replaces the other.
SAME_MACHINE, OTHER_MACHINE = "verification.md", "verification_other_machine.md"

INTRODUCTION = (
    "`make verify` ran the pipeline of the last commit from scratch in a fresh clone and compared"
    " its outputs with that commit's dvc.lock and reports/."
)
TOLERANCE = (
    "Accuracies of the recorded and of the new run. The tolerance is three binomial standard"
    " errors; it applies where bit-identical results are not promised."
)
WITH_SEEDS = (
    " p is the probability that another seed's accuracy is at least as far from the mean of the"
    " seeds in reports/reference/ as that of the new run (two-sided, Student's t)."
)
WITHOUT_SEEDS = " Run `make reference` to compare them with other seeds as well."


@dataclass(frozen=True)
class Row:
    """The comparison of one output."""

    output: str
    result: str  # IDENTICAL, WITHIN or DIFFERENT
    detail: str = ""  # the first difference


class Verification(NamedTuple):
    """The comparison of two checkouts."""

    text: str  # Markdown
    agreed: bool
    file: str  # name of the report in reports/


def require_results(recorded: Path) -> None:
    """Check that a checkout has what `verify` reads of the recorded results, before a long run.

    Raises:
        UserError: the last commit lacks a result, or has a damaged one.
    """
    try:
        verify(recorded, recorded)
    except (UserError, KeyError, TypeError, AttributeError) as error:
        # Without the path of the clone, and advice for it.
        text = str(error).replace(f"{recorded}/", "").partition(":")[0]
        reason = text if isinstance(error, UserError) else f"{error!r} in reports/"
        raise UserError(
            f"results of the last commit are incomplete ({reason}): run `make repro` and commit"
            " reports/ with dvc.lock"
        ) from None


def verify(recorded: Path, again: Path) -> Verification:
    """Compare the results of two checkouts.

    Between machines with equal fingerprints all bytes have to be equal. Otherwise the accuracies
    have to be within their tolerances, and outputs without rounding have to be equal.
    """
    expected, new = (
        read_scores(Paths(checkout).report("evaluate") / "metrics.json")
        for checkout in (recorded, again)
    )
    others = seed_variance.read_other_seeds(Paths(recorded))
    comparisons = list(
        seed_variance.compare_scores(expected, new, others, images_per_split(recorded))
    )
    within = all(comparison.within for comparison in comparisons)
    before, now = training_machine(recorded), training_machine(again)
    same_machine = same_fingerprint(before, now)
    rows = list(compare(recorded, again, tolerant=within and not same_machine))
    agreed = within and all(row.result != DIFFERENT for row in rows)
    cells = [[row.output, row.result, row.detail] for row in rows]
    header = ["output", "result", "first difference"]
    last = f"{'Agreed' if agreed else 'Not agreed'}: {counts(rows)}. {basis(before, now)}"
    sections = [
        Section("outputs", "Outputs", [Table(INTRODUCTION, header, cells, text_columns=3)]),
        Section("accuracies", "Accuracies", [score_table(comparisons)]),
        Section("result", "Result", [Text(last)]),
    ]
    file = SAME_MACHINE if same_machine else OTHER_MACHINE
    return Verification(page.markdown("Verification", sections), agreed, file)


def images_per_split(checkout: Path) -> dict[str, int]:
    """Return split → number of images."""
    splits = read_json(Paths(checkout).report("preprocess") / "summary.json")["splits"]
    return {name: split["images"] for name, split in splits.items()}


def compare(recorded: Path, again: Path, *, tolerant: bool) -> Iterator[Row]:
    """Compare two checkouts output by output, in the order of the stages.

    Args:
        recorded: the expected results.
        again: the new results.
        tolerant: whether rounded outputs may differ, because the accuracies agree.
    """
    expected, new = recorded_outputs(recorded), recorded_outputs(again)
    for output in dict.fromkeys([*expected, *new]):
        if output not in new:
            yield Row(output, DIFFERENT, "missing")
        elif output not in expected:
            yield Row(output, DIFFERENT, "not recorded")
        elif expected[output] == new[output]:
            yield Row(output, IDENTICAL)
        else:
            result = WITHIN if tolerant and not output.startswith(EXACT) else DIFFERENT
            yield Row(output, result, difference(recorded / output, again / output))
    locks = [(checkout / LOCK).read_bytes() for checkout in (recorded, again)]
    if locks[0] == locks[1]:
        yield Row(LOCK, IDENTICAL)
    else:
        detail = difference(recorded / LOCK, again / LOCK)
        yield Row(LOCK, WITHIN if tolerant else DIFFERENT, detail)


def difference(expected: Path, new: Path) -> str:
    """Return the first difference of an output whose digests differ."""
    if not expected.exists():
        return "other digest; the recorded file is not in the DVC cache"
    return first_difference_below(expected, new) or "other digest"


def score_table(comparisons: Sequence[seed_variance.Comparison]) -> Table:
    """Return a row per model and split, with p where scores of other seeds are known."""
    others = any(one.probability is not None for one in comparisons)
    rows = [
        [
            one.model,
            one.split,
            f"{one.expected:.4f}",
            "missing" if one.new is None else f"{one.new:.4f}",
            f"±{one.tolerance:.4f}",
            WITHIN if one.within else DIFFERENT,
            *(["" if one.probability is None else f"{one.probability:.2f}"] if others else []),
        ]
        for one in comparisons
    ]
    header = ["model", "split", "recorded", "new", "tolerance", "result"]
    caption = TOLERANCE + (WITH_SEEDS if others else WITHOUT_SEEDS)
    return Table(caption, [*header, *["p (other seeds)"] * others], rows, text_columns=2)


def counts(rows: Sequence[Row]) -> str:
    """Return the number of outputs by result, such as "21 identical, 2 different of 23 outputs"."""
    results = [row.result for row in rows]
    parts = [
        f"{results.count(result)} {result}"
        for result in (IDENTICAL, WITHIN, DIFFERENT)
        if result in results
    ]
    return f"{', '.join(parts)} of {len(rows)} outputs"


def basis(before: Machine, now: Machine) -> str:
    """Return a sentence on the machines and on the kind of comparison that follows from them."""
    if same_fingerprint(before, now):
        comparison = "equals the recorded one: every byte was compared"
    else:
        comparison = (
            f"differs from the recorded {before.fingerprint} ({before.processor}):"
            " bits may differ, accuracies were compared"
        )
    return f"Machine fingerprint {now.fingerprint} ({now.processor}) {comparison}."


def same_fingerprint(before: Machine, now: Machine) -> bool:
    """Return whether two machines have the same known fingerprint."""
    return before.known and before.fingerprint == now.fingerprint
