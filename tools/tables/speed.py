"""Tables of the benchmarks, in reports/benchmarks."""

from collections import Counter
from statistics import median
from typing import Any

from sidebyside.config.paths import Paths
from tools.tables.markdown import benchmark, label, machine, table


def determinism(paths: Paths) -> str:
    """Return a sentence on the cost of determinism."""
    measured = benchmark(paths, "determinism")
    models = measured["models"]
    costs = ", ".join(
        f"{100 * model['cost']:+.1f} % for the {label(name)} (repeats differ by up to"
        f" {100 * _spread(model):.0f} %)"
        for name, model in models.items()
    )
    hidden = all(abs(model["cost"]) <= _spread(model) for model in models.values())
    return (
        f"Deterministic kernels change the median time of an epoch by {costs}"
        f"{': less than the differences between repeats' * hidden}. {_on(measured)}"
    )


def pooling(paths: Paths) -> str:
    """Return a sentence on the time saved by fusing GELU and pooling."""
    measured = benchmark(paths, "pooling")
    return (
        f"Fusing GELU and pooling shortens the median epoch of the CNN of published system 2"
        f" (`{measured['name']}`) by {100 * measured['saved']:.0f} %; repeats differ by up to"
        f" {100 * _spread(measured):.0f} %. Measured on one of {machine(measured)}."
    )


def side_by_side(paths: Paths) -> str:
    """Return a sentence on the time saved by one inter-op thread per process."""
    measured = benchmark(paths, "side_by_side")
    return (
        f"With one inter-op thread in each of {measured['processes']} processes, the median epoch"
        f" of `{measured['name']}` is {100 * measured['saved']:.0f} % shorter; repeats differ by up"
        f" to {100 * _spread(measured):.0f} %. {_on(measured)}"
    )


def epochs(paths: Paths, name: str = "training") -> str:
    """Return seconds per epoch of this project and of other frameworks.

    Args:
        paths: the checkout.
        name: the benchmark, of this machine or of a second one.
    """
    measured = benchmark(paths, name)
    cases = measured["cases"]
    own, *others = cases[0]["medians"]
    rows = []
    for case in cases:
        fastest = min(case["medians"].values())
        times = {
            contender: f"**{seconds:.2f}**" if seconds == fastest else f"{seconds:.2f}"
            for contender, seconds in case["medians"].items()
        }
        rows.append(
            [
                f"{label(case['model'])}, batch {case['batch_size']}",
                times[own],
                *(f"{times[other]} ({case['times_faster'][other]:.2f}×)" for other in others),
                f"{case['share_of_matrix_product']:.0%}",
            ]
        )
    deviations = [
        abs(seconds / case["medians"][contender] - 1)
        for case in cases
        for contender, rounds in case["seconds"].items()
        for seconds in rounds
    ]
    header = ["seconds per epoch", own, *others, "share of peak"]
    return (
        f"{table(header, rows)}\n\nMedians of {measured['rounds']} rounds on {machine(measured)}."
        " In parentheses: time relative to this project. Bold: fastest. Peak: a large float32"
        f" matrix product, {measured['matrix_product_gflops']:.0f} GFLOP/s. Half of all rounds are"
        f" within {median(deviations):.0%} of their median, all within {max(deviations):.0%}."
    )


def profile(paths: Paths) -> str:
    """Return the shares of a training step by kind of kernel, and its products by layer."""
    measured = benchmark(paths, "profile")
    models = measured["models"]
    kinds = dict.fromkeys(kind for model in models.values() for kind in model["shares"])
    header = [
        "share of kernel time",
        *(f"{label(name)}, batch {model['batch_size']}" for name, model in models.items()),
    ]
    rows = [
        [kind, *(f"{model['shares'].get(kind, 0):.0%}" for model in models.values())]
        for kind in kinds
    ]
    products = [
        [
            f"{label(name)}, {layer}",
            *(
                cell
                for direction in ("forward", "backward")
                for cell in (
                    f"{directions[direction]['milliseconds_per_step']:.2f}",
                    f"{directions[direction]['share_of_matrix_product']:.0%}",
                )
            ),
        ]
        for name, model in models.items()
        for layer, directions in model["layers"].items()
    ]
    columns = ["products of a step", "forward, ms", "of peak", "backward, ms", "of peak"]
    return (
        f"{table(header, rows)}\n\n{table(columns, products)}\n\n{_on(measured)} Peak: a large"
        f" matrix product, {measured['matrix_product_gflops']:.0f} GFLOP/s. For the first layer"
        " only the gradient of the weights is computed and counted."
    )


