"""Card of VAR. Torch-free; its implementation is in `var.py`."""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Call, Facts, Port, card, option, tensor
from anyany_image_heads.contract import LatentConfig, head_calls, parted, picture

LARGE_SCALES = [1, 2, 3, 4, 6, 9, 13, 18, 24, 32]


class VarConfig(LatentConfig):
    """VAR; the defaults are those of VAR-d16 at 256x256 with its tokenizer."""

    top_k: int = option(900, low=0, doc="tokens are drawn from the k likeliest (0: all)")
    top_p: float = option(0.96, low=0, high=1, doc="and from the likeliest of this mass (0 or 1: all)")
    drop: float = option(0.1, low=0, high=1, doc="conditions dropped in training")
    depth: int = option(16, low=1, doc="blocks")
    width: int | None = option(None, low=1, doc="width (64 a block)")
    heads: int | None = option(None, low=1, doc="attention heads (one a block)")
    ratio: float = option(4.0, low=0.5, doc="feed-forward width over the width")
    shared: bool = option(False, doc="one modulation layer for all blocks (d36)")
    unit_attention: bool = option(True, doc="queries and keys of unit norm")
    scales: list[int] = option([1, 2, 3, 4, 5, 6, 8, 10, 13, 16], doc="sides of the token maps, coarse to fine")
    codes: int = option(4096, low=2, doc="codes of the codebook")
    latents: int = option(32, low=1, doc="channels of a code")
    unit_codes: bool = option(False, doc="codes are compared by cosine (no released model)")
    smoothings: int = option(4, low=1, doc="convolutions that scales share")
    smoothing: float = option(0.5, low=0, high=1, doc="share of the convolution in what a scale adds")
    vae_width: int = option(160, low=1, doc="autoencoder: channels of the finest level")
    vae_levels: list[int] = option([1, 1, 2, 2, 4], doc="autoencoder: channels of each level over that")
    vae_blocks: int = option(2, low=1, doc="autoencoder: blocks a level")

    def __post_init__(self) -> None:
        super().__post_init__()
        parted(self.width or 64 * self.depth, self.heads or self.depth)
        if not self.scales or min(self.scales) < 1 or max(self.scales) != self.scales[-1]:
            raise ValueError(f"scales {list(self.scales)} wants sides from 1, the last the largest")


def var_calls(config: Any, facts: Any) -> dict[str, Call]:
    tokens = {"tokens": Port("tokens", "N", vocab=config.codes, doc="coarse to fine")}
    side = config.scales[-1]
    latent = Port("latent", "C H W", C=config.latents, H=side, W=side, doc="the feature map that is decoded")
    gives = {**picture(), **tokens} if config.autoencoder else {**tokens, "latent": latent}
    return head_calls(config, facts, gives)


VAR = card(
    "image_heads/var",
    role="decoder",
    about="VAR: next-scale prediction, a picture from coarse to fine in ten steps.",
    source="VAR (Tian et al. 2024, arXiv 2404.02905); FoundationVision/VAR",
    config=VarConfig,
    calls=var_calls,
    facts=Facts(table=[tensor("class_emb.weight")], cond=[tensor("features.null")]),
    presets={
        **{f"d{depth}": {"depth": depth} for depth in (16, 20, 24, 30)},
        "d36": {"depth": 36, "shared": True, "scales": LARGE_SCALES},
    },
    tiny={"depth": 2, "width": 32, "heads": 2, "scales": [1, 2, 4], "codes": 32, "latents": 8, "vae_width": 8,
          "vae_levels": [1, 2], "vae_blocks": 1},
    impl="anyany_image_heads.var:Var",
)  # fmt: skip
