"""Marking by program: captions by exact match and attribute, pictures by the nearest rendering in every cell.

Source: the miniature world's rules. Pictures are uint8 [64, 64, 3]; scores are booleans or fractions 0..1.
A letter suffix names axes: M masks, P pixels of a cell, T colour and background pairs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from anyany_mini import world

ATTRIBUTES = ("count", "size", "colour", "shape", "place")
_STARTS = (0, 21, 42)
_WINDOW = 22
_OFFSETS = (-2.0, -1.0, 0.0, 1.0, 2.0)

Thing = tuple[int, int, int, int]
"""(size, colour, shape, cell), as `world.parse_caption` gives it."""


def mark_caption(found: str, wanted: str) -> dict[str, float]:
    """Exactness and the fraction of right attributes, object by object in the caption's order."""
    truth = world.parse_caption(wanted)
    if truth is None:
        raise ValueError(f"not a caption of the world: {wanted!r}")
    guess = world.parse_caption(found)
    marks = {"exact": float(found.strip() == wanted)}
    if guess is None or len(guess) != len(truth):
        return marks | dict.fromkeys(ATTRIBUTES, 0.0)
    marks["count"] = 1.0
    for name, index in (("size", 0), ("colour", 1), ("shape", 2), ("place", 3)):
        marks[name] = float(np.mean([a[index] == b[index] for a, b in zip(guess, truth, strict=True)]))
    return marks


@lru_cache(maxsize=9)
def _templates(cell: int) -> tuple[NDArray[np.float32], NDArray[np.float32], list[tuple[int, int]]]:
    """Masks [M, P] of every shape, size and offset in a cell's window, their squares' sums, (size, shape) of each."""
    row, column = divmod(cell, world.GRID)
    masks, labels = [], []
    for shape in range(6):
        for size in range(2):
            for dy in _OFFSETS:
                for dx in _OFFSETS:
                    thing = world.Thing(
                        shape=shape, colour=0, size=size, cell=cell, radius=world.RADII[size], rgb=(0, 0, 0),
                        x=(column + 0.5) * world.CELL + dx, y=(row + 0.5) * world.CELL + dy,
                    )  # fmt: skip
                    full = np.zeros((world.SIDE, world.SIDE), np.float32)
                    mask, top, left = world.coverage(thing)
                    full[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
                    y, x = _STARTS[row], _STARTS[column]
                    masks.append(full[y : y + _WINDOW, x : x + _WINDOW].ravel())
                    labels.append((size, shape))
    masks_MP = np.stack(masks)
    return masks_MP, (masks_MP**2).sum(1), labels


_COLOURS_T3 = np.repeat(np.array(world.RGB, np.float32), 3, axis=0)
_GROUNDS_T3 = np.tile(np.array(world.BACKGROUNDS, np.float32), (6, 1))


def read_cell(picture: NDArray[np.uint8], cell: int) -> Thing | None:
    """The object whose rendering is nearest to the picture in one cell by squared error; None if empty is nearest."""
    row, column = divmod(cell, world.GRID)
    y, x = _STARTS[row], _STARTS[column]
    pixels_P3 = picture[y : y + _WINDOW, x : x + _WINDOW].reshape(-1, 3).astype(np.float32)
    masks_MP, squares_M, labels = _templates(cell)
    # Error of ground + mask * (colour - ground), without the picture's own square, which all candidates share.
    total_3, count = pixels_P3.sum(0), len(pixels_P3)
    diff_T3 = _COLOURS_T3 - _GROUNDS_T3
    empty_T = count * (_GROUNDS_T3**2).sum(1) - 2 * _GROUNDS_T3 @ total_3
    cross_MT = (masks_MP @ pixels_P3) @ diff_T3.T - masks_MP.sum(1)[:, None] * (diff_T3 * _GROUNDS_T3).sum(1)
    error_MT = empty_T + squares_M[:, None] * (diff_T3**2).sum(1) - 2 * cross_MT
    best = int(error_MT.argmin())
    if empty_T.min() <= error_MT.flat[best]:
        return None
    mask, pair = divmod(best, len(diff_T3))
    size, shape = labels[mask]
    return size, pair // 3, shape, cell


def read_picture(picture: NDArray[np.uint8]) -> tuple[Thing, ...]:
    """Every object that the marker finds, in row-major order of cells."""
    found = (read_cell(picture, cell) for cell in range(9))
    return tuple(thing for thing in found if thing is not None)


def mark_picture(picture: NDArray[np.uint8], wanted: str) -> dict[str, float]:
    """`exact` is 1.0 if every asked object and nothing else is there; the rest are fractions over the asked objects."""
    truth = world.parse_caption(wanted)
    if truth is None:
        raise ValueError(f"not a caption of the world: {wanted!r}")
    found = {thing[3]: thing for thing in read_picture(picture)}
    marks = {"exact": float(tuple(found[c] for c in sorted(found)) == truth)}
    marks["count"] = float(len(found) == len(truth))
    marks["place"] = float(np.mean([t[3] in found for t in truth]))
    for name, index in (("size", 0), ("colour", 1), ("shape", 2)):
        marks[name] = float(np.mean([t[3] in found and found[t[3]][index] == t[index] for t in truth]))
    return marks
