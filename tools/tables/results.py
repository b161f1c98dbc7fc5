"""Tables of the recorded run: scores, comparisons, seeds, models, and command durations."""

import itertools
import re
from typing import Any

from sidebyside.config.parameters import read_parameters
from sidebyside.config.paths import ModelName, Paths
from sidebyside.core.errors import UserError
from sidebyside.core.files import read_json
from sidebyside.evaluation.intervals import Interval, Spread, mean_with_interval
from sidebyside.reporting.formatting import level, p_value, point_range, points
from sidebyside.reproducibility.record import EXPERIMENTS
from sidebyside.reproducibility.seed_variance import (
    CONFIDENCE,
    by_seed,
    read_other_seeds,
    without_seed,
)
from sidebyside.workflow.progress import duration
from tools.tables.markdown import benchmark, label, machine, table

NOT_RECORDED = "no run has been recorded: run `make record`"
SCORES = (  # columns of `_scores`
    *("val accuracy", "test accuracy", "macro F1"),
    *("log loss", "Brier score", "calibration error"),
)
HEADER = r"# expected .*?# /expected"  # block of params.yaml


def expected(text: str, paths: Paths) -> str:
    """Return the text of params.yaml with the recorded results in its header.

    Raises:
        UserError: a result file is missing, no run is recorded, or the header has no block for
            them.
    """
    runs = _recorded_runs(paths)
    if "repro" not in runs:
        raise UserError(NOT_RECORDED)
    if not re.search(HEADER, text, re.DOTALL):
        raise UserError(f"{paths.params.name}: its header lacks “# expected” or “# /expected”")
    lines = [f"#   make repro: {_time(runs['repro'])}"]
    for model, scores in _metrics(paths).items():
        val, test = scores["val"]["accuracy"], scores["test"]["accuracy"]
        lines.append(f"#   {model}: val accuracy {val:.4f}, test accuracy {test:.4f}")
    block = "\n".join(["# expected (filled by `make readme`):", *lines, "# /expected"])
    return re.sub(HEADER, lambda _: block, text, count=1, flags=re.DOTALL)


def results(paths: Paths) -> str:
    """Return one row per model: test accuracy over seeds, and the scores of the recorded run."""
    metrics = _metrics(paths)
    samples = _over_seeds(paths)
    rows = []
    for model, scores in metrics.items():
        sample = samples[without_seed(model)]
        spread = f"{sample.mean:.4f} ± {sample.deviation:.4f}" if sample.seeds > 1 else "–"
        rows.append(
            [
                label(model),
                spread,
                str(sample.seeds),
                f"{scores['test']['accuracy']:.4f}",
                f"{scores['val']['accuracy']:.4f}",
                f"{scores['test']['log_loss']:.4f}",
            ]
        )
    header = [
        *("model", "test accuracy, mean ± SD", "seeds"),
        *("recorded run: test", "validation", "test log loss"),
    ]
    return table(header, rows)


def repro_time(paths: Paths) -> str:
    """Return a sentence with the recorded duration of `make repro`."""
    runs = _recorded_runs(paths)
    if "repro" not in runs:
        raise UserError(NOT_RECORDED)
    return f"`make repro` takes {_time(runs['repro'])}, without a GPU."


def comparisons(paths: Paths) -> str:
    """Return one row per comparison: difference in test accuracy, interval, McNemar's test."""
    confidence = read_parameters(paths.params).evaluate.confidence
    rows = [
        [
            f"{label(comparison['second'])} − {label(comparison['first'])}",
            points(comparison["accuracy_difference"]),
            point_range(Interval(*comparison["interval"])),
            p_value(comparison["mcnemar_p_value"]),
        ]
        for comparison in read_json(paths.report("evaluate") / "comparisons.json")
    ]
    interval = f"{level(confidence)} interval"
    return table(["comparison", "difference in accuracy, points", interval, "McNemar p"], rows)


def experiments(paths: Paths) -> str:
    """Return the scores of the recorded run and of the experiments that have a make target."""
    rows = [["`make repro`", name, *_scores(scores)] for name, scores in _metrics(paths).items()]
    missing = []
    for target in EXPERIMENTS:
        file = paths.report(target) / "metrics.json"
        if file.exists():
            rows += [
                [f"`make {target}`", name, *_scores(scores)]
                for name, scores in read_json(file).items()
            ]
        else:
            missing.append(f"`make {target}`")
    text = table(["run", "model", *SCORES], rows, text_columns=2)
    return text + f"\n\nNot run yet: {', '.join(missing)}." * bool(missing)


