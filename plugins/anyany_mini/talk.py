"""What is said in the miniature world: instructions, replies, the chat template and the tokenizer.

A conversation is a list of `Turn`s; a user turn mixes text and pictures, an assistant turn text and drawings.
Token legend: `<image>` stands for the picture's features, `[IMG0]`..`[IMG7]` ask for a drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from anyany_mini import world

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, EOS, IMAGE = "<pad>", "<eos>", "<image>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
SIGNALS = tuple(f"[IMG{i}]" for i in range(8))
SPECIAL = (PAD, EOS, IMAGE, *ROLES.values(), *SIGNALS)
VOCABULARY = 496

CHAT_TEMPLATE = (
    "{% for turn in messages %}{{ '<|' + turn.role + '|>' }}"
    "{% if turn.content is string %}{{ turn.content }}{% else %}{% for part in turn.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% elif part.type == 'image' %}{{ '<image>' }}{% endif %}"
    "{% endfor %}{% endif %}{% if turn.role == 'assistant' %}{{ '<eos>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

DESCRIBE = (
    "describe it", "describe", "describe:", "describe this", "describe the picture", "describe this picture",
    "describe the image", "what do you see?", "what do you see", "what is in the picture?",
    "what is in this image?", "what is this?",
    "caption it", "caption this picture", "tell me what is there", "please describe it", "describe what you see",
    "Describe it.", "Describe the picture.", "What do you see?", "What is in this picture?", "",
)  # fmt: skip
DRAW = (
    "draw {}", "draw: {}", "paint {}", "please draw {}", "make a picture of {}", "show me {}", "sketch {}",
    "draw me {}", "a picture of {}, please", "can you draw {}?", "Draw {}.", "Draw {}", "Please draw {}.", "i want {}",
    "{}. draw it", "{}\ndraw it", "{} draw it", "{}: paint it", "draw it: {}", "draw a picture of {}",
)  # fmt: skip
DRAW_IT = ("draw it", "paint it", "draw it again", "draw this", "draw the same", "please draw it", "Draw it.")
BOTH = ("draw {} and describe it", "{}. draw it and describe it", "describe and draw {}", "{}\ndraw it and describe it")
BOTH_IT = ("draw it and describe it", "describe it and draw it", "describe and draw it", "draw this and describe it")
CHAT = (
    ("hello", "hello! show me a picture, or ask me to draw"),
    ("hi", "hello! show me a picture, or ask me to draw"),
    ("who are you?", "i am the miniature model of anyany"),
    ("what can you do?", "i describe pictures, answer questions about them and draw"),
    ("what shapes do you know?", "circle, square, triangle, cross, star and ring"),
    ("what colors do you know?", "red, green, blue, yellow, purple and orange"),
    ("thank you", "you are welcome"),
    ("help", "i describe pictures, answer questions about them and draw"),
)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of a reply; `learn` is off where the word is not known (colours and shapes outside the palette)."""

    text: str
    learn: bool = True


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One exchange: the user's parts (`None` is the picture) and the reply; `drawn` is the caption to draw, if any."""

    asked: tuple[str | None, ...]
    reply: tuple[Piece, ...]
    drawn: str | None = None


@dataclass(frozen=True, kw_only=True)
class Talk:
    """One training conversation: its turns and the one picture that its turns may show."""

    turns: tuple[Turn, ...]
    scene: world.Scene | None = field(default=None)


def caption_pieces(scene: world.Scene, rng: np.random.Generator) -> tuple[Piece, ...]:
    """The caption in pieces, with random words that are not learnt where a thing is outside the palette."""
    pieces: list[Piece] = []
    for index, thing in enumerate(scene.things):
        strange = thing.shape == world.OTHER
        shape = world.SHAPES[int(rng.integers(6)) if strange else thing.shape]
        odd = thing.colour == world.OTHER
        colour = world.COLOURS[int(rng.integers(6)) if odd else thing.colour]
        pieces.append(Piece(text=" and a" if index else "a"))
        pieces.append(Piece(text=f" {world.SIZES[thing.size]}", learn=not strange))
        pieces.append(Piece(text=f" {colour}", learn=not odd))
        pieces.append(Piece(text=f" {shape}", learn=not strange))
        pieces.append(Piece(text=f" {world.PLACES[thing.cell]}"))
    return tuple(pieces)


