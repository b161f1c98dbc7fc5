import functools
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pytest

from sidebyside.reporting import data_plots, evaluation_plots, plot_style, training_plots
from tests.support.datasets import CLASS_NAMES
from tests.support.figures import BINS, COUNTS, HISTORY, draw_predictions, pixels, random_split

MODELS = ("mlp-original", "cnn-original")
DRAWINGS: dict[str, Callable[[], bytes]] = {
    "samples": lambda: data_plots.samples(random_split(4), CLASS_NAMES, 3, 1),
    "before_after": lambda: data_plots.before_after(
        random_split(1).images[:7],
        random_split(1).images[3:10],
        random_split(1).labels[:7],
        CLASS_NAMES,
    ),
    "confusion_matrix": lambda: evaluation_plots.confusion_matrix(
        COUNTS, CLASS_NAMES, "some model"
    ),
    "curves": lambda: training_plots.curves(dict.fromkeys(MODELS, HISTORY)),
    "reliability": lambda: evaluation_plots.reliability(
        {"mlp-original": BINS, "cnn-original": BINS}
    ),
    "predictions": lambda: draw_predictions(30),
    "trials": lambda: training_plots.trials(
        {"mlp": [0.8, math.nan, 0.9], "cnn": [0.9]}, "val_accuracy"
    ),
    "f1_change": lambda: evaluation_plots.f1_change(
        [0.01] * 10, [(0, 0.02)] * 10, CLASS_NAMES, "a", "b"
    ),
    "accuracy_intervals": lambda: evaluation_plots.accuracy_intervals(
        ["a", "b"], [0.9, 0.91], [0.89, 0.9], [0.91, 0.92], [0.9, 0.9]
    ),
}


@functools.cache
def drawn(name: str) -> bytes:
    return DRAWINGS[name]()


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_is_a_png_of_sensible_size(name: str) -> None:
    png = drawn(name)
    height, width, _ = pixels(png).shape
    assert 300 < width < 1500
    assert 200 < height < 2000
    assert len(png) < 300_000


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_user_s_settings_do_not_change_a_figure(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = drawn(name)
    monkeypatch.setitem(mpl.rcParams, "font.size", 17)
    monkeypatch.setitem(mpl.rcParams, "axes.facecolor", "black")
    assert DRAWINGS[name]() == first


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_has_no_metadata(name: str) -> None:
    png = drawn(name)
    assert not [chunk for chunk in (b"tEXt", b"iTXt", b"zTXt", b"tIME") if chunk in png[:200]]


def test_drawing_leaves_pyplot_and_the_settings_alone() -> None:
    program = """
import sys
import matplotlib
before = matplotlib.rcParams.copy()
from sidebyside.reporting import training_plots
training_plots.trials({"mlp": [0.9]}, "val_accuracy")
assert matplotlib.rcParams.copy() == before
assert "matplotlib.pyplot" not in sys.modules
"""
    source = str(Path(plot_style.__file__).parents[2])
    subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": source}, check=True)


def test_a_matplotlibrc_in_the_working_directory_has_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = drawn("trials")
    (tmp_path / "matplotlibrc").write_text("font.size: 30\n")
    monkeypatch.chdir(tmp_path)
    assert DRAWINGS["trials"]() == first


def test_the_backend_of_a_notebook_is_not_used() -> None:
    environment = {
        "PYTHONPATH": str(Path(plot_style.__file__).parents[2]),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    for module in ("data_plots", "evaluation_plots", "training_plots"):
        program = f"from sidebyside.reporting import {module}"
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)
