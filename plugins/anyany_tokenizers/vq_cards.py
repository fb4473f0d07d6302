"""Cards of the autoencoders: VQ, VAR's multi-scale VQ, and KL. Torch-free.

Implementations: `vq.py`, `multiscale_vq.py`, `kl_vae.py`.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Config, Facts, Port, card, json, option, tensor, var

FITS = ("crop", "stretch", "none")


class CoderConfig(Config):
    """The convolutional encoder and decoder of latent diffusion."""

    resolution: int = option(256, low=1, doc="side in pixels that pictures are made to have")
    fit: str = option("crop", choices=FITS, doc="how: the square in the middle, the whole picture, or not at all")
    channels: int = option(128, low=1, doc="channels at full resolution")
    multipliers: list[int] = option([1, 1, 2, 2, 4], doc="channels of each level over `channels`; a level halves")
    blocks: int = option(2, low=1, doc="residual blocks a level (the decoder has one more)")
    groups: int = option(32, low=1, doc="groups of the norms")

    def __post_init__(self) -> None:
        if not self.multipliers or any(m < 1 or self.channels * m % self.groups for m in self.multipliers):
            raise ValueError(f"channels {self.channels} times {self.multipliers} do not divide into "
                             f"{self.groups} groups")  # fmt: skip
        if self.fit != "none" and self.resolution % self.factor:
            raise ValueError(f"resolution {self.resolution} is no multiple of {self.factor}, the pixels of a cell")

    @property
    def factor(self) -> int:
        """Pixels of a side of a cell."""
        return 2 ** (len(self.multipliers) - 1)

    @property
    def side(self) -> int | None:
        """Cells of a side, where every picture has as many."""
        return None if self.fit == "none" else self.resolution // self.factor


class VqConfig(CoderConfig):
    """VQGAN with 1024 codes by default, as released; `arch: vqvae` is the original VQ-VAE."""

    arch: str = option("vqgan", choices=("vqgan", "vqvae"), doc="the network: VQGAN's, or the original VQ-VAE's")
    attention: list[int] = option([16], doc="levels with attention, by the side they have at `nominal` pixels")
    nominal: int = option(256, low=1, doc="the resolution that `attention` is counted from")
    middle: bool = option(True, doc="attention in the middle of encoder and decoder")
    latent: int = option(256, low=1, doc="channels of the encoder's output")
    dim: int = option(256, low=1, doc="width of a code")
    codes: int = option(1024, low=2, doc="size of the vocabulary")
    codebook: str = option("gradient", choices=("gradient", "ema", "debiased"),
                           doc="learned by gradient (VQGAN), by averages, or by sonnet's debiased ones")  # fmt: skip
    beta: float = option(0.25, low=0, doc="weight of the commitment (of the codebook's term with `legacy`)")
    legacy: bool = option(True, doc="gradient codebooks: beta weighs the codebook's term, as VQGAN was trained")
    estimator: str = option("straight-through", choices=("straight-through", "rotation"), doc="gradients of encoders")
    decay: float = option(0.99, low=0, high=1, doc="of the moving averages")
    revive: float = option(0.0, low=0, doc="training: codes used less often than this become vectors of the batch")
    cosine: bool = option(False, doc="ema: codes and vectors of length one")
    reconstruction: str = option("l1", choices=("l1", "l2"), doc="training: how pictures are compared")
    hidden: int = option(32, low=1, doc="vqvae: width inside its residual blocks")

    def __post_init__(self) -> None:
        if self.arch == "vqgan":
            super().__post_init__()
        elif self.fit != "none" and self.resolution % self.factor:
            raise ValueError(f"resolution {self.resolution} is no multiple of {self.factor}, the pixels of a cell")
        if self.cosine and self.codebook != "ema":
            raise ValueError("`cosine` is for `codebook: ema`")
        if self.revive and self.codebook == "debiased":
            raise ValueError("`revive` is for the codebooks `gradient` and `ema`")

    @property
    def factor(self) -> int:
        return 4 if self.arch == "vqvae" else 2 ** (len(self.multipliers) - 1)


def picture_port() -> dict[str, Port]:
    return {"image": Port("image", channels=3)}


def batching(config: Any) -> Batching:
    return Batching(max_rows=16, group_by=("H", "W") if config.fit == "none" else ())


def token_calls(config: Any, tokens: Port) -> dict[str, Call]:
    """encode, decode, loss of a tokenizer of pictures."""
    taken = {"tokens": tokens}
    return {
        "encode": Call(takes=picture_port(), gives={"tokens": tokens}, teach="loss", batching=batching(config)),
        "decode": Call(takes=taken, gives=picture_port(), batching=Batching(max_rows=16, group_by=("shape",))),
        "loss": Call(
            takes=picture_port(),
            gives={
                "loss": Port("loss", doc="of the picture and the codes"),
                "image": Port("image", channels=3, doc="the picture, decoded"),
                "tokens": tokens,
                "perplexity": Port("metric", doc="how many codes the batch uses"),
            },
            batching=batching(config),
        ),
    }


def vq_calls(config: Any, facts: Any) -> dict[str, Call]:
    count, codes = config.side and config.side**2, facts.known("codes") or config.codes
    return token_calls(config, Port("tokens", "N", N=count, vocab=codes, space="self", doc="row by row"))


TINY = {"resolution": 16, "channels": 8, "multipliers": [1, 1, 2], "blocks": 1, "groups": 4}
VQ = card(
    "tokenizers/vq",
    role="tokenizer",
    about="VQ-VAE and VQGAN: a picture as a grid of codes, and back.",
    source="VQ-VAE (van den Oord et al. 2017, arXiv 1711.00937); VQGAN (Esser et al. 2021, arXiv 2012.09841); "
    "diffusers; vector-quantize-pytorch",
    config=VqConfig,
    calls=vq_calls,
    facts=Facts(
        codes=[tensor("quantize.embedding.weight"), tensor("quantize._codebook.embed", axis=1),
               tensor("quantize.embeddings", axis=1), json("num_vq_embeddings")],
        dim=[tensor("quantize.embedding.weight", axis=1), tensor("quantize._codebook.embed", axis=2),
             tensor("quantize.embeddings"), json("vq_embed_dim")],
        latent=[tensor("quant_conv.weight", axis=1)],
    ),
    ignores=("loss.*",),
    tiny={**TINY, "nominal": 16, "attention": [4], "latent": 8, "dim": 4, "codes": 32},
    impl="anyany_tokenizers.vq:Vq",
)  # fmt: skip


class MultiscaleVqConfig(CoderConfig):
    """VAR's tokenizer; the defaults are those of `vae_ch160v4096z32`, for 256×256."""

    channels: int = option(160, low=1, doc="channels at full resolution")
    over: float = option(1.125, low=1, doc="the short side before the square is cut, over `resolution`")
    scales: list[int] = option([1, 2, 3, 4, 5, 6, 8, 10, 13, 16], doc="sides of the token maps, the last the grid's")
    latent: int = option(32, low=1, doc="channels of the encoder's output")
    dim: int = option(32, low=1, doc="width of a code")
    codes: int = option(4096, low=2, doc="size of the vocabulary")
    kernel: int = option(3, low=1, doc="side of the convolutions around the codes")
    phis: int = option(4, low=1, doc="convolutions that smooth what a scale adds, shared between scales")
    residual: float = option(0.5, low=0, high=1, doc="how much of that convolution is taken")
    beta: float = option(0.25, low=0, doc="weight of the commitment")
    cosine: bool = option(False, doc="search by cosine; no released checkpoint does")
    reconstruction: str = option("l1", choices=("l1", "l2"), doc="training: how pictures are compared")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fit == "none":
            raise ValueError("`fit: none` has no grid to count the scales from; give crop or stretch")
        if not self.scales or self.scales[-1] != self.side or min(self.scales) < 1:
            raise ValueError(f"scales end with {self.scales[-1:]}, and a picture of {self.resolution} pixels has a "
                             f"grid of side {self.side}")  # fmt: skip


