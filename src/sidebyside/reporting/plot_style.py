"""The style of all figures, drawn as PNG: the same bytes for the same input.

Figures are drawn without pyplot, in matplotlib's default style, so a user's own settings do not
change them. The colours are those of Okabe and Ito, which colour-blind readers can distinguish;
shape, line or text always carries the same information as a colour.

Other modules import matplotlib's classes from here, so that its backend is set before it loads.
"""

import io
import math
import os
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

import numpy as np

from sidebyside.core import environment

os.environ["MPLBACKEND"] = environment.pinned()["MPLBACKEND"]

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from PIL import Image

from sidebyside.reporting.formatting import shorten
from sidebyside.reporting.page import DPI

__all__ = ["Axes", "Figure", "FuncFormatter", "MaxNLocator", "PercentFormatter"]

BLUE, RED = "#0072b2", "#c8102e"
COLOURS = (BLUE, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a6d3b")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
ROUND_STEPS = (1, 2, 5, 10)  # between ticks, with their tenths: 0.5 % rather than 0.8 %

MOST_COLOURS = 8192  # with grey images, figures have up to 4000 colours; with colour ones, 20,000
LEGEND_WIDTH = 84  # characters beside each other below a figure 6.6 inches wide
LEGEND_MARK = 4  # characters that take as much room as a mark and its margins
LEGEND_ROWS, ROW_HEIGHT = 2, 0.21  # rows that a figure has room for, inches for each further one

Pixels = NDArray[np.uint8]  # [height, width] or [height, width, 3]
Images = NDArray[np.uint8]  # [N, height, width] or [N, height, width, 3]
Labels = NDArray[np.uint8]  # [N]
Arguments = ParamSpec("Arguments")


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, bytes]:
    """Return a function that draws in the project's style and returns the PNG."""

    @wraps(draw)
    def png(*args: Arguments.args, **kwargs: Arguments.kwargs) -> bytes:
        with style.context(["default", STYLE]):
            figure = draw(*args, **kwargs)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=DPI)
        # 256 colours: a third of the bytes without a visible difference, except in colour images.
        # Converting also drops the metadata that matplotlib writes, such as its version.
        with Image.open(buffer) as picture:
            drawn = picture.convert("RGB")
        if drawn.getcolors(MOST_COLOURS):
            drawn = drawn.quantize(256, dither=Image.Dither.NONE)
        result = io.BytesIO()
        drawn.save(result, "png", optimize=True)
        return result.getvalue()

    return png


def class_labels(class_names: Sequence[str], width: int) -> list[str]:
    """Return the names of classes as a figure shows them.

    A long name loses its middle. A name with characters that the font lacks becomes the class's
    number, as boxes in place of characters would not tell classes apart.

    Args:
        class_names: names of the classes.
        width: maximum number of characters.
    """
    known = get_font(findfont("DejaVu Sans")).get_charmap()
    labels = []
    for number, name in enumerate(class_names):
        label = name if all(ord(letter) in known for letter in name) else f"class {number}"
        labels.append(shorten(label, width).replace("$", r"\$"))  # which would start a formula
    return labels


def legend_below(figure: Figure, axes: Axes, columns: int) -> None:
    """Add a legend below a figure 6.6 inches wide, which grows if the legend has many rows.

    Args:
        figure: the figure.
        axes: axes whose lines the legend names.
        columns: maximum number of columns; long names get fewer.
    """
    handles, names = axes.get_legend_handles_labels()
    fitting = LEGEND_WIDTH // (max(map(len, names)) + LEGEND_MARK)
    columns = max(1, min(columns, len(names), fitting))
    rows = math.ceil(len(names) / columns)
    figure.set_figheight(figure.get_figheight() + ROW_HEIGHT * max(0, rows - LEGEND_ROWS))
    figure.legend(handles, names, loc="outside lower center", ncols=columns)


def show_image(axes: Axes, image: NDArray[np.uint8], interpolation: str = "nearest") -> None:
    """Show an image without ticks and frame.

    Args:
        axes: the axes.
        image: uint8, grey [height, width] or colour [height, width, 3].
        interpolation: matplotlib's method to change the number of pixels.
    """
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation=interpolation)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
