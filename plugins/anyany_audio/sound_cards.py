"""Cards of what makes sound: vocoders, a codec, speech, diffusion. Torch-free.

Implementations: `griffin_lim.py`, `hifi_gan.py`, `rvq.py`, `tts.py`, `diffusion.py`.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Config, Facts, Port, card, json, option, var

RATE = 16000


def _mono(rate: Any) -> dict[str, Port]:
    return {"audio": Port("audio", rate=rate, channels=1, doc="the sound")}


# vocoders -----------------------------------------------------------------------------------------------------------
class GriffinLimConfig(Config):
    """How the spectrograms were made; the defaults are AudioLDM's."""

    rate: int = option(RATE, low=1000, doc="samples a second of the sound")
    mels: int = option(64, low=1, doc="mel bands")
    n_fft: int = option(1024, low=16, doc="samples of a Fourier window")
    win: int | None = option(None, low=16, doc="samples of it that are not zero (n_fft)")
    hop: int = option(160, low=1, doc="samples a frame")
    low: float = option(0.0, low=0.0, doc="lowest frequency in Hz")
    high: float | None = option(None, low=1.0, doc="highest frequency in Hz (half the rate)")
    power: int = option(1, choices=(1, 2), doc="1: magnitudes, 2: energies")
    log: str = option("natural", choices=("natural", "log10", "whisper"), doc="the logarithm, or Whisper's own form")
    iterations: int = option(32, low=1, high=1000, doc="rounds of the search for phases")

    def __post_init__(self) -> None:
        if (self.win or self.n_fft) > self.n_fft or self.hop > (self.win or self.n_fft):
            raise ValueError(f"want hop <= win <= n_fft, not {self.hop}, {self.win}, {self.n_fft}")
        if self.high is not None and not self.low < self.high <= self.rate / 2:
            raise ValueError(f"high {self.high:g} is not between low {self.low:g} and half the rate")


def griffin_lim_calls(config: Any, facts: Any) -> dict[str, Call]:
    features = Port("features", "T M", M=config.mels, doc="a log-mel spectrogram")
    return {"speak": Call(takes={"features": features}, gives=_mono(config.rate))}


GRIFFIN_LIM = card(
    "audio/griffin-lim",
    role="decoder",
    about="A log-mel spectrogram as sound, without weights: phases that fit the magnitudes are searched for.",
    source="Griffin & Lim 1984; Perraudin et al. 2013; torchaudio",
    config=GriffinLimConfig,
    calls=griffin_lim_calls,
    weights=False,
    tiny={"mels": 16, "iterations": 4},
    presets={
        "whisper": {"mels": 80, "n_fft": 400, "hop": 160, "power": 2, "log": "whisper"},
        "speecht5": {"mels": 80, "n_fft": 1024, "hop": 256, "low": 80.0, "high": 7600.0, "log": "log10"},
    },
    impl="anyany_audio.griffin_lim:GriffinLim",
)


class HifiGanConfig(Config):
    """HiFi-GAN; a checkpoint's config.json overrides the sizes."""

    mels: int | None = option(None, low=1, doc="mel bands (the checkpoint's, or the neighbour's)")
    rate: int = option(RATE, low=1000, doc="samples a second of a vocoder without a checkpoint")
    width: int = option(512, low=8, doc="channels after the first layer of a vocoder without a checkpoint")
    upsample: list[int] = option([5, 4, 2, 2, 2], doc="without a checkpoint: samples a frame, factor by factor")

    def __post_init__(self) -> None:
        if not self.upsample or any(u < 1 for u in self.upsample) or self.width % 2 ** len(self.upsample):
            raise ValueError(f"width {self.width} is not halved {len(self.upsample)} times by {self.upsample}")


def hifi_gan_calls(config: Any, facts: Any) -> dict[str, Call]:
    mels = facts.known("mels") or config.mels or var("mels", 80)
    features = Port("features", "T M", M=mels, doc="a log-mel spectrogram, as the vocoder learned them")
    sound = _mono(facts.known("rate") or config.rate)
    return {"speak": Call(takes={"features": features}, gives=sound, batching=Batching(max_rows=16))}


HIFI_GAN = card(
    "audio/hifi-gan",
    role="decoder",
    about="A log-mel spectrogram as sound, by a network of convolutions.",
    source="HiFi-GAN (Kong et al. 2020, arXiv 2010.05646); transformers' SpeechT5HifiGan",
    config=HifiGanConfig,
    calls=hifi_gan_calls,
    facts=Facts(mels=[json("model_in_dim")], rate=[json("sampling_rate")]),
    tiny={"width": 16, "upsample": [8, 5, 4]},
    impl="anyany_audio.hifi_gan:HifiGan",
)


