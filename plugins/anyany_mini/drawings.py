"""What the miniature's image heads learn from: pictures of seen pairs with captions, shades and strange things in it.

A thing's colour may go up to half-way to another's, mostly to the one its shape is never seen in, told by a second
caption and a share; a colour or shape outside the palette is told by a blank slot. So shape and colour come apart
without an unseen pair ever being shown. Pictures are uint8 [64, 64, 3].
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anyany.api.torch import Component, Context, Rows
from anyany_mini import world
from anyany_mini.world import EVAL_SEED

CROWDED = 6


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A scene drawn, its caption, the caption whose conditioning is mixed in with `share` 0..0.5, and blank slots [8].

    Where a slot is blank the caption's word for it means nothing.
    """

    scene: world.Scene
    caption: str
    other: str
    share: float
    blank: NDArray[np.bool_]


def nearest_colour(rgb: Any) -> int:
    """The colour of the palette that is nearest to these levels."""
    return int(((np.array(world.RGB) - np.array(rgb)) ** 2).sum(1).argmin())


def mix_colour(rng: np.random.Generator, scene: world.Scene, jitter: float) -> tuple[world.Scene, world.Scene, float]:
    """Shift one thing's colour towards another, mostly the one its shape is never seen in: the scene drawn, the scene
    whose caption names the other colour, and the share (0..0.5) of that caption's conditioning to mix in.

    A shape is thus shown in shades up to half-way to its unseen colour, but never nearest to it.
    """
    index = int(rng.integers(len(scene.things)))
    thing = scene.things[index]
    unseen = (6 - thing.shape) % 6
    other = unseen if rng.random() < 0.7 else int(rng.integers(6))
    share = float(rng.uniform(0.0, 0.5))
    own, far = np.array(thing.rgb), np.array(world.RGB[other])
    rgb = own + share * (far - own) + jitter * rng.uniform(-5, 5, 3)
    if world.is_unseen(nearest_colour(rgb), thing.shape):
        return scene, scene, 0.0
    red, green, blue = (float(c) for c in rgb.clip(0, 255))
    drawn, told = list(scene.things), list(scene.things)
    drawn[index], told[index] = replace(thing, rgb=(red, green, blue)), replace(thing, colour=other)
    return replace(scene, things=tuple(drawn)), replace(scene, things=tuple(told)), share


def lesson(rng: np.random.Generator, *, jitter: float, mixed: float, strange: float, blank: float) -> Lesson:
    """A scene of the seen split; `mixed` and `strange` are shares of scenes, `blank` is a share of slots."""
    scene = told = world.sample_scene(rng, "seen", jitter)
    share = 0.0
    if rng.random() < mixed:
        scene, told, share = mix_colour(rng, scene, jitter)
    if rng.random() < strange and not share:
        scene = told = world.strange_scene(rng, scene, jitter)
    empty = rng.random(8) < blank
    for index, thing in enumerate(scene.things):
        empty[4 * index + 1] |= thing.colour == world.OTHER
        if thing.shape == world.OTHER:
            empty[[4 * index, 4 * index + 2]] = True
    return Lesson(scene=scene, caption=_words(scene), other=_words(told), share=share, blank=empty)


def crowd(rng: np.random.Generator, *, jitter: float, mixed: float, strange: float) -> world.Scene:
    """Things in six cells or more, as lessons draw them: much to see at once for what is taught pictures alone."""
    things: dict[int, world.Thing] = {}
    while len(things) < CROWDED:
        scene = lesson(rng, jitter=jitter, mixed=mixed, strange=strange, blank=0.0).scene
        for thing in scene.things:
            things.setdefault(thing.cell, thing)
    return world.Scene(things=tuple(things[cell] for cell in sorted(things)), background=scene.background)


def _words(scene: world.Scene) -> str:
    """The caption, with any word for what is outside the palette."""
    return " and ".join(
        world.describe_thing(replace(t, colour=t.colour % world.OTHER, shape=t.shape % world.OTHER))
        for t in scene.things
    )


def around(picture: NDArray[np.uint8], ground: tuple[int, int, int]) -> NDArray[np.bool_]:
    """[64, 64]: where a picture differs from its background, and two pixels around it."""
    other = np.abs(picture.astype(np.int16) - ground).max(-1) > 3
    wide = np.pad(other, 2)
    shifted = [wide[y : y + world.SIDE, x : x + world.SIDE] for y in range(5) for x in range(5)]
    found: NDArray[np.bool_] = np.any(shifted, axis=0)
    return found


class Drawings(Component):
    """Options: `DrawingsConfig`."""

    def __len__(self) -> int:
        return int(self.config.n)

    def record(self, index: int) -> dict[str, Any]:
        """The lesson of (seed, index): picture, focus [64, 64], caption, other, share [1] and blank [8] in 0..1; of a
        crowd, the picture alone."""
        c = self.config
        rng = np.random.default_rng([c.seed, index % EVAL_SEED])
        if c.crowd:
            return {"picture": world.render(crowd(rng, jitter=c.jitter, mixed=c.mixed, strange=c.strange))}
        found = lesson(rng, jitter=c.jitter, mixed=c.mixed, strange=c.strange, blank=c.blank)
        picture = world.render(found.scene)
        return {
            "picture": picture, "focus": around(picture, world.BACKGROUNDS[found.scene.background]),
            "caption": found.caption, "other": found.other,
            "share": np.array([found.share], np.float32), "blank": found.blank.astype(np.float32),
        }  # fmt: skip

    def read(self, ctx: Context) -> dict[str, Rows]:
        """The first record's captions, as JSON."""
        words = {k: v for k, v in self.record(0).items() if isinstance(v, str)}
        return {"record": ctx.rows([json.dumps(words)] * len(ctx.keys))}
