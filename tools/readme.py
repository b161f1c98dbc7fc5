"""Fill the tables of the pages from the files of the last run: `python -m tools.readme`.

The pages are README.md and docs/speed.md; the head of params.yaml and reports/reproducibility.md
are made with them. A table stands between `<!-- name -->` and `<!-- /name -->`; nothing between the
two is written by hand.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import ModelName, Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json, write_text
from sidebyside.evaluation.intervals import mean_with_interval
from sidebyside.reporting.formatting import level
from sidebyside.reproducibility.seed_variance import CONFIDENCE, by_seed, read_others, without_seed
from sidebyside.workflow import command
from sidebyside.workflow.progress import duration
from tools import checklist

PAGES = ("README.md", "docs/speed.md")
NONE_RECORDED = "no run is recorded: `make record` does that"
HEADER = r"# expected .*?# /expected"  # of params.yaml
EXPERIMENTS = ("bfloat16", "thorough")  # targets of make, whose scores are in reports/<target>


def main() -> None:
    """Rewrite the tables, or with --check only say whether they are up to date."""
    parser = command.parser(__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if out of date")
    check = parser.parse_args().check
    paths = Paths(Path(__file__).resolve().parents[1])
    made: tuple[tuple[Path, Callable[[str, Paths], str]], ...] = (
        *((paths.root / page, partial(filled, page=page)) for page in PAGES),
        (paths.params, expected),
        (paths.report("reproducibility.md"), lambda _, paths: checklist.render(paths.root)),
    )
    for path, fill in made:  # the checklist last: it looks into the others
        old = _text(path) if path.exists() else ""
        new = fill(old, paths)
        if check and new != old:
            raise UserError(f"{path.name} is out of date: run `make readme`")
        if new != old:
            write_text(path, new)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name} is no text in UTF-8: {error}") from None


def filled(text: str, paths: Paths, page: str = PAGES[0]) -> str:
    """Return the text of a page with every table made anew.

    Raises:
        UserError: a table is unknown, or a file it is made from is missing.
    """

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in TABLES:
            raise UserError(f"{page}: unknown table {name!r}: choose from {', '.join(TABLES)}")
        try:
            return f"<!-- {name} -->\n{TABLES[name](paths)}\n<!-- /{name} -->"
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{page}: table {name!r} cannot be made: a file in reports/ is damaged ({error!r})"
            ) from None

    for name in re.findall(r"<!-- ([a-z-]+) -->", text):
        if f"<!-- /{name} -->" not in text:
            raise UserError(f"{page}: table {name!r} has no end: add <!-- /{name} -->")
    return re.sub(r"<!-- (?P<name>[a-z-]+) -->.*?<!-- /(?P=name) -->", fill, text, flags=re.DOTALL)


def expected(text: str, paths: Paths) -> str:
    """Return the text of params.yaml with what to expect of `make repro` in its header.

    Raises:
        UserError: a file it is made from is missing, no run is recorded, or the header has no
            place for it.
    """
    recorded = _recorded_runs(paths)
    if "repro" not in recorded:
        raise UserError(NONE_RECORDED)
    run = recorded["repro"]
    if not re.search(HEADER, text, re.DOTALL):
        raise UserError(f"{paths.params.name}: its header lacks “# expected” or “# /expected”")
    lines = [
        f"#   make repro: {duration(run['seconds'])} on {run['cores']} cores ({run['processor']})"
    ]
    for model, scores in read_json(paths.report("evaluate") / "metrics.json").items():
        val, test = scores["val"]["accuracy"], scores["test"]["accuracy"]
        lines.append(f"#   {model}: val accuracy {val:.4f}, test accuracy {test:.4f}")
    block = "\n".join(["# expected (made by `make readme`):", *lines, "# /expected"])
    return re.sub(HEADER, lambda _: block, text, count=1, flags=re.DOTALL)


def scores(paths: Paths) -> str:
    """Return a row per model: validation score, test score, what was trained."""
    rows = _score_rows(read_json(paths.report("evaluate") / "metrics.json"))
    for target in EXPERIMENTS:
        file = paths.report(target) / "metrics.json"
        if file.exists():
            rows += [
                [f"{cells[0]}, `make {target}`", *cells[1:]]
                for cells in _score_rows(read_json(file))
            ]
    return table(
        ["model", "val accuracy", "test accuracy", "macro F1", "log loss", "calibration error"],
        rows,
    )


def comparisons(paths: Paths) -> str:
    """Return a row per comparison: difference in test accuracy, interval, McNemar's test."""
    confidence = read_parameters(paths.params).evaluate.confidence
    return table(
        ["comparison", "difference in accuracy", f"{level(confidence)} interval", "McNemar p"],
        [
            [
                f"{one['second']} − {one['first']}",
                _points(one["accuracy_difference"]),
                " to ".join(_points(end) for end in one["interval"]),
                f"{one['mcnemar_p_value']:.2g}",
            ]
            for one in read_json(paths.report("evaluate") / "comparisons.json")
        ],
    )


