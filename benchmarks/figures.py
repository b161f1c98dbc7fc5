"""Plot the benchmarks in the style of `sidebyside.reporting.plot_style`."""

from collections.abc import Mapping
from typing import Any

from sidebyside.reporting.plot_style import COLOURS, MARKERS, Figure, styled

GREY = "#555555"


@styled
def training(result: Mapping[str, Any]) -> Figure:
    """Plot the seconds per epoch of each contender, a panel per network.

    Args:
        result: the content of training.json.
    """
    models = list(dict.fromkeys(case["model"] for case in result["cases"]))
    figure = Figure(figsize=(10, 4))
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    for panel, model in zip(panels, models, strict=True):
        cases = [case for case in result["cases"] if case["model"] == model]
        names = list(cases[0]["medians"])
        width = 0.8 / len(names)
        for number, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
            shift = (number - (len(names) - 1) / 2) * width
            positions = [index + shift for index in range(len(cases))]
            values = [case["medians"][name] for case in cases]
            bars = panel.bar(positions, values, width, color=colour, label=name)
            panel.bar_label(bars, fmt="%.1f", fontsize=7)
        panel.set_xticks(range(len(cases)), [str(case["batch_size"]) for case in cases])
        panel.set(title=model.upper(), xlabel="Batch size", ylabel="Seconds per epoch")
        panel.grid(visible=False, axis="x")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(_machine(result))
    return figure


@styled
def growth(result: Mapping[str, Any]) -> Figure:
    """Plot time and memory against the size of the data, and the times of logging to MLflow.

    Args:
        result: the content of growth.json.
    """
    figure = Figure(figsize=(12, 4))
    time, memory, store = figure.subplots(1, 3)
    for (model, rows), colour, marker in zip(
        result["data"].items(), COLOURS, MARKERS, strict=False
    ):
        shown = {"color": colour, "marker": marker, "label": model.upper()}
        factors = [row["factor"] for row in rows]
        time.plot(factors, [row["seconds"] / rows[0]["seconds"] for row in rows], **shown)
        added = [row["peak_memory_mib"] - rows[0]["peak_memory_mib"] for row in rows]
        memory.plot([row["mib"] - rows[0]["mib"] for row in rows], added, **shown)
    time.plot(factors, factors, "--", color=GREY, label="linear")
    time.set(
        title="Time per epoch",
        xlabel="Data size relative to the smallest",
        ylabel="Time per epoch, relative",
    )
    ends = [0, max(rows[-1]["mib"] - rows[0]["mib"] for rows in result["data"].values())]
    memory.plot(ends, ends, "--", color=GREY, label="pixels added")
    memory.set(title="Peak memory", xlabel="MiB of pixels added", ylabel="MiB of memory added")
    names = list(result["store"]["empty"])
    for number, (state, colour) in enumerate(zip(("empty", "full"), COLOURS, strict=False)):
        values = [1000 * result["store"][state][name] for name in names]
        positions = [index + (number - 0.5) * 0.4 for index in range(len(names))]
        runs = result["store"]["runs"] if state == "full" else 0
        store.bar(positions, values, 0.4, color=colour, label=f"{runs:,} runs in the store")
    store.set_xticks(range(len(names)), names)
    store.set(title="MLflow", ylabel="Milliseconds")
    store.grid(visible=False, axis="x")
    for panel in (time, memory, store):
        panel.legend()
    figure.suptitle(_machine(result))
    return figure


def _machine(result: Mapping[str, Any]) -> str:
    return "{cores} cores ({processor})".format(**result["machine"])
