"""Card of DiT. Torch-free; its implementation is in `dit.py`."""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Call, Facts, Port, card, option, tensor
from anyany_image_heads.contract import LatentConfig, head_calls, parted, picture


class DitConfig(LatentConfig):
    """DiT; the defaults are those of the released DiT-XL/2 at 256x256, with Stable Diffusion's autoencoder."""

    sampler: str = option("ddpm", choices=("ddpm", "ddim"), doc="ancestral steps, or DDIM's")
    eta: float = option(0.0, low=0, high=1, doc="noise of DDIM's steps")
    schedule: str = option("linear", choices=("linear", "cosine"), doc="noise schedule it was trained on")
    learned: bool = option(True, doc="whether the network gives variances")
    channels: int = option(4, low=1, doc="latent channels")
    side: int = option(32, low=1, doc="side of the latent map (64: the 512x512 checkpoint)")
    patch: int = option(2, low=1, doc="side of a patch of it")
    width: int = option(1152, low=4, doc="width of the transformer")
    layers: int = option(28, low=1, doc="blocks")
    heads: int = option(16, low=1, doc="attention heads a block")
    ratio: float = option(4.0, low=0.5, doc="feed-forward width over the width")
    drop: float = option(0.1, low=0, high=1, doc="conditions dropped in training; 0: there is no null class")
    vae_width: int = option(128, low=1, doc="autoencoder: channels of the finest level")
    vae_levels: list[int] = option([1, 2, 4, 4], doc="autoencoder: channels of each level over that")
    vae_blocks: int = option(2, low=1, doc="autoencoder: blocks a level")
    vae_scale: float = option(0.18215, doc="autoencoder: what latents are multiplied by")

    def __post_init__(self) -> None:
        super().__post_init__()
        parted(self.width, self.heads)
        if self.width % 4:
            raise ValueError(f"width {self.width} is no multiple of 4: positions are two sines and two cosines")
        if self.side % self.patch:
            raise ValueError(f"a latent of side {self.side} wants a patch that divides it, not {self.patch}")


def dit_calls(config: Any, facts: Any) -> dict[str, Call]:
    latent = {"C": config.channels, "H": config.side, "W": config.side}
    gives = picture() if config.autoencoder else {"latent": Port("latent", "C H W", doc="scaled", **latent)}
    return head_calls(config, facts, gives)


DIT = card(
    "image_heads/dit",
    role="decoder",
    about="DiT: a diffusion transformer in latent space, for classes or features.",
    source="DiT (Peebles and Xie 2023, arXiv 2212.09748); written from the paper",
    config=DitConfig,
    calls=dit_calls,
    facts=Facts(table=[tensor("y_embedder.embedding_table.weight")], cond=[tensor("features.null")]),
    presets={
        "l-2": {"width": 1024, "layers": 24, "heads": 16},
        "b-2": {"width": 768, "layers": 12, "heads": 12},
        "s-2": {"width": 384, "layers": 12, "heads": 6},
    },
    tiny={"side": 8, "width": 32, "layers": 2, "heads": 2, "steps": 4, "vae_width": 8, "vae_levels": [1, 2],
          "vae_blocks": 1},
    impl="anyany_image_heads.dit:Dit",
)  # fmt: skip
