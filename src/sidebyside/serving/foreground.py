"""Find the object in a picture: which pixels belong to it, and what lies behind it.

The background is what most of the picture's border shows: a plane in each colour, so that light may
fall from one side, with the spread of the border's pixels around it. The object is what differs by
more than that spread. Small spots are no objects, and a frame or a window around another background
is not one either.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LEVELS = (24, 16, 10, 6)  # differences from the background that are tried, in values of a channel
ENOUGH = 0.01  # share of the picture from which on an object needs no lower level
LEAST = 0.0005  # share of the picture that an object has at least; less is a spot
PART = 0.02  # a part of the object has at least this share of the largest part's pixels
HOLLOW = 0.08  # a part with a smaller share of its own box is an outline
NEAR = 100  # parts nearly touch if less than twice this part of the picture's side is between them
GROUP = 0.5  # a group of parts counts as the object from this share of the largest group's pixels
STRIP, LONG = 0.1, 0.5  # maximum depth and minimum length of a strip, as shares of the sides
SPREADS = 3.5  # spreads of the background that an object's pixel differs by
SAME = 16  # differences of colour within which pixels of the border are alike
SOLID, PLAIN = 0.97, 0.75  # shares of a rectangle, and of its border, that make it a window
STEEP = 0.02  # weight of a background without a slope, relative to a pixel of the border

EIGHT = np.ones((3, 3), bool)  # neighbours of a pixel

Mask = NDArray[np.bool_]  # [height, width]
Colours = NDArray[np.float32]  # [height, width, 3]


@dataclass(frozen=True)
class Box:
    """A rectangle of a picture, in pixels; `bottom` and `right` are outside."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True)
class Foreground:
    """The object in a picture."""

    mask: Mask
    background: Colours  # of every pixel, continued behind the object


def box(mask: Mask) -> Box:
    """Return the smallest rectangle with all true pixels; there must be one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def find_object(colours: NDArray[np.uint8]) -> Foreground | None:
    """Return the object in an opaque picture; None if nothing stands out.

    Args:
        colours: the picture, uint8 [height, width, 3].
    """
    pixels = colours.astype(np.float32)
    background, spread, _ = _background(pixels)
    difference = np.abs(pixels - background)
    found = None
    for level in LEVELS:
        mask = (difference > np.maximum(level, SPREADS * spread)).any(2)
        if found is None:
            found = main_parts(mask)
        elif (wider := main_parts(mask)) is not None:
            found = wider
        if found is not None and found.mean() >= ENOUGH:
            break
    if found is None:
        return None
    return _in_window(colours, found) or Foreground(found, background)


def main_parts(mask: Mask) -> Mask | None:
    """Return the pixels of the largest group of parts, and of others of at least half its size.

    Parts that nearly touch are a group. Spots, outlines of rectangles, and strips at the border are
    left out. None is returned if no group is large enough.
    """
    labels, parts = ndimage.label(mask, EIGHT)
    areas = _areas(labels, parts)
    largest = areas.max()
    for part, where in enumerate(ndimage.find_objects(labels), 1):
        sides = [each.stop - each.start for each in where]
        hollow = areas[part] < min(HOLLOW * sides[0] * sides[1], largest)
        if (hollow or _is_strip(where, mask.shape)) and areas[part] < areas.sum():
            areas[part] = 0
    kept = (areas >= max(1, PART * areas.max()))[labels] & mask
    near = max(mask.shape) // NEAR
    joined = ndimage.binary_dilation(kept, EIGHT, near) if near else kept
    groups, count = ndimage.label(joined, EIGHT)
    groups[~kept] = 0
    areas = _areas(groups, count)
    if areas.max() < max(2, LEAST * mask.size):
        return None
    object_: Mask = (areas >= max(1, GROUP * areas.max()))[groups] & kept
    return object_


def rim(mask: Mask) -> Mask:
    """Return the pixels of a mask at its edge."""
    depth = 1 + max(mask.shape) // 100
    return mask & ~ndimage.binary_erosion(mask, EIGHT, depth)


def is_rectangle(mask: Mask) -> bool:
    """Return whether a mask with its holes fills its box."""
    filled = ndimage.binary_fill_holes(mask)[box(mask).slices]
    return bool(filled.mean() >= SOLID)


def _areas(labels: NDArray[np.signedinteger], parts: int) -> NDArray[np.intp]:
    """Return the number of pixels of each part; the background, 0, has none."""
    areas = np.bincount(labels.ravel(), minlength=parts + 1)
    areas[0] = 0
    return areas


def _is_strip(where: tuple[slice, ...], shape: tuple[int, ...]) -> bool:
    """Return whether a part lies along the border, such as a scanner's dark edge or a title bar."""
    lengths = [(part.stop - part.start) / side for part, side in zip(where, shape, strict=True)]
    return any(
        (part.start == 0 or part.stop == side) and depth <= STRIP and length >= LONG
        for part, side, depth, length in zip(where, shape, lengths, reversed(lengths), strict=True)
    )


def _in_window(colours: NDArray[np.uint8], mask: Mask) -> Foreground | None:
    """Return the object in a rectangle that has a background of its own, if the mask is one."""
    outer = box(mask)
    inner = Box(outer.top + 1, outer.left + 1, outer.bottom - 1, outer.right - 1)
    inside = colours[inner.slices]
    if min(inside.shape[:2]) < 8 or not is_rectangle(mask):
        return None
    *_, share = _background(inside.astype(np.float32))
    found = find_object(inside) if share >= PLAIN else None
    if found is None or found.mask.mean() < ENOUGH:
        return None
    whole = np.zeros_like(mask)
    whole[inner.slices] = found.mask
    behind = np.zeros((*mask.shape, 3), np.float32)
    behind[inner.slices] = found.background
    return Foreground(whole, behind)


def _background(pixels: Colours) -> tuple[Colours, NDArray[np.float32], float]:
    """Return the background, its spread in each channel, and its share of the border.

    The background is a plane through the largest group of like pixels at the border; planes and
    groups are refined in turns.
    """
    height, width, _ = pixels.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    plane = np.stack([np.ones_like(x), x, y], 2).astype(np.float32)
    at, colours = _border(plane), _border(pixels)
    candidates = colours[:: 1 + len(colours) // 400]
    alike = (np.abs(candidates[:, None] - colours[None]) <= SAME).all(2)
    inside = alike[alike.sum(1).argmax()]
    coefficients, spread = _fit(at[inside], colours[inside])
    for _ in range(10):
        rest = np.abs(colours - at @ coefficients)
        wider = (rest <= np.maximum(SAME, SPREADS * spread)).all(1)
        if (wider == inside).all():
            break
        inside = wider
        coefficients, spread = _fit(at[inside], colours[inside])
    return plane @ coefficients, spread, float(inside.mean())


def _fit(
    at: NDArray[np.float32], colours: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the coefficients of a plane in each channel [3, 3], and the spread around it [3]."""
    damping = np.diag([0, STEEP, STEEP]) * len(at)
    coefficients = np.linalg.solve(at.T @ at + damping + 1e-6 * np.eye(3), at.T @ colours)
    rest = np.abs(colours - at @ coefficients)
    return coefficients.astype(np.float32), (1.4826 * np.median(rest, axis=0)).astype(np.float32)


def _border(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the values at the four edges, [pixels, channels]."""
    return np.concatenate([values[0], values[-1], values[1:-1, 0], values[1:-1, -1]])