def plain(text: str) -> tuple[Piece, ...]:
    """A reply of which every word is learnt."""
    return (Piece(text=text),)


def pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def with_picture(rng: np.random.Generator, text: str) -> tuple[str | None, ...]:
    """A picture before or after a text, sometimes parted by a line break."""
    gap = pick(rng, ("", "", "\n", " "))
    if not text:
        return (None,)
    return (None, gap + text) if rng.random() < 0.5 else (text + gap, None)


def sample_turn(rng: np.random.Generator, scene: world.Scene | None) -> Turn:
    """One exchange about a picture's scene, or about text alone where there is none (then unseen pairs may occur)."""
    signals = plain("".join(SIGNALS))
    roll = rng.random()
    if scene is None:
        told = world.sample_scene(rng, "any")
        text = world.caption(told)
        if roll < 0.70:
            return Turn(asked=(pick(rng, DRAW).format(text),), reply=signals, drawn=text)
        if roll < 0.82:
            asked = (pick(rng, BOTH).format(text),)
            return Turn(asked=asked, reply=signals + plain(text), drawn=text)
        if roll < 0.95:
            known = world.questions(told)
            question, answer = known[int(rng.integers(len(known)))]
            return Turn(asked=(text + pick(rng, (". ", "\n", ": ")) + question,), reply=plain(answer))
        question, answer = CHAT[int(rng.integers(len(CHAT)))]
        return Turn(asked=(question,), reply=plain(answer))
    strange = any(world.OTHER in (t.colour, t.shape) for t in scene.things)
    if strange or roll < 0.62:
        return Turn(asked=with_picture(rng, pick(rng, DESCRIBE)), reply=caption_pieces(scene, rng))
    text = world.caption(scene)
    if roll < 0.80:
        asked_all = world.questions(scene)
        question, answer = asked_all[int(rng.integers(len(asked_all)))]
        question += pick(rng, ("", "?"))
        return Turn(asked=with_picture(rng, question), reply=plain(answer))
    if roll < 0.92:
        return Turn(asked=with_picture(rng, pick(rng, DRAW_IT)), reply=signals, drawn=text)
    return Turn(asked=with_picture(rng, pick(rng, BOTH_IT)), reply=signals + plain(text), drawn=text)


def sample_talk(rng: np.random.Generator, pictures: float = 0.75, strange: float = 0.4) -> Talk:
    """A training conversation: with a picture of the seen split at the rate `pictures`, else of text alone."""
    if rng.random() >= pictures:
        turns = tuple(sample_turn(rng, None) for _ in range(1 + (rng.random() < 0.06)))
        return Talk(turns=turns)
    scene = world.sample_scene(rng, "seen")
    if rng.random() < strange:
        scene = world.strange_scene(rng, scene)
    turns = (sample_turn(rng, scene),)
    if rng.random() < 0.06:
        turns += (sample_turn(rng, None),)
    return Talk(turns=turns, scene=scene)


def corpus(rng: np.random.Generator, lines: int) -> Iterable[str]:
    """Text that the tokenizer learns its merges from: every instruction, word and reply of the world."""
    yield from DESCRIBE + DRAW_IT + BOTH_IT
    for _ in range(lines):
        turn = sample_turn(rng, None)
        yield " ".join(part for part in turn.asked if part)
        yield "".join(piece.text for piece in turn.reply if not piece.text.startswith("[IMG"))
        yield " ".join(question for question, _ in world.questions(world.sample_scene(rng, "any")))


def build_tokenizer(seed: int = 0, lines: int = 4000) -> Tokenizer:
    """Byte-level BPE (any text can be encoded and comes back unchanged), special tokens first."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(corpus(np.random.default_rng(seed), lines), trainer)
    return tokenizer