def models(paths: Paths) -> str:
    """Return a row per trained model: its size and how long it learned."""
    rows = []
    speeds = benchmark(paths, "precision")
    named = read_parameters(paths.params).train
    for parts in itertools.product(named.models, named.data, named.seeds):
        folder = paths.training(ModelName(*parts))
        record, done = read_json(folder / "model.json"), read_json(folder / "metrics.json")
        epoch = speeds["models"][parts[0]][record["settings"]["precision"]]["seconds_per_epoch"]
        rows.append(
            [
                folder.name,
                f"{record['parameters']:,}",
                f"{record['flops_per_image'] / 1e6:.1f} million",
                f"{done['best_epoch']} of {done['epochs']}",
                f"{epoch:.1f} s",
                f"`{record['weights_sha256'][:16]}`",
            ]
        )
    header = [
        *("model", "parameters", "FLOPs per image", "best epoch", "an epoch's time"),
        "SHA-256 of the weights",
    ]
    return (
        f"{table(header, rows)}\n\nAn epoch's time is that on the original data, by"
        f" `make benchmark` on {_machine(speeds)}."
    )


def durations(paths: Paths) -> str:
    """Return a row per command with its wall time, and the machines they were measured on."""
    runs = _recorded_runs(paths)
    rows = [
        [
            f"`make {target}`",
            duration(done["seconds"]),
            f"{done['peak_memory_mib']:,} MiB",
            f"`{done['instructions']}`",
        ]
        for target, done in runs.items()
    ]
    machines = dict.fromkeys(
        f"`{done['instructions']}` is an {done['processor']} with {done['cores']} cores, Python"
        f" {done['python']}"
        for done in runs.values()
    )
    text = (
        "Measured by `python -m sidebyside.reproducibility.record`, target by target, in a fresh clone, no GPU. A"
        " processor is told by a digest of its instruction sets:"
        f" {'; '.join(machines)}. A target that was measured alone begins with"
        " `make install` (with the packages in uv's cache); memory is that of the largest process."
    )
    return f"{table(['command', 'wall time', 'memory', 'processor'], rows)}\n\n{text}"


def seeds(paths: Paths) -> str:
    """Return a row per model with its test accuracy over several seeds."""
    recorded = read_json(paths.report("evaluate") / "metrics.json")
    sources = [recorded, read_others(paths)]
    rows = []
    for model in dict.fromkeys(map(without_seed, recorded)):
        sample = mean_with_interval(by_seed(sources, model, "test", "accuracy"), CONFIDENCE)
        low, high = sample.interval
        known = sample.seeds > 1
        rows.append(
            [
                model,
                str(sample.seeds),
                f"{sample.mean:.4f}",
                f"{sample.deviation:.4f}" if known else "–",
                f"{low:.4f} to {high:.4f}" if known else "–",
            ]
        )
    if all(known == "1" for _, known, *_ in rows):
        return "`make reference` has not been run: one seed of each model, so no spread is known."
    return table(
        [
            "model",
            "seeds",
            "mean",
            "standard deviation",
            f"{level(CONFIDENCE)} interval of the mean",
        ],
        rows,
    )


def systems(paths: Paths) -> str:
    """Return a row per published system: what came of its numbers and claims, and the time.

    Raises:
        UserError: the replications' page has not been made.
    """
    path = paths.root / "replications/summary.json"
    if not path.exists():
        raise UserError(f"{path} is missing: run `make replications`")
    told = read_json(path)
    rows = [
        [
            f"{name}. {found['title']}",
            str(found["models"]),
            str(found["searches"]),
            " / ".join(str(count) for count in found["published"].values()),
            " / ".join(str(count) for count in found["claims"].values()),
            duration(found["seconds"]),
        ]
        for name, found in told["systems"].items()
    ]
    verdicts = [" / ".join(told["systems"]["1"][part]) for part in ("published", "claims")]
    text = table(["published system", "models", "searches", *verdicts, "time, one core"], rows)
    if told["seconds"]:
        text += f"\n\nAll of it, two stages at a time, took {duration(told['seconds'])}."
    if told["missing"]:
        text += f"\n\nNot run yet: {', '.join(f'`{stage}`' for stage in told['missing'])}."
    return text


