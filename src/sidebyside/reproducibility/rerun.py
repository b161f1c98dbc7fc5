"""Run the pipeline again in a fresh clone and compare every output with the recorded one.

The last commit is cloned into a temporary folder, `dvc repro` runs there from nothing, and what
comes out is held against dvc.lock and reports/ of that commit. On a machine like the one that made
the recorded results (the same fingerprint) every byte has to be the same. On another one the scores
have to lie within a tolerance of the recorded ones. The last line says which comparison it was.

With --smoke nothing recorded is needed: the pipeline runs twice with small budgets, in minutes, and
the two are compared. With --vary the second run finds itself elsewhere: another folder, home,
time zone, locale, umask, hash seed, clock and order of files.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from sidebyside.config.paths import CHECKOUT, Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, read_yaml, write_json, write_text
from sidebyside.reporting.page import cell
from sidebyside.reproducibility import seed_variance
from sidebyside.reproducibility.compare import first_difference_below
from sidebyside.workflow import command, provenance
from sidebyside.workflow.graph import recorded_outputs
from tools.tables.markdown import table

IDENTICAL, WITHIN, DIFFERENT = "identical", "within tolerance", "different"
# What no processor rounds: the same bytes on every machine. (The augmented images are rounded from
# interpolated ones.)
EXACT = ("data/raw", "data/processed", "data/original", "reports/preprocess")
# In reports/, one per kind of comparison: a run on another machine does not replace the other.
SAME_MACHINE, OTHER_MACHINE = "verification.md", "verification_elsewhere.md"
BUDGETS = "smoke.txt"  # beside this module

# What a result must not depend on. In this home nobody can write, root included.
ELSEWHERE = {
    "HOME": "/proc",
    "TZ": "Asia/Kathmandu",
    "LC_ALL": "C",
    "PYTHONHASHSEED": "4711",
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # as a notebook sets it
    "PYTHONPATH": "src",  # where every Python finds the following
}
UMASK = 0o077
INTRODUCTION = """\
Made by `make verify`: the pipeline of the last commit was run again from nothing in a fresh clone,
and what came out was held against the dvc.lock and reports/ of that commit, output by output. An
accuracy may be off by the tolerance, three binomial standard errors, where the bits are not
promised; how likely it is among other seeds stands beside it once `make reference` has run."""
SITECUSTOMIZE = "from sidebyside.reproducibility import perturb\n\nperturb.perturb()\n"


@dataclass(frozen=True)
class Row:
    """One output."""

    output: str
    verdict: str
    detail: str = ""


def main() -> None:
    """Verify the recorded results."""
    parser = command.parser(__doc__)
    parser.add_argument("--smoke", action="store_true", help="compare two runs of small budgets")
    parser.add_argument("--vary", action="store_true", help="let the second run be elsewhere")
    arguments = parser.parse_args()
    root = CHECKOUT
    if provenance.source(root).dirty:
        print("note: tracked files differ from the last commit, which is what is verified")
    with tempfile.TemporaryDirectory() as name:
        recorded = clone(root, Path(name) / "recorded")
        again = clone(root, Path(name) / ("again, elsewhere é" if arguments.vary else "again"))
        for checkout in (recorded, again):
            if arguments.smoke:
                set_parameters(checkout, budgets())
        if arguments.smoke:
            forget_results(recorded)
            # What other seeds gave with the full budgets says nothing of these.
            shutil.rmtree(Paths(recorded).report(seed_variance.FOLDER), ignore_errors=True)
            reproduce(recorded)
        else:
            fill_from_cache(recorded, root)
        forget_results(again)
        with elsewhere(again) if arguments.vary else contextlib.nullcontext():
            reproduce(again)
        text, good = report(recorded, again)
        file = report_file(recorded, again)
    if not arguments.smoke:
        write_text(Paths(root).report(file), text)
    print(text)
    if not good:
        raise UserError("the new run differs from the recorded one; the table above says where")


def clone(root: Path, target: Path) -> Path:
    """Return a clone of the last commit, with the data the user has put beside it.

    Raises:
        UserError: there is nothing to clone.
    """
    if subprocess.run(["git", "clone", "--quiet", root, target], check=False).returncode:
        raise UserError(f"{root} cannot be cloned: is it a git repository with a commit?")
    if (root / "data/local").is_dir():
        shutil.copytree(root / "data/local", target / "data/local")
    return target


def budgets() -> dict[str, Any]:
    """Return the parameters of a smoke run: key → value."""
    lines = (
        resources.files("sidebyside.reproducibility")
        .joinpath(BUDGETS)
        .read_text(encoding="utf-8")
        .split()
    )
    pairs = (line.split("=", 1) for line in lines)
    return {key: json.loads(value) for key, value in pairs}


def set_parameters(checkout: Path, values: Mapping[str, Any]) -> None:
    """Set values of params.yaml by their dotted keys."""
    path = checkout / "params.yaml"
    content = read_yaml(path)
    for key, value in values.items():
        *sections, name = key.split(".")
        section = content
        for part in sections:
            section = section[part]
        section[name] = value
    write_json(path, content)  # which is YAML, too


def forget_results(checkout: Path) -> None:
    """Delete what the stages made, so that a run starts from nothing."""
    for output in recorded_outputs(checkout):
        path = checkout / output
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (checkout / "dvc.lock").unlink(missing_ok=True)


def fill_from_cache(checkout: Path, root: Path) -> None:
    """Put the recorded data and models where they belong, as far as DVC's cache still has them.

    Raises:
        UserError: nothing is recorded.
    """
    if not recorded_outputs(checkout):
        raise UserError("there is no dvc.lock in the last commit: nothing is recorded to verify")
    cache = ["dvc", "config", "--local", "cache.dir", str(cache_folder(root))]
    subprocess.run(cache, cwd=checkout, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        ["dvc", "checkout", "--quiet", "--allow-missing"],
        cwd=checkout,
        check=False,  # what is missing is compared by its digest alone
        stderr=subprocess.DEVNULL,
    )


def cache_folder(root: Path) -> Path:
    """Return the folder of a checkout's DVC cache, which may be shared, and lie elsewhere.

    Raises:
        UserError: DVC cannot say, as its configuration is damaged.
    """
    asked = ["dvc", "cache", "dir"]
    answer = subprocess.run(asked, cwd=root, check=False, capture_output=True, text=True)
    if answer.returncode:
        raise UserError(f"`dvc cache dir` fails: {' '.join(answer.stderr.split())}")
    return root / answer.stdout.strip()


@contextlib.contextmanager
def elsewhere(checkout: Path) -> Iterator[None]:
    """Let everything that runs in the block in `checkout` be in another place and time."""
    (checkout / "src/sitecustomize.py").write_text(SITECUSTOMIZE, encoding="utf-8")
    before = dict(os.environ)
    umask = os.umask(UMASK)
    os.environ.update(ELSEWHERE)
    try:
        yield
    finally:
        os.umask(umask)
        os.environ.clear()
        os.environ.update(before)


def reproduce(checkout: Path) -> None:
    """Run the pipeline in a checkout.

    Raises:
        UserError: it failed.
    """
    done = subprocess.run(["dvc", "repro"], cwd=checkout, env=own_environment(), check=False)
    if done.returncode:
        raise UserError("`dvc repro` failed in a clone of the last commit")


def own_environment() -> dict[str, str]:
    """Return this process's environment without what would lead a checkout's runs elsewhere."""
    leading = ("MLFLOW_TRACKING_URI", "DVC_ROOT", "MAKEFLAGS")
    return {name: value for name, value in os.environ.items() if name not in leading}


def report(recorded: Path, again: Path) -> tuple[str, bool]:
    """Return the comparison of two checkouts as Markdown, and whether they agree."""
    expected, found = (scores(checkout) for checkout in (recorded, again))
    held = list(
        seed_variance.compare_scores(
            expected, found, seed_variance.read_others(Paths(recorded)), images(recorded)
        )
    )
    within = all(one.within for one in held)
    before, now = fingerprint(recorded), fingerprint(again)
    same_machine = before == now
    rows = list(compare(recorded, again, tolerant=within and not same_machine))
    good = all(row.verdict != DIFFERENT for row in rows) and within
    counts = {
        verdict: sum(row.verdict == verdict for row in rows)
        for verdict in (IDENTICAL, WITHIN, DIFFERENT)
    }
    here, there = processor(again), processor(recorded)
    kind = (
        f"machine fingerprint {now} ({here}), the recorded one: every byte was compared"
        if same_machine
        else f"machine fingerprint {now} ({here}), not the recorded {before} ({there}): the bits"
        " may differ and the scores were compared"
    )
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    text = "\n\n".join(
        [
            "# Verification",
            INTRODUCTION,
            table(
                ["output", "verdict", "first difference"],
                [[row.output, row.verdict, cell(row.detail)] for row in rows],
            ),
            score_table(held),
            f"{'Agreed' if good else 'Not agreed'}: {summary} of {len(rows)} outputs; {kind}.",
        ]
    )
    return text, good


def scores(checkout: Path) -> dict[str, Any]:
    """Return the content of reports/evaluate/metrics.json."""
    content: dict[str, Any] = read_json(Paths(checkout).report("evaluate") / "metrics.json")
    return content


def images(checkout: Path) -> dict[str, int]:
    """Return split → number of images."""
    splits = read_json(Paths(checkout).report("preprocess") / "summary.json")["splits"]
    return {name: split["images"] for name, split in splits.items()}


def report_file(recorded: Path, again: Path) -> str:
    """Return the name of the report, by whether the models come from machines of equal bits."""
    return SAME_MACHINE if fingerprint(recorded) == fingerprint(again) else OTHER_MACHINE


def fingerprint(checkout: Path) -> str:
    """Return the fingerprint of the machine that trained the models."""
    return _machine(checkout, "fingerprint")


def processor(checkout: Path) -> str:
    """Return what the processor that trained the models can: a part of the fingerprint."""
    return _machine(checkout, "processor")


def _machine(checkout: Path, fact: str) -> str:
    files = sorted(Paths(checkout).report("train").glob("*/model.json"))
    found = sorted({read_json(file)["machine"][fact] for file in files})
    return ", ".join(found)


def compare(recorded: Path, again: Path, *, tolerant: bool) -> Iterator[Row]:
    """Compare two checkouts output by output, in the order of the stages.

    Args:
        recorded: what is expected.
        again: what is compared with it.
        tolerant: whether other bits are accepted, as the scores agree.
    """
    expected, found = recorded_outputs(recorded), recorded_outputs(again)
    for output in dict.fromkeys([*expected, *found]):
        if output not in found:
            yield Row(output, DIFFERENT, "is missing")
        elif output not in expected:
            yield Row(output, DIFFERENT, "is there in addition")
        elif expected[output] == found[output]:
            yield Row(output, IDENTICAL)
        else:
            verdict = WITHIN if tolerant and not output.startswith(EXACT) else DIFFERENT
            yield Row(output, verdict, difference(recorded / output, again / output))
    locks = [(checkout / "dvc.lock").read_bytes() for checkout in (recorded, again)]
    if locks[0] == locks[1]:
        yield Row("dvc.lock", IDENTICAL)
    else:
        detail = difference(recorded / "dvc.lock", again / "dvc.lock")
        yield Row("dvc.lock", WITHIN if tolerant else DIFFERENT, detail)


def difference(expected: Path, found: Path) -> str:
    """Return where an output differs, or why that cannot be said."""
    if not expected.exists():
        return "other digest; the recorded file is not in DVC's cache"
    return first_difference_below(expected, found) or "other digest"


def score_table(held: Iterable[seed_variance.Comparison]) -> str:
    """Return a row per model and split, with p where there are other seeds."""
    held = list(held)
    others = any(one.probability is not None for one in held)
    rows: Sequence[Sequence[str]] = [
        [
            one.model,
            one.split,
            f"{one.expected:.4f}",
            "missing" if one.found is None else f"{one.found:.4f}",
            f"±{one.tolerance:.4f}",
            WITHIN if one.within else DIFFERENT,
            *(["" if one.probability is None else f"{one.probability:.2f}"] if others else []),
        ]
        for one in held
    ]
    return table(
        [
            *("model", "split", "recorded accuracy", "found", "tolerance", "verdict"),
            *(["p by other seeds"] if others else []),
        ],
        rows,
    )


if __name__ == "__main__":
    command.run(main)
