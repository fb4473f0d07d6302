"""What is said aloud in the miniature world: captions, questions, answers and instructions, without punctuation.

Torch-free. Speech-only data may hold unseen pairs.
"""

from __future__ import annotations

import numpy as np

from anyany_mini import world

WITHOUT_CAPTION = (
    "describe it", "what do you see", "describe the picture", "draw it", "please draw it", "say it", "please say it",
    "draw it and describe it", "describe it and draw it", "say it and draw it", "draw it and say it",
)  # fmt: skip
WITH_CAPTION = ("draw {}", "please draw {}", "show me {}", "say {}", "please say {}", "draw {} and describe it")
AFTER_QUESTION = ("", "", "", " say the answer")
ANSWERS = (*world.COLOURS, *(f"a {shape}" for shape in world.SHAPES), "one", "two", *world.PLACES)
LONGEST = 6.0
"""Seconds that no sentence exceeds, at the lowest speed."""


def sample(rng: np.random.Generator) -> str:
    """A sentence: half of them captions."""
    roll = rng.random()
    scene = world.sample_scene(rng, "any")
    if roll < 0.5:
        return world.caption(scene)
    if roll < 0.7:
        asked = world.questions(scene)
        question, _ = asked[int(rng.integers(len(asked)))]
        return question + AFTER_QUESTION[int(rng.integers(len(AFTER_QUESTION)))]
    if roll < 0.8:
        return ANSWERS[int(rng.integers(len(ANSWERS)))]
    if roll < 0.9:
        return WITHOUT_CAPTION[int(rng.integers(len(WITHOUT_CAPTION)))]
    return WITH_CAPTION[int(rng.integers(len(WITH_CAPTION)))].format(world.caption(scene))


def words() -> list[str]:
    """Every word that may be said, sorted."""
    rng = np.random.default_rng(0)
    told = [*WITHOUT_CAPTION, *WITH_CAPTION, *AFTER_QUESTION, *ANSWERS, "and", *world.SIZES]
    told += [q for _ in range(2000) for q, _ in world.questions(world.sample_scene(rng, "any"))]
    return sorted({word for text in told for word in text.split()} - {"{}"})


def slots(text: str) -> list[int] | None:
    """Where each of eight slots of a caption or an answer begins: size, colour, shape and place of the first and of the
    second thing, as indices of letters; -1 for a slot that says nothing. None for any other sentence."""
    found = [-1] * 8
    if world.parse_caption(text) is not None:
        at = 0
        for thing, part in enumerate(text.split(" and ")):
            begin = text.index(part, at)
            words = part.split(" ", 4)
            found[4 * thing] = begin - len("and ") if thing else begin
            begin += len(words[0]) + len(words[1]) + 2
            for slot, word in enumerate(words[2:], 4 * thing + 1):
                found[slot] = begin
                begin += len(word) + 1
            at = begin
        return found
    if text not in ANSWERS:
        return None
    groups = (("one", "two"), world.COLOURS, tuple(f"a {shape}" for shape in world.SHAPES), world.PLACES)
    found[next(n for n, group in enumerate(groups) if text in group)] = 0
    return found
