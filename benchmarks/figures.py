"""Pictures of the benchmarks."""

import io
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl

mpl.use("agg")

from matplotlib import pyplot as plt


def training(result: Mapping[str, Any]) -> bytes:
    """Return a PNG: seconds per epoch of each contender, a panel per network."""
    models = list(dict.fromkeys(case["model"] for case in result["cases"]))
    figure, panels = plt.subplots(1, len(models), figsize=(10, 4), layout="constrained")
    for panel, model in zip(panels, models, strict=True):
        cases = [case for case in result["cases"] if case["model"] == model]
        names = list(cases[0]["medians"])
        width = 0.8 / len(names)
        for number, name in enumerate(names):
            shift = (number - (len(names) - 1) / 2) * width
            places = [index + shift for index in range(len(cases))]
            bars = panel.bar(places, [case["medians"][name] for case in cases], width, label=name)
            panel.bar_label(bars, fmt="%.1f", fontsize=7)
        panel.set_xticks(range(len(cases)), [str(case["batch_size"]) for case in cases])
        panel.set(title=model.upper(), xlabel="batch size", ylabel="seconds per epoch")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    return _png(figure)


def growth(result: Mapping[str, Any]) -> bytes:
    """Return a PNG: time and memory over the size of the data, and MLflow's times."""
    figure, (time, memory, store) = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    for model, rows in result["data"].items():
        factors = [row["factor"] for row in rows]
        seconds = [row["seconds"] / rows[0]["seconds"] for row in rows]
        time.plot(factors, seconds, "o-", label=model.upper())
        added = [row["peak_memory_mib"] - rows[0]["peak_memory_mib"] for row in rows]
        memory.plot([row["mib"] - rows[0]["mib"] for row in rows], added, "o-", label=model.upper())
    time.plot(factors, factors, "--", color="grey", label="linear")
    time.set(title="Time of an epoch", xlabel="times the data", ylabel="times the time")
    ends = [0, max(rows[-1]["mib"] - rows[0]["mib"] for rows in result["data"].values())]
    memory.plot(ends, ends, "--", color="grey", label="the bytes added")
    memory.set(title="Peak memory", xlabel="MiB of pixels added", ylabel="MiB of memory added")
    names = list(result["store"]["empty"])
    for number, state in enumerate(("empty", "full")):
        values = [1000 * result["store"][state][name] for name in names]
        places = [index + (number - 0.5) * 0.4 for index in range(len(names))]
        runs = result["store"]["runs"] if state == "full" else 0
        store.bar(places, values, 0.4, label=f"{runs:,} runs in the store")
    store.set_xticks(range(len(names)), names, rotation=20)
    store.set(title="MLflow", ylabel="ms")
    for panel in (time, memory, store):
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False)
    return _png(figure)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()
