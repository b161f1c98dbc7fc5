"""Show the predictions for pictures: as text on a terminal, as a CSV table, and as a page.

The page shows each picture beside the image that the models were given.
"""

import io
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sidebyside.core.errors import printable
from sidebyside.reporting import page
from sidebyside.reporting.page import Block, Section, Table, Text
from sidebyside.serving.out_of_distribution import QUANTILE, Distance
from sidebyside.serving.picture import Picture

BAR, BARS = 20, 40  # maximum characters of the bar for probability 1, and of all bars in a row
SHOWN = 10  # maximum number of classes that have a row
NAME = 30  # maximum width of a class name, in columns of a terminal
PICTURES = 200  # maximum number of pictures on the page
SIDE = 300  # pixels of the longer side of a picture on the page
GAP = 24  # pixels between a picture and the image made of it
COMPARED, UNLIKE = "training data", "unlike"  # header and mark of the comparison with them

Probabilities = Mapping[str, NDArray[np.float32]]  # model → class probabilities, [classes]


@dataclass(frozen=True)
class Classified:
    """A picture with what each model predicts for it."""

    file: str  # printable
    picture: Picture
    probabilities: Probabilities
    distance: Distance | None  # None if the training images are not there


@dataclass(frozen=True)
class Unreadable:
    """A picture without a prediction."""

    file: str  # printable
    reason: str


