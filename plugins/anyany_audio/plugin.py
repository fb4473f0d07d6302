"""Cards of namespace `audio`: hearing here, what makes sound in `sound_cards.py`. Torch-free.

Implementations are in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyany.api.v1 import Batching, Call, Card, Config, Facts, Port, card, hookimpl, json, option, tensor, var
from anyany_audio.sound_cards import CARDS as SOUND

SOURCE = "Whisper (Radford et al. 2022, arXiv 2212.04356); openai/whisper; transformers"
RATE = 16000


class LogMelConfig(Config):
    """Whisper's log-mel features."""

    mels: int = option(80, low=1, doc="mel bands (128 in large-v3)")
    seconds: float = option(30.0, low=0.1, doc="length that every sound is padded or cut to")


class WhisperEncoderConfig(Config):
    """Whisper's encoder; the defaults are those of whisper-small, a checkpoint's config.json overrides them."""

    mels: int = option(80, low=1, doc="mel bands (128 in large-v3)")
    width: int = option(768, low=2, doc="features a position")
    layers: int = option(12, low=1, doc="blocks")
    heads: int = option(12, low=1, doc="attention heads a block")
    mlp: int | None = option(None, low=1, doc="feed-forward width (4 x width)")
    positions: int = option(1500, low=1, doc="positions of a window, 50 a second")
    trim: bool = option(True, doc="leave out the positions of the last window's padding")


class WhisperConfig(Config):
    """The whole Whisper; the defaults are those of whisper-small, a checkpoint's config.json overrides them."""

    mels: int = option(80, low=1, doc="mel bands (128 in large-v3)")
    width: int = option(768, low=2, doc="features a position")
    layers: int = option(12, low=1, doc="blocks of the encoder, and as many of the decoder")
    heads: int = option(12, low=1, doc="attention heads a block")
    mlp: int | None = option(None, low=1, doc="feed-forward width (4 x width)")
    positions: int = option(1500, low=10, doc="positions of a window, 50 a second")
    context: int = option(448, low=8, doc="longest text of a window in tokens")
    vocab: int | None = option(
        None, low=1, doc="rows of the word embedding, without a checkpoint (the fewest there are)"
    )
    language: str = option("auto", doc="the language spoken, such as `de`; auto: heard")
    task: str = option("transcribe", choices=("transcribe", "translate"), doc="in its language, or into English")
    timestamps: bool = option(True, doc="times of each piece of text")
    max_new_tokens: int = option(224, low=1, doc="longest text of a window in tokens")


def _sound() -> dict[str, Port]:
    return {"audio": Port("audio", rate=RATE, channels=1, doc="speech")}


def log_mel_calls(config: Any, facts: Any) -> dict[str, Call]:
    frames = Port("features", "T M", T=round(config.seconds * 100), M=config.mels, doc="100 frames a second")
    return {"extract": Call(takes=_sound(), gives={"features": frames})}


def encoder_calls(config: Any, facts: Any) -> dict[str, Call]:
    width = facts.known("width") or config.width
    features = Port("features", "N D", D=width, space="self", doc="50 positions a second")
    return {"encode": Call(takes=_sound(), gives={"features": features}, batching=Batching(max_rows=16))}


def whisper_calls(config: Any, facts: Any) -> dict[str, Call]:
    gives = {
        "text": Port("text", doc="what was said"),
        "spans": Port("spans", doc="the same, piece by piece, with times"),
    }
    return {"transcribe": Call(takes=_sound(), gives=gives, batching=Batching(max_rows=16))}


SIZES = {
    f"whisper-{name}": {"width": width, "layers": layers, "heads": heads}
    for name, width, layers, heads in [("tiny", 384, 4, 6), ("base", 512, 6, 8), ("small", 768, 12, 12),
                                       ("medium", 1024, 24, 16), ("large", 1280, 32, 20)]
}  # fmt: skip
TINY = {"mels": 8, "width": 16, "layers": 1, "heads": 2, "positions": 100}
LOG_MEL = card(
    "audio/log-mel",
    role="transform",
    about="Whisper's log-mel features of a sound.",
    source=SOURCE,
    config=LogMelConfig,
    calls=log_mel_calls,
    weights=False,
    tiny={"mels": 8, "seconds": 1.0},
    impl="anyany_audio.log_mel:LogMel",
)
WHISPER_ENCODER = card(
    "audio/whisper-encoder",
    role="encoder",
    about="Whisper's encoder: a sound of any length becomes 50 features a second.",
    source=SOURCE,
    config=WhisperEncoderConfig,
    calls=encoder_calls,
    facts=Facts(width=[json("d_model"), tensor("*encoder.layer_norm.weight"), tensor("*encoder.ln_post.weight")]),
    ignores=("decoder.*", "model.decoder.*", "proj_out.weight"),
    tiny=TINY,
    presets=SIZES,
    impl="anyany_audio.whisper_encoder:WhisperEncoder",
)
WHISPER = card(
    "audio/whisper",
    role="encoder",
    about="Whisper: speech becomes text, or English text, with timestamps, in sounds of any length.",
    source=SOURCE,
    config=WhisperConfig,
    calls=whisper_calls,
    tiny={**TINY, "context": 32, "max_new_tokens": 8},
    presets={name: {**sizes, "vocab": 51865} for name, sizes in SIZES.items()},
    impl="anyany_audio.whisper:Whisper",
)


class CtcConfig(Config):
    """What a position may say."""

    symbols: list[str] = option([chr(n) for n in range(32, 127)], doc="letters or words, without the blank")
    unit: str = option(
        "characters", choices=("characters", "words"), doc="what a symbol is; words are joined by spaces"
    )
    width: int | None = option(None, low=1, doc="width taken (solved from the neighbour when not given)")

    def __post_init__(self) -> None:
        if not self.symbols or len(set(self.symbols)) != len(self.symbols) or "" in self.symbols:
            raise ValueError("symbols is a list of different letters or words")
        if self.unit == "characters" and any(len(s) != 1 for s in self.symbols):
            raise ValueError("a symbol of unit `characters` is one letter; set unit: words")


def ctc_calls(config: Any, facts: Any) -> dict[str, Call]:
    features = Port("features", "N D", D=facts.known("width") or config.width or var("width", 512))
    batching = Batching(max_rows=64)
    return {
        "transcribe": Call(takes={"features": features}, gives={"text": Port("text", doc="what was said")},
                           teach="learn", batching=batching),
        "learn": Call(takes={"features": features, "text": Port("text", doc="what was said")},
                      gives={"loss": Port("loss", doc="negative log probability a symbol")}, batching=batching),
    }  # fmt: skip


CTC = card(
    "audio/ctc",
    role="decoder",
    about="Text from features of a sound, symbol by symbol, learned without an alignment.",
    source="Connectionist temporal classification (Graves et al. 2006); PyTorch's ctc_loss",
    config=CtcConfig,
    calls=ctc_calls,
    facts=Facts(width=[tensor("*lm_head.weight", axis=1)]),
    tiny={},
    impl="anyany_audio.ctc:Ctc",
)


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """The components of this family."""
    return [LOG_MEL, WHISPER_ENCODER, WHISPER, CTC, *SOUND]
