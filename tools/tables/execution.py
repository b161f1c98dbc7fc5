"""Tables of what it costs to train in parts, in several processes and on several nodes."""

from collections.abc import Sequence
from statistics import median

from sidebyside.config.paths import Paths
from tools.tables.markdown import benchmark, label, machine, table


def parts(paths: Paths) -> str:
    """Return the time of an epoch per way to train, relative to the first way."""
    measured = benchmark(paths, "parts")
    models = measured["models"]
    first = {model: ways[0] for model, ways in models.items()}
    rows = [
        [
            way["name"],
            *(
                f"{_ratio(ways[number][measure], first[model][measure]):.2f}"
                for model, ways in models.items()
                for measure in ("wall", "processor")
            ),
        ]
        for number, way in enumerate(next(iter(models.values())))
    ]
    header = [f"{label(model)}, {name}" for model in models for name in ("time", "processor time")]
    return (
        f"{table(['training', *header], rows)}\n\nEpochs relative to the first row: medians of"
        f" {measured['rounds']} rounds on {machine(measured)}."
    )


def overheads(paths: Paths) -> str:
    """Return the overheads per executor."""
    measured = benchmark(paths, "execution")
    rows = [
        [name, f"{seconds['start']:.2f} s", *(_milliseconds(seconds[key]) for key in KEYS)]
        for name, seconds in measured["overheads"].items()
    ]
    trainings = measured["trainings"]
    seconds = trainings["seconds"]
    ratio = _ratio(seconds["Ray"], seconds["local processes"])
    size = measured["checkpoint_bytes"] / 1e6
    return (
        f"{table(['jobs run', 'first job', 'another job', 'epoch', 'checkpoint'], rows)}\n\n"
        f"Checkpoints of {size:.1f} MB are written here. Two trainings of the default CNN at once"
        f" take {ratio:.2f} times as long on two Ray nodes with one core each as in two local"
        f" processes (median of {len(seconds['Ray'])} rounds of {trainings['epochs']} epochs with"
        f" {trainings['images']:,} images). Measured on {machine(measured)}."
    )


def scaling(paths: Paths) -> str:
    """Return the simulated times per workload, network and number of workers."""
    rows = [
        [
            f"{row['jobs']:,} {label(row['workload'])}",
            f"{row['network_gbit']} Gbit/s",
            f"{row['workers']:,}",
            f"{row['seconds'] / 3600:.1f} h",
            f"{row['efficiency']:.0%}",
            f"{row['driver']:.0%}",
            f"{row['events_per_second']:.1f}",
        ]
        for row in benchmark(paths, "scaling")["rows"]
    ]
    header = [
        "work",
        "network",
        "workers",
        "time",
        "workers busy",
        "driver busy",
        "epochs and ends/s",
    ]
    return table(header, rows, text_columns=2)


KEYS = ("job", "epoch", "checkpoint")


def _ratio(values: Sequence[float], compared: Sequence[float]) -> float:
    """Return the median ratio of values that were measured by turns."""
    return median(one / other for one, other in zip(values, compared, strict=True))


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.2g} ms"
