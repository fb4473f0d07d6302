"""Conversations as a source of records: pictures, recordings, spoken requests; replies with drawings and speech.

A record: prompt and reply (messages), read (the reply with wrong words in it, where it describes a picture), words (the
reply's text), drawn and said (what its picture shows and its sound says); empty where there is none.

A picture's scene never holds an unseen pair; sentences, written or spoken, may, and the written ones often do: else
"what color is the circle" alone would say that it is not red. Some pictures show a colour or a shape outside the
palette; what cannot be named of them is not learned.
"""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cached_property
from typing import Any

import numpy as np

from anyany.api.torch import Build, Component, Context, Rows
from anyany.api.v1 import Media
from anyany_mini import talk, world
from anyany_mini.drawings import mix_colour, nearest_colour
from anyany_mini.lessons import misread
from anyany_mini.speech import Speech

SAY = ("say {}", "say: {}", "please say {}", "Say {}.", "{}. say it", "{}\nsay it", "read aloud {}", "say it: {}")
SAY_IT = ("say it", "please say it", "say what you see", "Say it.", "read it aloud", "say it aloud")
SAY_AND_DRAW = ("say it and draw it", "draw it and say it")
TELL = ("{}. describe it", "{}\ndescribe it", "describe: {}", "{} describe it")
SHADED, MISREAD, UNSEEN, WHERE = 0.3, 0.4, 0.4, 0.25
"""Shares of scenes with a thing in a shade between two colours, of attributes misread in descriptions, of sentences
with an unseen pair, of questions that ask for a place (the slowest to be learned: every word is looked up anew)."""
DRAWN, HEARD = Media(kind="image"), Media(kind="audio")
Record = dict[str, Any]


def reply(*parts: Any, drawn: str = "", said: str = "") -> Record:
    """What is answered, with what its picture shows and its sound says."""
    words = " ".join(p for p in parts if isinstance(p, str))
    return {"reply": list(parts), "read": list(parts), "words": words, "drawn": drawn, "said": said}


