"""Scenes, pictures, captions and questions of the miniature world: data made by code.

Picture: uint8 [64, 64, 3], RGB. A scene is one or two objects on a 3 x 3 grid (`docs/` describes the world in full).
The six colour-shape pairs of `is_unseen` never occur in a training picture; evaluation seeds start at `EVAL_SEED`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

SIDE = 64
GRID = 3
CELL = SIDE / GRID
JITTER = 2.0
SUPERSAMPLE = 6
EVAL_SEED = 1_000_000_000
"""Training draws its scenes from seeds below this one, evaluation from here on."""

BACKGROUNDS = ((245, 245, 245), (128, 128, 128), (20, 20, 20))
SHAPES = ("circle", "square", "triangle", "cross", "star", "ring")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
RGB = ((220, 30, 30), (30, 170, 60), (40, 70, 225), (240, 215, 30), (150, 50, 180), (240, 140, 20))
SIZES = ("small", "big")
RADII = (6.0, 9.5)
PLACES = (
    "at the top left", "at the top", "at the top right",
    "on the left", "in the center", "on the right",
    "at the bottom left", "at the bottom", "at the bottom right",
)  # fmt: skip
OTHER = 6
"""Index of a colour or a shape outside the palette; only augmented training scenes hold it."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One object. `rgb` is its exact colour (0..255); `outline` is the polygon of an `OTHER` shape, [K, 2] in radii."""

    shape: int
    colour: int
    size: int
    cell: int
    x: float
    y: float
    radius: float
    rgb: tuple[float, float, float]
    outline: NDArray[np.float32] | None = None


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One or two things in row-major order of their cells, on one of three backgrounds."""

    things: tuple[Thing, ...]
    background: int


def is_unseen(colour: int, shape: int) -> bool:
    """True for the six pairs that are kept out of every training picture."""
    return colour < OTHER and shape < OTHER and (colour + shape) % 6 == 0


def sample_scene(rng: np.random.Generator, split: str = "seen", jitter: float = 1.0) -> Scene:
    """Draw a scene. `seen` holds no unseen pair, `unseen` holds at least one, `any` draws pairs freely.

    `jitter` scales the spread of positions, radii and colours.
    """
    if split not in ("seen", "unseen", "any"):
        raise ValueError(f"split must be seen, unseen or any, not {split!r}")
    count = int(rng.integers(1, 3))
    cells = np.sort(rng.choice(9, size=count, replace=False))
    forced = int(rng.integers(count)) if split == "unseen" else -1
    things = []
    for index, cell in enumerate(cells):
        colour, shape = int(rng.integers(6)), int(rng.integers(6))
        if index == forced:
            shape = (6 - colour) % 6
        while split == "seen" and is_unseen(colour, shape):
            colour, shape = int(rng.integers(6)), int(rng.integers(6))
        size = int(rng.integers(2))
        things.append(place_thing(rng, colour=colour, shape=shape, size=size, cell=int(cell), jitter=jitter))
    return Scene(things=tuple(things), background=int(rng.integers(3)))


def place_thing(
    rng: np.random.Generator, *, colour: int, shape: int, size: int, cell: int, jitter: float = 1.0
) -> Thing:
    """Give an object its exact position (px), radius (px) and colour, each with the jitter of the world."""
    row, column = divmod(cell, GRID)
    dx, dy = jitter * rng.uniform(-JITTER, JITTER, 2)
    red, green, blue = (float(np.clip(c + jitter * rng.uniform(-15, 15), 0, 255)) for c in RGB[colour])
    return Thing(
        shape=shape, colour=colour, size=size, cell=cell,
        x=(column + 0.5) * CELL + dx, y=(row + 0.5) * CELL + dy,
        radius=RADII[size] + jitter * rng.uniform(-0.5, 0.5), rgb=(red, green, blue),
    )  # fmt: skip


def inside(shape: int, radius: float, u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which points (u right, v down, px from the centre) lie in the shape."""
    name = SHAPES[shape]
    if name == "circle":
        return u * u + v * v <= radius * radius
    if name == "ring":
        d = u * u + v * v
        return (d <= radius * radius) & (d >= (0.55 * radius) ** 2)
    if name == "square":
        return np.maximum(np.abs(u), np.abs(v)) <= 0.85 * radius
    if name == "cross":
        a, b = np.abs(u), np.abs(v)
        return (np.maximum(a, b) <= radius) & (np.minimum(a, b) <= 0.35 * radius)
    if name == "triangle":
        apothem = 0.55 * radius
        return (v <= apothem) & (np.abs(u) * np.float32(np.sqrt(3) / 2) - v * np.float32(0.5) <= apothem)
    # A star: fold the angle into one half point; there its edge runs from the tip to the notch.
    outer, inner = 1.15 * radius, 1.15 * 0.45 * radius
    angle = np.arctan2(np.abs(u), -v)
    fold = np.float32(2 * np.pi / 5)
    angle = np.abs(angle - fold * np.round(angle / fold))
    d = np.hypot(u, v)
    px, py = d * np.cos(angle), d * np.sin(angle)
    nx, ny = inner * np.cos(np.pi / 5), inner * np.sin(np.pi / 5)
    return (px - outer) * ny + py * (outer - nx) <= 0