def probability_table(probabilities: Probabilities, class_names: Sequence[str]) -> str:
    """Return a table as text: a row per class, the most probable first, and the predicted class.

    Of more than SHOWN classes, the least probable ones share a row.

    Args:
        probabilities: model → class probabilities, [classes].
        class_names: name of each class.
    """
    order = _by_probability(probabilities)
    shown = SHOWN if len(order) > SHOWN + 1 else len(order)
    named, rest = order[:shown], order[shown:]
    names = [_shortened(printable(name)) for name in class_names]
    bar = min(BAR, BARS // len(probabilities))
    rows = [
        [names[label], *(_bar(float(row[label]), bar) for row in probabilities.values())]
        for label in named
    ]
    if len(rest):
        others = [_bar(float(row[rest].sum()), bar) for row in probabilities.values()]
        rows.append([f"{len(rest)} others", *others])
    predictions = [names[int(row.argmax())] for row in probabilities.values()]
    table = [["", *probabilities], *rows, ["prediction", *predictions]]
    return _aligned(table)


def picture_table(classified: Sequence[Classified], class_names: Sequence[str]) -> str:
    """Return a table as text: a row per picture, with the class that each model predicts."""
    header = ["", *classified[0].probabilities, COMPARED]
    return _aligned([header, *_rows(classified, [one.file for one in classified], class_names)])


def likeness(distance: Distance) -> str:
    """Return a sentence on whether a picture is like the training data."""
    verdict = "is unlike" if distance.is_unlike else "looks like"
    return (
        f"The picture {verdict} the training data: its distance to the nearest training image is"
        f" {distance.value:.3f}, that of {QUANTILE:.0%} of the validation images at most"
        f" {distance.limit:.3f}."
    )


def csv_table(
    results: Sequence[Classified | Unreadable], class_names: Sequence[str]
) -> tuple[list[str], list[list[str | float]]]:
    """Return the columns and rows of the CSV table: one per picture and model, or unreadable file.

    Args:
        results: the pictures.
        class_names: name of each class.
    """
    classes = [f"p({name})" for name in class_names]
    rows: list[list[str | float]] = []
    for one in results:
        if isinstance(one, Unreadable):
            rows.append([one.file, *([""] * (5 + len(classes))), one.reason])
            continue
        for model, row in one.probabilities.items():
            label = int(row.argmax())
            shares = [float(share) for share in row]
            distance: tuple[str | float, str | float] = one.distance or ("", "")
            predicted = (one.file, model, class_names[label], shares[label])
            rows.append([*predicted, *distance, *shares, ""])
    header = ["picture", "model", "prediction", "probability", "distance", "distance_limit"]
    return [*header, *classes, "error"], rows


def prediction_page(classified: Sequence[Classified], class_names: Sequence[str]) -> str:
    """Return the page as HTML: each picture, the image made of it, and its most probable classes.

    Args:
        classified: at least one picture; the page shows the first PICTURES of them.
        class_names: name of each class.
    """
    shown, names = classified[:PICTURES], _below_common([one.file for one in classified])
    models = list(shown[0].probabilities)
    count = "" if len(shown) == len(classified) else f" The first {PICTURES} are shown below."
    explained = Text(
        "Each picture is shown on the left, and on the right, enlarged, the image that the models"
        " were given. If the right one does not show the object of the left one, or shows it dark"
        f" on light where the training images are light on dark, no prediction is of use.{count}"
    )
    table = Table("The predicted class of each picture, with its probability.",
                  ["picture", *models, COMPARED], _rows(classified, names, class_names),
                  text_columns=2 + len(models))  # fmt: skip
    sections = [Section("summary", "Summary", [explained, table])]
    images = {}
    for number, one in enumerate(shown):
        file = f"{number}.png"
        images[file] = _side_by_side(one.picture)
        alt = f"{names[number]}, and the image made of it"
        steps = "; ".join(one.picture.steps) or "unchanged"
        blocks: list[Block] = [
            page.figure(images[file], file, alt, f"Preparation: {steps}.", shows_images=True)
        ]
        if one.distance:
            blocks.append(Text(likeness(one.distance)))
        blocks.append(_classes(one.probabilities, class_names))
        sections.append(Section(f"picture-{number}", names[number], blocks))
    return page.html("Predictions", sections, images)


def _rows(
    classified: Sequence[Classified], names: Sequence[str], class_names: Sequence[str]
) -> list[list[str]]:
    """Return a row per picture: its name, the class that each model predicts, and a mark."""
    return [
        [name, *(_prediction(row, class_names) for row in one.probabilities.values()),
         UNLIKE if one.distance and one.distance.is_unlike else ""]
        for name, one in zip(names, classified, strict=True)
    ]  # fmt: skip


def _below_common(files: Sequence[str]) -> list[str]:
    """Return the paths below the folder that contains all files, which have room on a phone."""
    common = os.path.commonprefix(files)  # noqa: RUF071 (a single file's folder, too)
    folder, slash, _ = common.rpartition("/")
    return [file.removeprefix(folder + slash) for file in files]


def _classes(probabilities: Probabilities, class_names: Sequence[str]) -> Table:
    """Return the most probable classes of a picture as a table of the page."""
    order = _by_probability(probabilities)[:SHOWN]
    rows = [
        [class_names[label], *(f"{100 * row[label]:.1f} %" for row in probabilities.values())]
        for label in order
    ]
    return Table("Class probabilities, the highest mean first.", ["class", *probabilities], rows)


def _side_by_side(picture: Picture) -> bytes:
    """Return a PNG of the picture and of the image made of it, enlarged without smoothing."""
    pictures = [
        _enlarged(picture.original, Image.Resampling.LANCZOS),
        _enlarged(picture.pixels, Image.Resampling.NEAREST),
    ]
    width = sum(each.width for each in pictures) + GAP
    sheet = Image.new("RGBA", (width, max(each.height for each in pictures)))
    sheet.paste(pictures[0], (0, 0))
    sheet.paste(pictures[1], (width - pictures[1].width, 0))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _enlarged(pixels: NDArray[np.uint8], rule: Image.Resampling) -> Image.Image:
    image = Image.fromarray(pixels)
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.convert("RGB").resize(size, rule)


def _by_probability(probabilities: Probabilities) -> list[int]:
    """Return the classes in the order of their mean probability, the highest first."""
    mean = np.mean(list(probabilities.values()), axis=0)
    order: list[int] = np.argsort(-mean, kind="stable").tolist()
    return order


def _prediction(row: NDArray[np.float32], class_names: Sequence[str]) -> str:
    label = int(row.argmax())
    return f"{_shortened(printable(class_names[label]))} {row[label]:.1%}"


def _aligned(table: Sequence[Sequence[str]]) -> str:
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    return "\n".join("  ".join(map(_padded, row, widths)).rstrip() for row in table)


def _shortened(text: str) -> str:
    """Return a text of at most NAME columns."""
    if _width(text) <= NAME:
        return text
    while _width(text) > NAME - 1:
        text = text[:-1]
    return f"{text}…"


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    """Return the columns that a text takes on a terminal."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _bar(probability: float, length: int) -> str:
    return f"{probability:6.1%} {'█' * round(probability * length)}"
