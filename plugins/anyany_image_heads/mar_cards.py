"""Card of MAR. Torch-free; its implementation is in `mar.py`."""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Call, Facts, Port, card, option, tensor
from anyany_image_heads.contract import LatentConfig, head_calls, parted, picture


class MarConfig(LatentConfig):
    """MAR; the defaults are those of MAR-B at 256x256 with its autoencoder KL16."""

    temperature: float = option(1.0, low=0, doc="multiplies the noise of the diffusion steps (0.95 without guidance)")
    cfg_schedule: str = option("linear", choices=("linear", "constant"),
                               doc="guidance grows with the tokens there are, or does not")  # fmt: skip
    diffusion_steps: int = option(100, low=1, high=1000, doc="diffusion steps a token")
    diffusion_repeat: int = option(4, low=1, doc="training: random steps a token")
    drop: float = option(0.1, low=0, high=1, doc="conditions dropped in training")
    channels: int = option(16, low=1, doc="latent channels")
    side: int = option(16, low=1, doc="side of the token map")
    patch: int = option(1, low=1, doc="latent positions a side of a token")
    buffer: int = option(64, low=1, doc="places of the condition before the tokens")
    width: int = option(768, low=2, doc="width of the encoder")
    layers: int = option(12, low=1, doc="blocks of the encoder")
    heads: int = option(12, low=1, doc="attention heads of the encoder")
    decoder_width: int | None = option(None, low=2, doc="width of the decoder (the encoder's)")
    decoder_layers: int | None = option(None, low=1, doc="blocks of the decoder (the encoder's)")
    decoder_heads: int | None = option(None, low=1, doc="attention heads of the decoder (the encoder's)")
    ratio: float = option(4.0, low=0.5, doc="feed-forward width over the width")
    head_width: int = option(1024, low=1, doc="width of the diffusion head")
    head_layers: int = option(6, low=1, doc="blocks of the diffusion head")
    vae_width: int = option(128, low=1, doc="autoencoder: channels of the finest level")
    vae_levels: list[int] = option([1, 1, 2, 2, 4], doc="autoencoder: channels of each level over that")
    vae_blocks: int = option(2, low=1, doc="autoencoder: blocks a level")
    vae_scale: float = option(0.2325, doc="autoencoder: what latents are multiplied by")

    def __post_init__(self) -> None:
        super().__post_init__()
        parted(self.width, self.heads)
        parted(self.decoder_width or self.width, self.decoder_heads or self.heads, "decoder_")


def mar_calls(config: Any, facts: Any) -> dict[str, Call]:
    side = config.side * config.patch
    latent = {"C": config.channels, "H": side, "W": side}
    gives = picture() if config.autoencoder else {"latent": Port("latent", "C H W", doc="scaled", **latent)}
    return head_calls(config, facts, gives)


MAR = card(
    "image_heads/mar",
    role="decoder",
    about="MAR: masked autoregression over continuous tokens, each drawn by a small diffusion head.",
    source="MAR (Li et al. 2024, arXiv 2406.11838); LTH14/mar",
    config=MarConfig,
    calls=mar_calls,
    facts=Facts(table=[tensor("class_emb.weight")], cond=[tensor("features.null")]),
    presets={
        "base": {"guidance": 2.9},
        "large": {"width": 1024, "layers": 16, "heads": 16, "head_width": 1280, "head_layers": 8, "guidance": 3.0},
        "huge": {"width": 1280, "layers": 20, "heads": 16, "head_width": 1536, "head_layers": 12, "guidance": 3.2},
    },
    tiny={"side": 4, "channels": 4, "buffer": 2, "width": 32, "layers": 2, "heads": 2, "head_width": 32,
          "head_layers": 2, "steps": 4, "diffusion_steps": 5, "vae_width": 8, "vae_levels": [1, 2], "vae_blocks": 1},
    impl="anyany_image_heads.mar:Mar",
)  # fmt: skip