def inside_polygon(outline: NDArray[np.float32], u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Even-odd test of points against a closed polygon [K, 2]."""
    result = np.zeros(np.broadcast_shapes(u.shape, v.shape), bool)
    following = np.roll(outline, -1, axis=0)
    for (x0, y0), (x1, y1) in zip(outline, following, strict=True):
        if y0 != y1:
            result ^= ((y0 > v) != (y1 > v)) & (u < (x1 - x0) * (v - y0) / (y1 - y0) + x0)
    return result


def coverage(thing: Thing) -> tuple[NDArray[np.float32], int, int]:
    """Anti-aliased mask of an object, 0..1, in a box [h, w], and the box's top row and left column."""
    reach = 1.2 * thing.radius
    top, left = max(int(thing.y - reach), 0), max(int(thing.x - reach), 0)
    bottom, right = min(int(thing.y + reach) + 2, SIDE), min(int(thing.x + reach) + 2, SIDE)
    h, w, s = bottom - top, right - left, SUPERSAMPLE
    u = (left + (np.arange(w * s, dtype=np.float32) + 0.5) / s - np.float32(thing.x))[None]
    v = (top + (np.arange(h * s, dtype=np.float32) + 0.5) / s - np.float32(thing.y))[:, None]
    if thing.outline is not None:
        mask = inside_polygon(thing.outline * np.float32(thing.radius), u, v)
    else:
        mask = inside(thing.shape, thing.radius, u, v)
    return mask.reshape(h, s, w, s).mean((1, 3), dtype=np.float32), top, left


def render(scene: Scene) -> NDArray[np.uint8]:
    """The picture of a scene, uint8 [64, 64, 3]; later objects cover earlier ones."""
    picture = np.empty((SIDE, SIDE, 3), np.float32)
    picture[:] = BACKGROUNDS[scene.background]
    for thing in scene.things:
        mask, top, left = coverage(thing)
        box = picture[top : top + mask.shape[0], left : left + mask.shape[1]]
        box += mask[..., None] * (np.array(thing.rgb, np.float32) - box)
    return np.round(picture).astype(np.uint8)


def describe_thing(thing: Thing) -> str:
    """`a SIZE COLOUR SHAPE PLACE`."""
    return f"a {SIZES[thing.size]} {COLOURS[thing.colour]} {SHAPES[thing.shape]} {PLACES[thing.cell]}"


def caption(scene: Scene) -> str:
    """The one right caption of a scene."""
    return " and ".join(describe_thing(thing) for thing in scene.things)


def parse_caption(text: str) -> tuple[tuple[int, int, int, int], ...] | None:
    """Read a caption back as (size, colour, shape, cell) per object; None if it is not exactly a caption."""
    found = []
    for part in text.strip().split(" and "):
        words = part.split(" ", 4)
        if len(words) != 5 or words[0] != "a":
            return None
        try:
            size, colour, shape = SIZES.index(words[1]), COLOURS.index(words[2]), SHAPES.index(words[3])
            found.append((size, colour, shape, PLACES.index(words[4])))
        except ValueError:
            return None
    return tuple(found) if len(found) <= 2 else None


def questions(scene: Scene) -> list[tuple[str, str]]:
    """Every question with a unique answer on the scene, with that answer."""
    things = scene.things
    found = [("how many shapes are there", ("one", "two")[len(things) - 1])]
    for thing in things:
        colour, shape = COLOURS[thing.colour], SHAPES[thing.shape]
        if sum(t.shape == thing.shape for t in things) == 1:
            found.append((f"what color is the {shape}", colour))
        if sum(t.colour == thing.colour for t in things) == 1:
            found.append((f"what shape is {colour}", f"a {shape}"))
        if sum((t.colour, t.shape) == (thing.colour, thing.shape) for t in things) == 1:
            found.append((f"where is the {colour} {shape}", PLACES[thing.cell]))
    return found


def strange_scene(rng: np.random.Generator, scene: Scene, jitter: float = 1.0) -> Scene:
    """An augmented training scene: one object takes a colour or a shape outside the palette.

    It parts shape from colour without ever showing an unseen pair: a strange colour is nearest, among the six, to one
    that the shape may have, and a strange shape is an irregular polygon, which none of the six is.
    """
    things = list(scene.things)
    index = int(rng.integers(len(things)))
    thing = things[index]
    if rng.random() < 0.6:
        palette = np.array(RGB, np.float32)
        while True:
            rgb = rng.uniform(0, 255, 3)
            if rng.random() < 0.3:
                rgb[:] = rgb[0]
            far = np.abs(rgb[None] - np.array(BACKGROUNDS[scene.background])[None]).max() > 60
            if far and not is_unseen(int(((palette - rgb) ** 2).sum(1).argmin()), thing.shape):
                break
        red, green, blue = (float(c) for c in rgb)
        things[index] = replace(thing, colour=OTHER, rgb=(red, green, blue))
    else:
        corners = int(rng.integers(3, 8))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        # One long and one short corner: never near a regular triangle or square.
        reach = rng.permutation(np.append(rng.uniform(0.35, 1.15, corners - 2), [0.4, 1.1]))
        outline = np.stack([reach * np.cos(angles), reach * np.sin(angles)], 1).astype(np.float32)
        # The colour is drawn anew: without a shape of the six beside it every colour may be shown.
        colour = int(rng.integers(6))
        fresh = place_thing(rng, colour=colour, shape=thing.shape, size=thing.size, cell=thing.cell, jitter=jitter)
        things[index] = replace(fresh, shape=OTHER, outline=outline)
    return replace(scene, things=tuple(things))