def mnist(paths: Paths) -> str:
    """Return the scores on MNIST, and what each search chose for it."""
    file = paths.report("mnist") / "metrics.json"
    if not file.exists():
        return "Not run yet: `make mnist`."
    scores = [[label(name), *_scores(row)] for name, row in read_json(file).items()]
    chosen = []
    for folder in sorted((paths.report("mnist") / "tune").iterdir()):
        values = read_json(folder / "hyperparameters.json")
        search = read_json(folder / "search.json")
        found = ", ".join(f"`{name}` {values[name]}" for name in search["searched"])
        best = search["best"]["val_accuracy"]
        chosen.append([label(folder.name), str(len(search["trials"])), f"{best:.4f}", found])
    trials = ["search", "trials", "best val accuracy", "chosen"]
    return f"{table(['model', *SCORES], scores)}\n\n{table(trials, chosen)}"


def near_duplicates(paths: Paths) -> str:
    """Return each model's accuracy with and without near duplicates, on both recorded data sets."""
    rows = []
    for title, folder in (("Fashion-MNIST", "evaluate"), ("MNIST", "mnist")):
        file = paths.report(folder) / "metrics.json"
        for name, scores in (read_json(file) if file.exists() else {}).items():
            every, without = scores["test"]["accuracy"], scores["test_deduplicated"]
            cells = [f"{every:.4f}", f"{without['accuracy']:.4f}", f"{without['images']:,}"]
            rows.append([title, label(name), *cells])
    header = ["data set", "model", "all images", "without near duplicates", "number of these"]
    return table(header, rows, text_columns=2)


def models(paths: Paths) -> str:
    """Return one row per trained model: size, best epoch, time per epoch, digest."""
    rows = []
    speeds = benchmark(paths, "precision")
    train = read_parameters(paths.params).train
    for parts in itertools.product(train.models, train.data, train.seeds):
        folder = paths.training(ModelName(*parts))
        record, metrics = read_json(folder / "model.json"), read_json(folder / "metrics.json")
        epoch = speeds["models"][parts[0]][record["settings"]["precision"]]["seconds_per_epoch"]
        rows.append(
            [
                folder.name,
                f"{record['parameters']:,}",
                f"{record['flops_per_image'] / 1e6:.1f} million",
                f"{metrics['best_epoch']} of {metrics['epochs']}",
                f"{epoch:.1f} s",
                f"`{record['weights_sha256'][:16]}`",
            ]
        )
    header = [
        *("model", "parameters", "FLOPs per image", "best epoch", "time per epoch"),
        "SHA-256 of the weights",
    ]
    return (
        f"{table(header, rows)}\n\nTime per epoch: on the original data, measured by"
        f" `make benchmark` on {machine(speeds)}."
    )


def seeds(paths: Paths) -> str:
    """Return one row per model: mean, standard deviation and interval of its test accuracy."""
    samples = _over_seeds(paths)
    if all(sample.seeds == 1 for sample in samples.values()):
        return "Spread unknown: each model has one seed. `make reference` trains more."
    rows = []
    for model, sample in samples.items():
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
    interval = f"{level(CONFIDENCE)} interval of the mean"
    return table(["model", "seeds", "mean", "standard deviation", interval], rows)


def durations(paths: Paths) -> str:
    """Return one row per recorded command: wall time, memory, and the machine."""
    runs = _recorded_runs(paths)
    rows = [
        [
            f"`make {target}`",
            duration(run["seconds"]),
            f"{run['peak_memory_mib']:,} MiB",
            f"{run['cores']} cores, {run['processor']}, Python {run['python']}",
        ]
        for target, run in runs.items()
    ]
    return table(["command", "wall time", "peak memory", "machine"], rows)


def _recorded_runs(paths: Paths) -> dict[str, Any]:
    """Return target → time, memory and machine, as written by `make record`."""
    path = paths.report("run.json")
    if not path.exists():
        raise UserError(NOT_RECORDED)
    runs: dict[str, Any] = read_json(path)["runs"]
    return runs


def _metrics(paths: Paths) -> dict[str, Any]:
    """Return model → scores of the recorded run."""
    metrics: dict[str, Any] = read_json(paths.report("evaluate") / "metrics.json")
    return metrics


def _over_seeds(paths: Paths) -> dict[str, Spread]:
    """Return model, without its seed → its test accuracy over all known seeds."""
    recorded = _metrics(paths)
    sources = [recorded, read_other_seeds(paths)]
    return {
        model: mean_with_interval(by_seed(sources, model, "test", "accuracy"), CONFIDENCE)
        for model in dict.fromkeys(map(without_seed, recorded))
    }


def _scores(scores: dict[str, Any]) -> list[str]:
    test = scores["test"]
    return [
        f"{scores['val']['accuracy']:.4f}",
        f"{test['accuracy']:.4f}",
        *(f"{test[name]:.4f}" for name in ("f1_macro", "log_loss", "brier_score")),
        f"{test['expected_calibration_error']:.4f}",
    ]


def _time(run: dict[str, Any]) -> str:
    return f"{duration(run['seconds'])} on {run['cores']} cores ({run['processor']})"