def benchmark(paths: Paths, name: str) -> Any:
    """Return what a benchmark found.

    Raises:
        UserError: it was not run.
    """
    path = paths.report("benchmarks") / f"{name}.json"
    if not path.exists():
        raise UserError(f"{path} is missing: run `make benchmark`")
    return read_json(path)


def determinism(paths: Paths) -> str:
    """Return a sentence on what determinism costs."""
    measured = benchmark(paths, "determinism")
    costs = ", ".join(
        f"{100 * found['cost']:+.1f} % for the {model}, whose repeats differ by"
        f" {100 * _spread(found):.0f} %"
        for model, found in measured["models"].items()
    )
    hidden = all(abs(found["cost"]) <= _spread(found) for found in measured["models"].values())
    return (
        f"Deterministic kernels change the median time of an epoch by {costs} (`make benchmark`,"
        f" {_machine(measured)}){': less than repeats of the same work differ by' * hidden}."
    )


def pooling(paths: Paths) -> str:
    """Return a sentence on what GELU and the pooling in one save."""
    measured = benchmark(paths, "pooling")
    return (
        f"In one they shorten the median epoch of system 2's printed CNN (`{measured['name']}`) by"
        f" {100 * measured['saved']:.0f} %; repeats of the same work differ by"
        f" {100 * _spread(measured):.0f} % (`make benchmark`, one of {_machine(measured)})."
    )


def side_by_side(paths: Paths) -> str:
    """Return a sentence on what one thread for each of two processes saves."""
    measured = benchmark(paths, "side_by_side")
    return (
        f"With one thread for each of {measured['processes']} processes the median epoch of"
        f" `{measured['name']}` is {100 * measured['saved']:.0f} % shorter; repeats of the same"
        f" work differ by {100 * _spread(measured):.0f} % (`make benchmark`,"
        f" {_machine(measured)})."
    )


def _spread(found: dict[str, Any]) -> float:
    """Return by how much repeats of the same work differ at most, of their median."""
    spreads: list[float] = [
        (max(values) - min(values)) / found["medians"][kind]
        for kind, values in found["seconds"].items()
    ]
    return max(spreads)


def speed(paths: Paths, name: str = "training") -> str:
    """Return seconds per epoch of this project's training beside other ways to write it."""
    measured = benchmark(paths, name)
    own, *others = measured["cases"][0]["medians"]
    rows = []
    for case in measured["cases"]:
        fastest = min(case["medians"].values())
        times = {
            contender: f"**{seconds:.2f}**" if seconds == fastest else f"{seconds:.2f}"
            for contender, seconds in case["medians"].items()
        }
        rows.append(
            [
                f"{case['model']}, batch {case['batch_size']}",
                times[own],
                *(f"{times[other]} ({case['times_faster'][other]:.2f}×)" for other in others),
                f"{case['share_of_matrix_product']:.0%}",
            ]
        )
    off = [
        abs(seconds / case["medians"][contender] - 1)
        for case in measured["cases"]
        for contender, rounds in case["seconds"].items()
        for seconds in rounds
    ]
    header = ["seconds per epoch", own, *others, "of the matrix product's rate"]
    return (
        f"{table(header, rows)}\n\nMedians of {measured['rounds']} rounds on"
        f" {_machine(measured)}, where a large float32 matrix product reaches"
        f" {measured['matrix_product_gflops']:.0f} GFLOP/s; in brackets their time divided by ours,"
        f" in bold the fastest. Half of the rounds lie within {median(off):.0%} of their median,"
        f" all within {max(off):.0%}."
    )


def profile(paths: Paths) -> str:
    """Return where a training step's time goes, by kind of work, and that of products by layer."""
    measured = benchmark(paths, "profile")
    models = measured["models"]
    kinds = dict.fromkeys(kind for found in models.values() for kind in found["shares"])
    header = [
        "share of the kernels' time",
        *(f"{model}, batch {found['batch_size']}" for model, found in models.items()),
    ]
    rows = [
        [kind, *(f"{found['shares'].get(kind, 0):.0%}" for found in models.values())]
        for kind in kinds
    ]
    products = [
        [
            f"{model}, {layer}",
            *(
                cell
                for direction in ("forward", "backward")
                for cell in (
                    f"{directions[direction]['milliseconds_per_step']:.2f}",
                    f"{directions[direction]['share_of_matrix_product']:.0%}",
                )
            ),
        ]
        for model, found in models.items()
        for layer, directions in found["layers"].items()
    ]
    columns = ["products of a step", "forward, ms", "rate", "backward, ms", "rate"]
    return (
        f"{table(header, rows)}\n\n{table(columns, products)}\n\n{_on(measured)} Rates are shares"
        " of that of a large matrix product, which reached"
        f" {measured['matrix_product_gflops']:.0f} GFLOP/s; of the first layer only what is"
        " computed counts here."
    )


