"""Cards of VQ-AR, GAN and VAE. Torch-free; implementations: `vq_ar.py`, `gan.py`, `vae.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from anyany.api.v1 import Call, Facts, Port, card, option, tensor
from anyany_image_heads.contract import HeadConfig, LatentConfig, head_calls, parted, picture, whole_levels

FACTS = Facts(table=[tensor("class_emb.weight")], cond=[tensor("features.proj.weight", axis=1)])


class VqArConfig(LatentConfig):
    """GPT-2 on VQGAN's codes; the defaults are VQGAN's f16 codebook of 16384 and a transformer of 24 blocks."""

    temperature: float = option(1.0, low=0, doc="of sampling (0: the likeliest)")
    top_k: int = option(0, low=0, doc="tokens are drawn from the k likeliest (0: all)")
    top_p: float = option(1.0, low=0.0001, high=1, doc="and from the likeliest of this mass")
    drop: float = option(0.1, low=0, high=1, doc="conditions dropped in training")
    side: int = option(16, low=1, doc="side of the token map")
    width: int = option(1536, low=1, doc="width of the transformer")
    layers: int = option(24, low=1, doc="blocks")
    heads: int = option(16, low=1, doc="attention heads")
    prefix: int | None = option(None, low=1, doc="so many features in order before the tokens (none: their mean)")
    codes: int = option(16384, low=2, doc="codes of the codebook")
    latents: int = option(256, low=1, doc="channels of a code")
    vae_width: int = option(128, low=1, doc="autoencoder: channels of the finest level")
    vae_levels: list[int] = option([1, 1, 2, 2, 4], doc="autoencoder: channels of each level over that")
    vae_blocks: int = option(2, low=1, doc="autoencoder: blocks a level")

    def __post_init__(self) -> None:
        super().__post_init__()
        parted(self.width, self.heads)
        if self.prefix and self.classes:
            raise ValueError("`prefix` is for features; a class is one vector")


def vq_ar_calls(config: Any, facts: Any) -> dict[str, Call]:
    tokens = Port("tokens", "N", N=config.side**2, vocab=config.codes, doc="row by row")
    if config.autoencoder:
        return head_calls(config, facts, {**picture(), "tokens": tokens})
    calls = head_calls(config, facts, {"tokens": tokens})
    wanted = {"cond": calls["loss"].takes["cond"], "tokens": tokens}
    return {**calls, "loss": replace(calls["loss"], takes=wanted)}


class GanConfig(HeadConfig):
    """DCGAN with a condition."""

    size: int = option(64, low=8, doc="side of the picture: a power of two")
    noise: int = option(100, low=1, doc="numbers of noise")
    condition: int = option(64, low=1, doc="width of the condition inside")
    width: int = option(64, low=1, doc="channels of the finest layer")
    drop: float = option(0.0, low=0, high=1, doc="conditions dropped in training")

    def __post_init__(self) -> None:
        if self.size & (self.size - 1):
            raise ValueError(f"a GAN draws sides 8, 16, 32, …, not {self.size}")


class VaeConfig(HeadConfig):
    """A conditional VAE."""

    size: int = option(64, low=1, doc="side of the picture")
    condition: int = option(64, low=1, doc="width of the condition inside")
    latents: int = option(16, low=1, doc="latent channels")
    beta: float = option(1.0, low=0, doc="weight of the code's divergence")
    drop: float = option(0.0, low=0, high=1, doc="conditions dropped in training")
    vae_width: int = option(64, low=1, doc="channels of the finest level")
    vae_levels: list[int] = option([1, 2, 4], doc="channels of each level over that")
    vae_blocks: int = option(1, low=1, doc="blocks a level")
    vae_scale: float = option(1.0, doc="what latents are multiplied by")

    def __post_init__(self) -> None:
        whole_levels(self.vae_width, self.vae_levels, "vae_")
        if self.size % (factor := 2 ** (len(self.vae_levels) - 1)):
            raise ValueError(f"size {self.size} is no multiple of {factor}, the pixels of a latent position")


def one_pass_calls(config: Any, facts: Any) -> dict[str, Call]:
    return head_calls(config, facts, picture(), max_rows=64)


VQ_AR = card(
    "image_heads/vq-ar",
    role="decoder",
    about="VQ-AR: a picture as a sentence of VQGAN's codes, written by GPT-2.",
    source="Taming transformers (Esser et al. 2021, arXiv 2012.09841); prefix: LlamaGen (Sun et al. 2024, arXiv "
    "2406.06525); transformers GPT2LMHeadModel, diffusers VQModel",
    config=VqArConfig,
    calls=vq_ar_calls,
    facts=FACTS,
    tiny={"side": 4, "width": 32, "layers": 2, "heads": 2, "codes": 32, "latents": 8, "vae_width": 8,
          "vae_levels": [1, 2], "vae_blocks": 1},
    impl="anyany_image_heads.vq_ar:VqAr",
)  # fmt: skip
GAN = card(
    "image_heads/gan",
    role="decoder",
    about="A small GAN: noise and a condition become a picture in one pass; its critic trains it.",
    source="GAN (Goodfellow et al. 2014, arXiv 1406.2661); DCGAN (Radford et al. 2016, arXiv 1511.06434)",
    config=GanConfig,
    calls=one_pass_calls,
    facts=FACTS,
    tiny={"size": 16, "noise": 8, "condition": 8, "width": 8},
    impl="anyany_image_heads.gan:Gan",
)
VAE = card(
    "image_heads/vae",
    role="decoder",
    about="A conditional VAE: a picture decoded from Gaussian noise and a condition.",
    source="VAE (Kingma and Welling 2014, arXiv 1312.6114); diffusers AutoencoderKL",
    config=VaeConfig,
    calls=one_pass_calls,
    facts=FACTS,
    tiny={"size": 16, "condition": 8, "latents": 4, "vae_width": 8, "vae_levels": [1, 2]},
    impl="anyany_image_heads.vae:Vae",
)

CARDS = [VQ_AR, GAN, VAE]