def precision(paths: Paths) -> str:
    """Return time and accuracy in float32 and bfloat16, one row per model and precision."""
    measured = benchmark(paths, "precision")
    rows = [
        [
            f"{label(name)}, {kind}",
            f"{values['seconds_per_epoch']:.1f}",
            f"{values['val_accuracy']:.4f}",
            f"{values['val_loss']:.4f}",
        ]
        for name, kinds in measured["models"].items()
        for kind, values in kinds.items()
    ]
    header = ["precision", "seconds per epoch", "val accuracy", "val loss"]
    return f"{table(header, rows)}\n\n{_on(measured)}"


def overheads(paths: Paths) -> str:
    """Return the time of `make repro` by activity, one row per stage."""
    measured = benchmark(paths, "overheads")
    stages = measured["stages"]
    sums = Counter[str]()
    for stage in stages.values():
        sums.update(stage)
    kinds = [kind for kind, _ in sums.most_common()]
    rows = [
        [name, *(f"{seconds[kind]:.1f}" if kind in seconds else "" for kind in kinds)]
        for name, seconds in [*stages.items(), ("sum", sums)]
    ]
    short = ", ".join(
        f"`{command}` {seconds:.2f} s" for command, seconds in measured["short_commands"].items()
    )
    return (
        f"{table(['seconds', *kinds], rows)}\n\n{_on(measured)} Training steps take"
        f" {sums['training steps'] / measured['seconds']:.1%} of the time; together with"
        f" validation, prediction and tracing, {1 - measured['overhead']:.1%}. In `tune` and"
        f" `train`, logging to MLflow takes {measured['logging_of_training']:.1%} of the training"
        f" time. Short commands: {short}."
    )


def growth(paths: Paths) -> str:
    """Return time and memory by data size, one row per model and size."""
    measured = benchmark(paths, "growth")
    rows = []
    for model, sizes in measured["data"].items():
        first = sizes[0]
        for size in sizes:
            ratio = size["seconds"] / first["seconds"] / size["factor"]
            rows.append(
                [
                    f"{label(model)}, {size['factor']} × the data",
                    f"{size['seconds']:.1f}",
                    f"{ratio - 1:+.1%}",
                    f"{size['mib'] - first['mib']:.0f}",
                    f"{size['peak_memory_mib'] - first['peak_memory_mib']:.0f}",
                ]
            )
    store = measured["store"]
    logging = ", ".join(
        f"{step} {1000 * store['full'][step]:.0f} ms ({1000 * seconds:.0f} ms)"
        for step, seconds in store["empty"].items()
    )
    header = [
        *("size", "seconds per epoch", "relative to linear growth"),
        *("pixels added, MiB", "memory added, MiB"),
    ]
    return (
        f"{table(header, rows)}\n\n{_on(measured)} Logging with {store['runs']:,} runs in MLflow"
        f" (and with none): {logging}."
    )


def _spread(measured: dict[str, Any]) -> float:
    """Return the largest range of repeated measurements, as a share of their median."""
    ranges: list[float] = [
        (max(values) - min(values)) / measured["medians"][kind]
        for kind, values in measured["seconds"].items()
    ]
    return max(ranges)


def _on(measured: dict[str, Any]) -> str:
    return f"Measured on {machine(measured)}."
