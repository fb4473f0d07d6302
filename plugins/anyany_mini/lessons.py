"""What the miniature's parts are taught with: captions with the classes of their words, conversations with pictures.

A caption comes with what each of eight slots must say. A conversation comes with what is read in the reply's place
(words of another size, colour or shape, so that these are seen and not guessed), with words that are not learned where
a thing is outside the palette, and with what stands in every cell. Pictures are uint8 [64, 64, 3].
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anyany.api.torch import Component, Context, Rows
from anyany.api.v1 import Media
from anyany_mini import talk, world
from anyany_mini.world import EVAL_SEED

NOTHING, NOT_ASKED = 9, -1
EMPTY = (len(world.SIZES), len(world.COLOURS), len(world.SHAPES))
"""The class of a cell that holds nothing, for its size, colour and shape."""
GROUPS = {word: group for group in (world.SIZES, world.COLOURS, world.SHAPES) for word in group}
WORD = re.compile(rf" ({'|'.join(GROUPS)})\b")
Record = dict[str, Any]


def slots_of(caption: str) -> NDArray[np.float32]:
    """[8, 5] classes of a caption's slots: 4 o + a says attribute a of thing o, and in the last column its place.

    What a slot does not say is -1, what a thing that is not there would say is 9.
    """
    things = world.parse_caption(caption)
    if things is None:
        raise ValueError(f"not a caption of the world: {caption!r}")
    found = np.full((8, 5), NOT_ASKED, np.float32)
    for slot in range(8):
        thing = things[slot // 4] if slot // 4 < len(things) else (NOTHING,) * 4
        found[slot, slot % 4], found[slot, 4] = thing[slot % 4], thing[3]
    return found


def cells_of(scene: world.Scene) -> NDArray[np.float32]:
    """[9, 3] size, colour and shape of what is in every cell; -1 for what is outside the palette."""
    cells = np.tile(np.array(EMPTY, np.float32), (9, 1))
    for thing in scene.things:
        size = NOT_ASKED if thing.shape == world.OTHER else thing.size
        known = (NOT_ASKED if value == world.OTHER else value for value in (thing.colour, thing.shape))
        cells[thing.cell] = (size, *known)
    return cells


def roughened(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Pixel noise, and blur on a fifth, so that drawings can be read as well as renderings."""
    soft = picture.astype(np.float32)
    if rng.random() < 0.2:
        wide = np.pad(soft, ((1, 1), (1, 1), (0, 0)), mode="edge")
        soft = np.mean([wide[y : y + world.SIDE, x : x + world.SIDE] for y in range(3) for x in range(3)], axis=0)
    level = rng.uniform(0, 0.12) * 127.5
    return (soft + level * rng.standard_normal(soft.shape)).round().clip(0, 255).astype(np.uint8)


def misread(text: str, rng: np.random.Generator, share: float) -> str:
    """The text with a share of its sizes, colours and shapes become others of their class."""

    def other(match: re.Match[str]) -> str:
        group = GROUPS[match[1]]
        return f" {group[int(rng.integers(len(group)))]}" if rng.random() < share else match[0]

    return WORD.sub(other, text)


class Captions(Component):
    """Options: `CaptionsConfig`."""

    def __len__(self) -> int:
        return int(self.config.n)

    def record(self, index: int) -> Record:
        """The caption of (seed, index), and the classes of its slots [8, 5]."""
        rng = np.random.default_rng([self.config.seed, index % EVAL_SEED, 4])
        caption = world.caption(world.sample_scene(rng, "any"))
        return {"caption": caption, "slots": slots_of(caption)}

    def read(self, ctx: Context) -> dict[str, Rows]:
        """The first caption."""
        return {"record": ctx.rows([self.record(0)["caption"]] * len(ctx.keys))}


class Turns(Component):
    """Options: `TurnsConfig`."""

    def __len__(self) -> int:
        return int(self.config.n)

    def record(self, index: int) -> Record:
        """The conversation of (seed, index): prompt, reply, read, drawn ("" where nothing is), and cells [9, 3] where a
        picture is shown."""
        rng = np.random.default_rng([self.config.seed, index % EVAL_SEED, 5])
        pictures = {"all": 0.75, "text": 0.0, "pictures": 1.0}[self.config.about]
        return self.told(talk.sample_talk(rng, pictures, self.config.strange), rng)

    def told(self, one: talk.Talk, rng: np.random.Generator) -> Record:
        """A conversation as a record: its last reply is learned, the turns before it are history."""
        picture = None if one.scene is None else world.render(one.scene)
        if picture is not None and self.config.rough:
            picture = roughened(picture, rng)
        prompt: list[Any] = []
        for turn in one.turns[:-1]:
            prompt += [*self._asked(turn, picture), {"role": "assistant"}, "".join(p.text for p in turn.reply)]
            prompt.append({"role": "user"})
        last = one.turns[-1]
        prompt = [{"role": "user"}, *prompt, *self._asked(last, picture)] if prompt else self._asked(last, picture)
        share = self.config.misread if None in last.asked else 0.0
        reply, read = (self._reply(last, learned, rng, share) for learned in (True, False))
        cells = {} if one.scene is None else {"cells": cells_of(one.scene)}
        return {"prompt": prompt, "reply": reply, "read": read, "drawn": last.drawn or "", **cells}

    @staticmethod
    def _asked(turn: talk.Turn, picture: Any) -> list[Any]:
        return [picture if part is None else part for part in turn.asked]

    @staticmethod
    def _reply(turn: talk.Turn, learned: bool, rng: np.random.Generator, share: float) -> list[Any]:
        """Parts of the reply: to be learned, or as they are read."""
        signal = "".join(talk.SIGNALS)
        pieces = [p.text if p.learn or not learned else talk.PAD for p in turn.reply]
        text = "".join(pieces) if learned else misread("".join(pieces), rng, share)
        return [Media(kind="image"), text.removeprefix(signal)] if text.startswith(signal) else [text]

    def read(self, ctx: Context) -> dict[str, Rows]:
        """The words of a conversation without pictures, as JSON."""
        rng = np.random.default_rng(self.config.seed)
        record = self.told(talk.sample_talk(rng, 0.0), rng)
        words = {k: [p for p in v if isinstance(p, str)] if isinstance(v, list) else v for k, v in record.items()}
        return {"record": ctx.rows([json.dumps(words)] * len(ctx.keys))}