def precision(paths: Paths) -> str:
    """Return what bfloat16 changes, a row per model."""
    measured = benchmark(paths, "precision")
    rows = [
        [
            f"{model}, {kind}",
            f"{found['seconds_per_epoch']:.1f}",
            f"{found['val_accuracy']:.4f}",
            f"{found['val_loss']:.4f}",
        ]
        for model, kinds in measured["models"].items()
        for kind, found in kinds.items()
    ]
    header = ["precision", "seconds per epoch", "val accuracy", "val loss"]
    return f"{table(header, rows)}\n\n{_on(measured)}"


def overheads(paths: Paths) -> str:
    """Return where the time of `make repro` goes, a row per stage."""
    measured = benchmark(paths, "overheads")
    stages = measured["stages"]
    sums = Counter[str]()
    for found in stages.values():
        sums.update(found)
    kinds = [kind for kind, _ in sums.most_common()]
    rows = [
        [name, *(f"{found[kind]:.1f}" if kind in found else "" for kind in kinds)]
        for name, found in [*stages.items(), ("sum", sums)]
    ]
    short = ", ".join(
        f"`{what}` {taken:.2f} s" for what, taken in measured["short_commands"].items()
    )
    return (
        f"{table(['seconds', *kinds], rows)}\n\n{_on(measured)}"
        f" {1 - sums['training steps'] / measured['seconds']:.1%} of the time is no training step,"
        f" {measured['overhead']:.1%} neither that nor validation, prediction or tracing. In tune"
        " and train, logging to MLflow takes"
        f" {measured['logging_of_training']:.1%} of the time of all training."
        f" Commands that do next to nothing: {short}."
    )


def growth(paths: Paths) -> str:
    """Return how time and memory grow with the data, a row per model and size."""
    measured = benchmark(paths, "growth")
    rows = []
    for model, sizes in measured["data"].items():
        first = sizes[0]
        for size in sizes:
            ratio = size["seconds"] / first["seconds"] / size["factor"]
            rows.append(
                [
                    f"{model}, {size['factor']} times the data",
                    f"{size['seconds']:.1f}",
                    f"{ratio - 1:+.1%}",
                    f"{size['mib'] - first['mib']:.0f}",
                    f"{size['peak_memory_mib'] - first['peak_memory_mib']:.0f}",
                ]
            )
    store = measured["store"]
    logging = ", ".join(
        f"to {what} takes {1000 * store['full'][what]:.0f} ms instead of {1000 * seconds:.0f}"
        for what, seconds in store["empty"].items()
    )
    header = [
        *("size", "seconds per epoch", "against linear growth"),
        *("MiB of pixels added", "more MiB used"),
    ]
    return (
        f"{table(header, rows)}\n\n{_on(measured)} With {store['runs']:,} runs in MLflow,"
        f" {logging}."
    )


def _on(measured: dict[str, Any]) -> str:
    return f"Measured on {_machine(measured)}."


def _machine(measured: dict[str, Any]) -> str:
    machine = measured["machine"]
    return f"{machine['cores']} cores ({machine['processor']})"


TABLES: dict[str, Callable[[Paths], str]] = {
    "scores": scores,
    "seeds": seeds,
    "comparisons": comparisons,
    "models": models,
    "durations": durations,
    "systems": systems,
    "determinism": determinism,
    "pooling": pooling,
    "side-by-side": side_by_side,
    "speed": speed,
    "speed-elsewhere": partial(speed, name="training_elsewhere"),
    "profile": profile,
    "precision": precision,
    "overheads": overheads,
    "growth": growth,
}


def _recorded_runs(paths: Paths) -> dict[str, Any]:
    """Return target → time, memory and machine, as `make record` keeps them."""
    path = paths.report("run.json")
    if not path.exists():
        raise UserError(NONE_RECORDED)
    runs: dict[str, Any] = read_json(path)["runs"]
    return runs


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _score_rows(metrics: dict[str, Any]) -> list[list[str]]:
    return [
        [
            model,
            f"{scores['val']['accuracy']:.4f}",
            f"**{scores['test']['accuracy']:.4f}**",
            f"{scores['test']['f1_macro']:.4f}",
            f"{scores['test']['log_loss']:.4f}",
            f"{scores['test']['expected_calibration_error']:.4f}",
        ]
        for model, scores in metrics.items()
    ]


def _points(share: float) -> str:
    return f"{100 * share:+.2f} points"


if __name__ == "__main__":
    command.run(main)
