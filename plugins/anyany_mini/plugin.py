"""Cards of namespace `mini`: records of the miniature world; its models are made of the other families' components.

The namespace also gives `bundle:mini/NAME`, the weights shipped in `weights/NAME`. Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyany.api.v1 import Batching, Call, Card, Config, Port, card, hookimpl, option
from anyany_mini import drawing_cards, lesson_cards


class ScenesConfig(Config):
    """Scenes of the miniature world; no training scene shows one of the six unseen pairs of colour and shape."""

    n: int = option(2000, low=1, doc="how many scenes, the same ones every epoch")
    seed: int = option(0, low=0, high=999_999, doc="another seed, other scenes; evaluation's are never among them")
    split: str = option("seen", choices=("seen", "unseen", "any"), doc="pairs of colour and shape that may occur")


SCENES = card(
    "mini/scenes",
    role="source",
    about="Pictures of the miniature world with captions: fields picture, caption, prompt, question, answer.",
    config=ScenesConfig,
    calls={"read": Call(takes={}, gives={"record": Port("text", doc="a record as JSON, without its picture")})},
    weights=False,
    tiny={"n": 8},
    impl="anyany_mini.scenes:Scenes",
)


class SpeechConfig(Config):
    """Sentences spoken by espeak-ng, made beforehand."""

    path: str = option("", doc="a folder made by python -m anyany_mini.corpus, relative to the spec's")
    n: int | None = option(None, low=1, doc="how many sentences of it (all)")
    skip: int = option(0, low=0, doc="sentences left out at its beginning, as for validation")
    replies: bool = option(False, doc="only what a reply may say: captions and answers")
    noise: float = option(0.5, low=0.0, high=1.0, doc="share of them with noise at 20 to 40 dB")


SPEECH = card(
    "mini/speech",
    role="source",
    about="Spoken sentences of the miniature world: fields audio, text and, in seconds, the starts of words.",
    config=SpeechConfig,
    calls={"read": Call(takes={}, gives={"record": Port("text", doc="a record as JSON, without its sound")})},
    weights=False,
    tiny={},
    impl="anyany_mini.speech:Speech",
)


class HearConfig(Config):
    """The miniature's ear."""

    mels: int = option(80, low=4, doc="mel bands")
    width: int = option(128, low=8, doc="features a position")
    layers: int = option(3, low=1, doc="blocks")
    heads: int = option(4, low=1, doc="attention heads a block")
    mlp: int = option(256, low=1, doc="feed-forward width")


def hear_calls(config: Any, facts: Any) -> dict[str, Call]:
    audio = Port("audio", rate=16000, channels=1, doc="speech")
    features = Port("features", "N D", D=config.width, space="self", doc="12.5 positions a second")
    return {"encode": Call(takes={"audio": audio}, gives={"features": features}, batching=Batching(max_rows=64))}


HEAR = card(
    "mini/hear",
    role="encoder",
    about="Speech as 12.5 features a second: log-mel, strided convolutions and a small transformer.",
    source="Fast Conformer's eightfold subsampling (Rekesh et al. 2023, arXiv 2305.05084)",
    config=HearConfig,
    calls=hear_calls,
    tiny={"mels": 16, "width": 16, "layers": 1, "heads": 2, "mlp": 32},
    impl="anyany_mini.hearing:Ear",
)


class SpeakConfig(Config):
    """The miniature's voice."""

    width: int = option(128, low=8, doc="features a frame")
    layers: int = option(4, low=1, doc="blocks over frames")
    cond: int = option(64, low=8, doc="width of a slot of the conditioning")
    words: int = option(505, low=1, doc="rows of the text encoder's word table")
    mels: int = option(80, low=4, doc="mel bands")


def speak_calls(config: Any, facts: Any) -> dict[str, Call]:
    cond = Port("features", "N D", N=8, D=config.cond, space="self", doc="eight slots")
    mel = Port("features", "T M", M=config.mels, doc="natural log-mel, 62.5 frames a second")
    text = Port("text", doc="a caption or an answer")
    slots = Port("features", "N", N=8, doc="seconds at which the slots begin, -1 for an empty one")
    learn = {"cond": cond, "audio": Port("audio", rate=16000, channels=1), "slots": slots}
    return {
        "say": Call(takes={"cond": cond}, gives={"features": mel}, teach="learn", batching=Batching(max_rows=64)),
        "embed": Call(takes={"text": text}, gives={"features": cond}, parts=("text_encoder",)),
        "learn": Call(takes=learn, gives={"loss": Port("loss", doc="of mels and durations")}),
    }


SPEAK = card(
    "mini/speak",
    role="decoder",
    about="Speech of a caption or an answer from eight slots of conditioning, as a log-mel spectrogram.",
    source="FastSpeech (Ren et al. 2019, arXiv 1905.09263): durations and a length regulator",
    config=SpeakConfig,
    calls=speak_calls,
    tiny={"width": 16, "layers": 1, "cond": 16, "mels": 16},
    impl="anyany_mini.voice_head:Voice",
)


class TalksConfig(Config):
    """Conversations about pictures, recordings and sentences."""

    n: int = option(100_000, low=1, doc="how many conversations, the same ones every epoch")
    seed: int = option(0, low=0, high=999_999, doc="another seed, other conversations")
    about: str = option("all", choices=("all", "text", "shown"), doc="text: no medium; shown: mostly one, in words")
    strange: float = option(0.5, low=0, high=1, doc="share of described pictures with a colour or shape without a name")
    speech: str = option("", doc="a folder made by python -m anyany_mini.corpus, relative to the spec's")
    skip: int = option(0, low=0, doc="sentences of it that are left out at its beginning")


TALKS = card(
    "mini/talks",
    role="source",
    about="Conversations of the miniature world: fields prompt, reply, read, words, drawn and said.",
    config=TalksConfig,
    calls={"read": Call(takes={}, gives={"record": Port("text", doc="a record as JSON, its words alone")})},
    weights=False,
    tiny={"n": 8},
    impl="anyany_mini.talks:Talks",
)


MARKS = card(
    "mini/marks",
    role="metric",
    about="1 where a picture shows what its caption says and nothing else, by the miniature world's marker, else 0.",
    calls={"measure": Call(takes={"found": Port("image"), "wanted": Port("text", doc="a caption")},
                           gives={"match": Port("metric", doc="1 or 0")})},
    weights=False,
    tiny={},
    impl="anyany_mini.marks:Marks",
)  # fmt: skip


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """The components of this family."""
    return [SCENES, SPEECH, TALKS, MARKS, HEAR, SPEAK, *lesson_cards.CARDS, *drawing_cards.CARDS]