class Talks(Component):
    """Options: `TalksConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        from anyany_mini.plugin import SpeechConfig

        self.speech = Speech(SpeechConfig(path=config.speech, skip=config.skip), build)

    @cached_property
    def spoken(self) -> dict[str, list[int]]:
        """Sentence -> the records that speak it."""
        found: dict[str, list[int]] = defaultdict(list)
        for number, line in enumerate(self.speech.lines):
            found[line["text"]].append(number)
        return dict(found)

    @cached_property
    def captions(self) -> list[str]:
        """The captions among the spoken sentences."""
        return [text for text in self.spoken if world.parse_caption(text) is not None]

    @cached_property
    def requests(self) -> list[tuple[str, str, str]]:
        """(sentence, what is asked, caption) of the spoken sentences that ask to draw or to say a caption."""
        found = []
        for text in self.spoken:
            for asked in ("please draw ", "draw ", "show me ", "please say ", "say "):
                rest = text.removeprefix(asked)
                caption, _, both = rest.partition(" and describe it")
                if rest != text and not both and world.parse_caption(caption) is not None:
                    found.append((text, "say" if "say" in asked else "draw", caption))
                    break
        return found

    def __len__(self) -> int:
        return int(self.config.n)

    def record(self, index: int) -> Record:
        """The conversation of (seed, index)."""
        rng = np.random.default_rng([self.config.seed, index % world.EVAL_SEED, 3])
        roll = rng.random()
        if self.config.about == "text":
            return self._text(rng)
        if self.config.about == "shown":
            return self._shown(rng, roll)
        if roll < 0.20:
            return self._text(rng)
        if roll < 0.78:
            return self._picture(rng)
        return self._recording(rng) if roll < 0.89 else self._request(rng)

    # what is asked -----------------------------------------------------------------------------------------------
    def _text(self, rng: np.random.Generator) -> Record:
        """A sentence alone, or a picture's worth of words."""
        scene = world.sample_scene(rng, "unseen" if rng.random() < UNSEEN else "any")
        text, roll = world.caption(scene), rng.random()
        if roll < 0.18:
            return {"prompt": [_pick(rng, talk.DRAW).format(text)], **reply(DRAWN, drawn=text)}
        if roll < 0.36:
            return {"prompt": [_pick(rng, SAY).format(text)], **reply(HEARD, said=text)}
        if roll < 0.44:
            return {"prompt": [_pick(rng, talk.BOTH).format(text)], **reply(DRAWN, text, drawn=text)}
        if roll < 0.48:
            return {"prompt": [f"{text}. {_pick(rng, SAY_AND_DRAW)}"], **self._said_and_drawn(text)}
        if roll < 0.56:
            return {"prompt": [_pick(rng, TELL).format(text)], **reply(text)}
        if roll < 0.95:
            return self._question(rng, scene, [text + _pick(rng, (". ", "\n", ": "))], spoken=False)
        question, answer = talk.CHAT[int(rng.integers(len(talk.CHAT)))]
        return {"prompt": [question], **reply(answer)}

    def _shown(self, rng: np.random.Generator, roll: float) -> Record:
        """What a picture or a recording holds, in words; one in ten is a sentence alone."""
        if roll < 0.10:
            return self._text(rng)
        if roll < 0.20:
            text, sound = self._sentence(rng)
            return {"prompt": _mixed(rng, sound, _pick(rng, talk.DESCRIBE[:6])), **reply(text)}
        if roll < 0.40:
            return self._described(rng, _scene(rng))
        return self._looked_up(rng, spoken=roll >= 0.90)

    def _described(self, rng: np.random.Generator, scene: world.Scene) -> Record:
        """A picture and its caption; what is strange in it has no word to be learned."""
        shown = world.strange_scene(rng, scene) if rng.random() < self.config.strange else scene
        pieces = talk.caption_pieces(shown, rng)
        told = "".join(piece.text if piece.learn else talk.PAD for piece in pieces)
        prompt = _mixed(rng, world.render(shown), _pick(rng, talk.DESCRIBE))
        return {"prompt": prompt, **reply(told), "read": [misread("".join(p.text for p in pieces), rng, MISREAD)]}

    def _looked_up(self, rng: np.random.Generator, spoken: bool) -> Record:
        """A question on a picture. Which of two things is meant is the hard part: most questions are about two."""
        scene = _scene(rng)
        while len(scene.things) < 2 and rng.random() < 0.8:
            scene = _scene(rng)
        return self._question(rng, scene, [world.render(scene)], spoken=spoken)

    def _picture(self, rng: np.random.Generator) -> Record:
        scene = _scene(rng)
        picture, text, roll = world.render(scene), world.caption(scene), rng.random()
        if roll < 0.15:
            return self._described(rng, scene)
        if roll < 0.18:
            return {"prompt": _mixed(rng, picture, _pick(rng, talk.DRAW_IT)), **reply(DRAWN, drawn=text)}
        if roll < 0.25:
            return {"prompt": _mixed(rng, picture, _pick(rng, SAY_IT)), **reply(HEARD, said=text)}
        if roll < 0.28:
            return {"prompt": _mixed(rng, picture, _pick(rng, talk.BOTH_IT)), **reply(DRAWN, text, drawn=text)}
        if roll < 0.30:
            return {"prompt": _mixed(rng, picture, _pick(rng, SAY_AND_DRAW)), **self._said_and_drawn(text)}
        if roll < 0.97:
            return self._looked_up(rng, spoken=roll >= 0.65)
        asked = _pick(rng, ("describe it", "say it", "draw it"))
        told = {"describe it": reply(text), "say it": reply(HEARD, said=text), "draw it": reply(DRAWN, drawn=text)}
        return {"prompt": [picture, self._spoken(rng, asked)], **told[asked]}

    def _recording(self, rng: np.random.Generator) -> Record:
        text, sound = self._sentence(rng)
        roll = rng.random()
        if roll < 0.45:
            return {"prompt": _mixed(rng, sound, _pick(rng, talk.DESCRIBE[:6])), **reply(text)}
        if roll < 0.80:
            return {"prompt": _mixed(rng, sound, _pick(rng, talk.DRAW_IT)), **reply(DRAWN, drawn=text)}
        if roll < 0.90:
            return {"prompt": _mixed(rng, sound, _pick(rng, SAY_IT)), **reply(HEARD, said=text)}
        return {"prompt": _mixed(rng, sound, _pick(rng, talk.BOTH_IT)), **reply(DRAWN, text, drawn=text)}

    def _request(self, rng: np.random.Generator) -> Record:
        """A spoken request alone."""
        sentence, what, text = self.requests[int(rng.integers(len(self.requests)))]
        told = reply(DRAWN, drawn=text) if what == "draw" else reply(HEARD, said=text)
        return {"prompt": [self._spoken(rng, sentence)], **told}

    def _question(self, rng: np.random.Generator, scene: world.Scene, shown: list[Any], spoken: bool) -> Record:
        """A question with one answer on a scene, answered in words or, in one of five, aloud."""
        asked = world.questions(scene)
        found = [pair for pair in asked if pair[0].startswith("where")] if rng.random() < WHERE else []
        first = int(len(asked) > 1 and rng.random() < 0.7)  # without the first: how many there are
        question, answer = _pick(rng, found or asked[first:])
        aloud = " say the answer" if rng.random() < 0.12 else ""
        told = reply(HEARD, said=answer) if aloud else reply(answer)
        if spoken and question + aloud in self.spoken:
            return {"prompt": [*shown, self._spoken(rng, question + aloud)], **told}
        written = question + _pick(rng, ("", "?")) + aloud
        if isinstance(shown[0], str):
            return {"prompt": [*shown, written], **told}
        return {"prompt": _mixed(rng, shown[0], written), **told}

    @staticmethod
    def _said_and_drawn(text: str) -> Record:
        return reply(HEARD, DRAWN, drawn=text, said=text)

    # what is heard -----------------------------------------------------------------------------------------------
    def _spoken(self, rng: np.random.Generator, sentence: str) -> Any:
        known = self.spoken.get(sentence)
        if not known:
            raise ValueError(f"nobody says {sentence!r} in {self.speech.where}; make more sentences")
        return self.speech.record(known[int(rng.integers(len(known)))])["audio"]

    def _sentence(self, rng: np.random.Generator) -> tuple[str, Any]:
        text = self.captions[int(rng.integers(len(self.captions)))]
        return text, self._spoken(rng, text)

    def read(self, ctx: Context) -> dict[str, Rows]:
        """The first record's words, as JSON."""
        record = self._text(np.random.default_rng(self.config.seed))
        told = {k: [p for p in v if isinstance(p, str)] if isinstance(v, list) else v for k, v in record.items()}
        return {"record": ctx.rows([json.dumps(told)] * len(ctx.keys))}


def _scene(rng: np.random.Generator) -> world.Scene:
    """A scene of seen pairs, now and then with a thing on the way to the colour that its shape is never seen in."""
    scene = world.sample_scene(rng, "seen")
    if rng.random() >= SHADED:
        return scene
    shaded = mix_colour(rng, scene, 1.0)[0]
    named = all(nearest_colour(thing.rgb) == thing.colour for thing in shaded.things)
    return shaded if named else scene


def _pick(rng: np.random.Generator, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _mixed(rng: np.random.Generator, medium: Any, text: str) -> list[Any]:
    """A medium before or after a text, sometimes parted by a line break."""
    if not text:
        return [medium]
    gap = _pick(rng, ("", "", "\n", " "))
    return [medium, gap + text] if rng.random() < 0.5 else [text + gap, medium]
