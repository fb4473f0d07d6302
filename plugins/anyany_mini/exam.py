"""The evaluation set: scenes, spoken captions and questions, and references of speech, shipped in `evaluation/`.

`python -m anyany_mini.exam` makes the files anew (needs espeak-ng); reading them needs nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anyany_mini import dtw, voice, world

FOLDER = Path(__file__).parent / "evaluation"
SPLITS = ("seen", "unseen")
SPOKEN, VARIANTS = 100, 9
"""Scenes of a split that have sound; captions that differ in one attribute beside each."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A scene with its caption and one question of it."""

    scene: world.Scene
    caption: str
    question: str
    answer: str


def cases(split: str, count: int) -> list[Case]:
    """The first `count` held-out scenes of a split; training never used their seeds."""
    rng = np.random.default_rng(world.EVAL_SEED + (31 if split == "seen" else 32))
    found = []
    for _ in range(count):
        scene = world.sample_scene(rng, split)
        asked = world.questions(scene)
        question, answer = asked[int(rng.integers(len(asked)))]
        found.append(Case(scene=scene, caption=world.caption(scene), question=question, answer=answer))
    return found


def variants(caption: str, rng: np.random.Generator) -> list[str]:
    """Nine captions that differ from this one in one attribute of one thing."""
    things = world.parse_caption(caption)
    assert things is not None
    counts = (len(world.SIZES), len(world.COLOURS), len(world.SHAPES), len(world.PLACES))
    every = []
    for n, thing in enumerate(things):
        for attribute, count in enumerate(counts):
            for other in range(count):
                if other != thing[attribute]:
                    changed = (*thing[:attribute], other, *thing[attribute + 1 :])
                    every.append(" and ".join(_told(changed if m == n else t) for m, t in enumerate(things)))
    chosen = rng.choice(len(every), VARIANTS, replace=False)
    return [every[int(n)] for n in chosen]


def _told(thing: tuple[int, ...]) -> str:
    size, colour, shape, cell = thing
    return f"a {world.SIZES[size]} {world.COLOURS[colour]} {world.SHAPES[shape]} {world.PLACES[cell]}"


@dataclass(frozen=True, kw_only=True)
class Sounds:
    """What is shipped of a split: spoken captions and questions (float32 at 16 kHz), MFCCs of the ten candidates of
    each caption, the right one first."""

    captions: list[NDArray[np.float32]]
    questions: list[NDArray[np.float32]]
    candidates: list[list[dtw.Frames]]


def load(split: str) -> Sounds:
    """The shipped sounds of a split. Raises OSError where they are missing."""
    import soundfile

    samples, _ = soundfile.read(FOLDER / f"{split}.ogg", dtype="float32")
    told = json.loads((FOLDER / f"{split}.json").read_text("utf-8"))
    cut = [samples[begin : begin + length] for begin, length in told["recordings"]]
    frames = np.load(FOLDER / f"{split}.npz")["frames"]
    parts = np.split(frames, np.cumsum(told["references"])[:-1])
    each = 1 + VARIANTS
    return Sounds(captions=cut[:SPOKEN], questions=cut[SPOKEN:],
                  candidates=[parts[n : n + each] for n in range(0, len(parts), each)])  # fmt: skip


def heard_as(spoken: NDArray[np.float32], number: int, sounds: Sounds) -> bool:
    """Whether speech is nearest to caption `number` among 20: it, nine near ones and ten others of the set."""
    rng = np.random.default_rng([number, 20])
    others = rng.choice([n for n in range(len(sounds.candidates)) if n != number], 10, replace=False)
    candidates = [*sounds.candidates[number], *(sounds.candidates[int(n)][0] for n in others)]
    return dtw.nearest(dtw.mfcc(spoken), candidates) == 0


def _recordings(split: str, rng: np.random.Generator) -> list[NDArray[np.float32]]:
    told = cases(split, SPOKEN)
    found = []
    for text in [c.caption for c in told] + [c.question for c in told]:
        name = voice.VOICES[int(rng.integers(len(voice.VOICES)))]
        found.append(voice.say(text, name, int(rng.integers(*voice.SPEEDS)), int(rng.integers(*voice.PITCHES))).samples)
    return found


def write(split: str) -> None:
    """Speak and write a split's files."""
    import soundfile

    rng = np.random.default_rng(world.EVAL_SEED + (41 if split == "seen" else 42))
    recordings = _recordings(split, rng)
    begins = np.cumsum([0, *map(len, recordings)])
    references = []
    for case in cases(split, SPOKEN):
        references += [dtw.mfcc(voice.say(text).samples) for text in (case.caption, *variants(case.caption, rng))]
    told: dict[str, Any] = {
        "recordings": [[int(b), len(r)] for b, r in zip(begins, recordings)],
        "references": [len(r) for r in references],
    }
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{split}.json").write_text(json.dumps(told) + "\n", "utf-8")
    np.savez_compressed(FOLDER / f"{split}.npz", frames=np.concatenate(references))
    with soundfile.SoundFile(FOLDER / f"{split}.ogg", "w", voice.RATE, 1, format="OGG", subtype="VORBIS") as file:
        for block in np.array_split(np.concatenate(recordings), 1000):  # libsndfile's Vorbis fails on much at once
            file.write(block)


if __name__ == "__main__":
    for one in SPLITS:
        write(one)