# a codec ------------------------------------------------------------------------------------------------------------
class RvqConfig(Config):
    """A codec of residual codebooks; a checkpoint's config.json overrides all but `books`."""

    books: int = option(8, low=1, high=32, doc="codebooks used, the coarsest first (a codec may have more)")
    arch: str = option("encodec", choices=("encodec", "mimi"), doc="the network, without a checkpoint")
    rate: int = option(24000, low=1000, doc="samples a second, without a checkpoint")
    size: int = option(1024, low=2, doc="codes of a codebook, without a checkpoint")
    width: int = option(128, low=8, doc="features a frame, without a checkpoint")
    filters: int = option(32, low=1, doc="channels of the first convolution, without a checkpoint")

    def __post_init__(self) -> None:
        if self.size & (self.size - 1):
            raise ValueError(f"size {self.size} is no power of two")


def rvq_calls(config: Any, facts: Any) -> dict[str, Call]:
    size, rate = facts.known("size") or config.size, facts.known("rate") or config.rate
    channels = facts.known("channels") or 1
    sound = Port("audio", rate=rate, channels=channels, doc="the sound")
    order = "frame after frame, in each the codebooks in turn; codebook k has the tokens from k * size"
    tokens = Port("tokens", "N", vocab=size * config.books, space="self", doc=order)
    return {
        "encode": Call(takes={"audio": sound}, gives={"tokens": tokens}, batching=Batching(max_rows=16)),
        "decode": Call(takes={"tokens": tokens}, gives={"audio": sound}, batching=Batching(max_rows=16)),
    }


RVQ = card(
    "audio/rvq",
    role="tokenizer",
    about="Sound as tokens of residual codebooks, and back: EnCodec or Mimi.",
    source="EnCodec (Défossez et al. 2022, arXiv 2210.13438); Mimi (2024, arXiv 2410.00037); transformers",
    config=RvqConfig,
    calls=rvq_calls,
    facts=Facts(size=[json("codebook_size")], rate=[json("sampling_rate")], channels=[json("audio_channels")]),
    tiny={"books": 2, "size": 16, "width": 16, "filters": 4},
    presets={"tiny-mimi": {"arch": "mimi", "books": 2, "size": 16, "width": 16, "filters": 4}},
    impl="anyany_audio.rvq:Rvq",
)


# speech -------------------------------------------------------------------------------------------------------------
class TtsConfig(Config):
    """VITS; a checkpoint's config.json overrides the sizes."""

    speed: float = option(1.0, per_item=True, low=0.1, high=10.0, doc="how fast: 2 is twice as fast")
    speaker: int | None = option(None, per_item=True, low=0, doc="which voice, of a model that has several")
    noise: float | None = option(None, per_item=True, low=0.0, doc="how much voices vary (the checkpoint's own)")
    longest: int = option(2000, low=1, doc="characters spoken at once")
    rate: int = option(RATE, low=1000, doc="samples a second, without a checkpoint")
    width: int = option(192, low=4, doc="features a character, without a checkpoint")
    layers: int = option(6, low=1, doc="blocks of the text encoder, without a checkpoint")
    channels: int = option(512, low=8, doc="channels after the vocoder's first layer, without a checkpoint")
    upsample: list[int] = option([8, 8, 2, 2], doc="without a checkpoint: samples a frame, factor by factor")
    stochastic: bool = option(True, doc="without a checkpoint: durations are drawn, not predicted")

    def __post_init__(self) -> None:
        if self.width % 4:
            raise ValueError(f"width {self.width} is no multiple of 4")
        if not self.upsample or any(u < 1 for u in self.upsample) or self.channels % 2 ** len(self.upsample):
            raise ValueError(f"channels {self.channels} are not halved {len(self.upsample)} times by {self.upsample}")


def tts_calls(config: Any, facts: Any) -> dict[str, Call]:
    takes = {"text": Port("text", doc="what is said")}
    return {"speak": Call(takes=takes, gives=_mono(facts.known("rate") or config.rate), batching=Batching(max_rows=16))}


TTS = card(
    "audio/tts",
    role="decoder",
    about="Text as speech; letters are read as they are, so no phonemiser is needed.",
    source="VITS (Kim et al. 2021, arXiv 2106.06103); MMS (Pratap et al. 2023, arXiv 2305.13516); transformers",
    config=TtsConfig,
    calls=tts_calls,
    facts=Facts(rate=[json("sampling_rate")]),
    tiny={"width": 8, "layers": 1, "channels": 16, "upsample": [8, 5, 4], "stochastic": False},
    impl="anyany_audio.tts:Tts",
)

CARDS = [GRIFFIN_LIM, HIFI_GAN, RVQ, TTS]