def multiscale_calls(config: Any, facts: Any) -> dict[str, Call]:
    count = sum(side**2 for side in config.scales)
    return token_calls(config, Port("tokens", "N", N=count, vocab=config.codes, space="self", doc="scale by scale"))


MULTISCALE = card(
    "tokenizers/multiscale-vq",
    role="tokenizer",
    about="VAR's tokenizer: a picture as token maps from coarse to fine, each of what the former left.",
    source="VAR (Tian et al. 2024, arXiv 2404.02905); FoundationVision/VAR",
    config=MultiscaleVqConfig,
    calls=multiscale_calls,
    tiny={**TINY, "latent": 8, "dim": 8, "codes": 32, "scales": [1, 2, 4]},
    impl="anyany_tokenizers.multiscale_vq:MultiscaleVq",
)


class KlVaeConfig(CoderConfig):
    """Stable Diffusion's autoencoder by default; `with: mar` is MAR's KL-16. A config.json overrides the sizes."""

    resolution: int = option(512, low=1, doc="side in pixels that pictures are made to have")
    multipliers: list[int] = option([1, 2, 4, 4], doc="channels of each level over `channels`; a level halves")
    latent: int | None = option(None, low=1, doc="latent channels (the checkpoint's own, else 4)")
    attention: list[int] = option([], doc="the encoder's levels with attention, by their side at `nominal` pixels")
    decoder_attention: list[int] = option([], doc="the decoder's")
    nominal: int = option(256, low=1, doc="the resolution that levels are counted from")
    scale: float = option(0.18215, doc="what latents are multiplied by, for unit variance")
    shift: float = option(0.0, doc="what is taken from them before")
    sample: bool = option(False, doc="draw the latent from the posterior instead of taking its mean")
    kl: float = option(1e-6, low=0, doc="training: weight of the divergence")
    reconstruction: str = option("l1", choices=("l1", "l2"), doc="training: how pictures are compared")


