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
    tokens = Port("tokens", "N", vocab=size * config.books, turns=config.books, space="self", doc=order)
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
    rate = facts.known("rate") or config.rate
    sound = Port("audio?", rate=rate, channels=1, doc="the sound; absent where no letter of the text is known")
    takes = {"text": Port("text", doc="what is said")}
    return {"speak": Call(takes=takes, gives={"audio": sound}, batching=Batching(max_rows=16))}


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


# diffusion ----------------------------------------------------------------------------------------------------------
class AudioDiffusionConfig(Config):
    """Latent diffusion of sound. A checkpoint's own files fix what it is; the sizes here are for `random:` weights."""

    steps: int | None = option(None, per_item=True, low=1, high=1000, doc="denoising steps (the checkpoint's own)")
    guidance: float | None = option(None, per_item=True, low=0, doc="classifier-free guidance (1: none)")
    seconds: float | None = option(None, per_item=True, low=0.01, high=600, doc="length (the checkpoint's own)")
    n: int | None = option(None, low=1, doc="length of the conditioning")
    cond: int | None = option(None, low=1, doc="width of the conditioning (from the checkpoint or the neighbour)")
    arch: str = option("cross", choices=("cross", "audioldm"), doc="random weights: attends to features, or AudioLDM's")
    latent: int | None = option(8, low=1, doc="random weights: channels of the latents; none: spectrograms themselves")
    vocoder: str = option("hifi-gan", choices=("hifi-gan", "griffin-lim"), doc="random weights: what makes it sound")
    rate: int = option(RATE, low=1000, doc="random weights: samples a second")
    mels: int = option(64, low=2, doc="random weights: mel bands")
    width: int = option(128, low=8, doc="random weights: channels of the first block")
    vae_width: int = option(128, low=1, doc="random weights: channels of the autoencoder's first block")
    vocoder_width: int = option(1024, low=8, doc="random weights: channels after the vocoder's first layer")
    layers: int = option(2, low=1, doc="random weights: layers a block")
    groups: int = option(32, low=1, doc="random weights: groups of the norms")
    upsample: list[int] = option([5, 4, 2, 2, 2], doc="random weights: samples a frame, factor by factor")

    def __post_init__(self) -> None:
        if self.width % self.groups or self.width % 8 or self.vae_width % self.groups:
            raise ValueError(f"width {self.width} is no multiple of 8 and of the {self.groups} groups, "
                             f"or vae_width {self.vae_width} not of the groups")  # fmt: skip
        if not self.upsample or any(u < 1 for u in self.upsample) or self.vocoder_width % 2 ** len(self.upsample):
            raise ValueError(f"vocoder_width {self.vocoder_width} is not halved {len(self.upsample)} times by "
                             f"{self.upsample}")  # fmt: skip


def audio_diffusion_calls(config: Any, facts: Any) -> dict[str, Call]:
    """`audio`: a sound for each conditioning. `embed`: captions to conditioning, by the checkpoint's text encoders."""
    labels, own = facts.known("labels"), facts.known("own")
    audioldm = config.arch == "audioldm" and own is None
    n = 1 if labels or audioldm else 8 if own else config.n or var("n")
    cond = labels or own or facts.known("cond") or config.cond or var("cond")
    features = {"N": n, "D": cond}
    takes = {"cond": Port("features", "N D", doc="what is to be heard", **features)}
    embedded = {"features": Port("features", "N D", **features)}
    if own:  # AudioLDM2
        words = Port("features", "L E", E=facts.known("words"), doc="its words, by the text encoder")
        takes, embedded = {**takes, "words": words}, {**embedded, "words": words}
    else:
        doc = "what to keep away from, instead of nothing"
        takes["negative"] = Port("features?", "N D", doc=doc, **features)
    mel = Port("features", "T M", M=facts.known("mels") or config.mels, doc="its log-mel spectrogram, for any vocoder")
    gives = {**_mono(facts.known("rate") or config.rate), "mel": mel}
    parts = ("text_encoder", "text_encoder_2", "projection_model", "language_model")
    return {
        "audio": Call(takes=takes, gives=gives, batching=Batching(max_rows=8)),
        "embed": Call(takes={"text": Port("text")}, gives=embedded, parts=parts, batching=Batching(max_rows=64)),
    }


_UNET = "unet/config.json"
DIFFUSION = card(
    "audio/diffusion",
    role="decoder",
    about="Sound by latent diffusion: a UNet over latents of spectrograms, their autoencoder, a vocoder.",
    source="AudioLDM (Liu et al. 2023, arXiv 2301.12503); AudioLDM2 (arXiv 2308.05734); huggingface/diffusers",
    config=AudioDiffusionConfig,
    calls=audio_diffusion_calls,
    facts=Facts(
        labels=[json("projection_class_embeddings_input_dim", _UNET)],
        own=[json("cross_attention_dim.0.1", _UNET)],
        words=[json("cross_attention_dim.0.2", _UNET)],
        cond=[json("cross_attention_dim", _UNET)],
        rate=[json("sampling_rate", "vocoder/config.json")],
        mels=[json("model_in_dim", "vocoder/config.json")],
    ),
    tiny={"width": 8, "vae_width": 4, "vocoder_width": 16, "groups": 4, "layers": 1, "mels": 16, "latent": 4,
          "upsample": [8, 5, 4], "steps": 2, "seconds": 0.16},
    presets={"audioldm-l": {"arch": "audioldm", "width": 256, "n": 1, "cond": 512},
             "audioldm-s": {"arch": "audioldm", "width": 128, "n": 1, "cond": 512}},
    impl="anyany_audio.diffusion:AudioDiffusion",
)  # fmt: skip

CARDS = [GRIFFIN_LIM, HIFI_GAN, RVQ, TTS, DIFFUSION]