def kl_calls(config: Any, facts: Any) -> dict[str, Call]:
    channels = facts.known("latent") or config.latent or var("latent", 4)

    def latent(doc: str, space: str | None = None) -> Port:
        return Port("latent", "C H W", C=channels, space=space, doc=doc)

    scaled = latent("of about unit variance", "self")
    return {
        "encode": Call(
            takes=picture_port(),
            gives={"latent": scaled, "mean": latent("unscaled"), "logvar": latent("of the posterior, unscaled")},
            teach="loss",
            batching=batching(config),
        ),
        "decode": Call(takes={"latent": scaled}, gives=picture_port(),
                       batching=Batching(max_rows=16, group_by=("shape",))),
        "loss": Call(
            takes=picture_port(),
            gives={
                "loss": Port("loss", doc="of the picture and the divergence"),
                "image": Port("image", channels=3, doc="the picture, decoded"),
                "latent": scaled,
                "divergence": Port("metric", doc="KL of the posterior from a unit Gaussian, in nats"),
            },
            batching=batching(config),
        ),
    }  # fmt: skip


KL_VAE = card(
    "tokenizers/kl-vae",
    role="tokenizer",
    about="The autoencoders of latent diffusion: Stable Diffusion's, and MAR's with `with: mar`.",
    source="VAE (Kingma and Welling 2013, arXiv 1312.6114); Rombach et al. 2022, arXiv 2112.10752; "
    "MAR (Li et al. 2024, arXiv 2406.11838); diffusers AutoencoderKL",
    config=KlVaeConfig,
    calls=kl_calls,
    facts=Facts(
        latent=[json("latent_channels"), tensor("post_quant_conv.weight"), tensor("decoder.conv_in.weight", axis=1)]
    ),
    ignores=("loss.*",),
    tiny={**TINY, "latent": 4},
    presets={"mar": {"resolution": 256, "multipliers": [1, 1, 2, 2, 4], "latent": 16, "attention": [16],
                     "scale": 0.2325}},
    impl="anyany_tokenizers.kl_vae:KlVae",
)  # fmt: skip

CARDS = [VQ, MULTISCALE, KL_VAE]
