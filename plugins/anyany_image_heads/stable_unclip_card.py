"""Card of Stable Diffusion's unCLIP. Torch-free; the implementation is `stable_unclip.py`."""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Facts, Port, card, json, option, var
from anyany_image_heads.contract import HeadConfig, begun, picture, whole_levels

_UNET = "unet/config.json"


class StableUnclipConfig(HeadConfig):
    """Stable Diffusion 2.1 unCLIP. A checkpoint's files fix what it is; the sizes here are for `random:` weights."""

    noise_level: int = option(0, per_item=True, low=0, high=999, doc="noise on the embedding: more, freer pictures")
    strength: float = option(0.8, per_item=True, low=0, high=1, doc="how much of a `start` is made anew")
    eta: float = option(0.0, low=0, high=1, doc="noise of DDIM's steps")
    drop: float = option(0.1, low=0, high=1, doc="conditions dropped in training")
    words: int | None = option(None, low=1, doc="width of a caption's words (the checkpoint's or neighbour's, else 32)")
    size: int | None = option(None, low=1, doc="side of the picture in pixels (the checkpoint's own, else 64)")
    width: int = option(64, low=1, doc="random weights: channels of the finer level")
    heads: int = option(8, low=1, doc="random weights: attention heads")

    def __post_init__(self) -> None:
        whole_levels(self.width, [1, 2])


def stable_unclip_calls(config: Any, facts: Any) -> dict[str, Call]:
    both = facts.known("both")
    size = {"D": both // 2 if both else config.cond or var("cond")}
    wide = {"W": facts.known("words") or config.words or 32}
    cond = Port("embedding|features", "... D", doc="CLIP's embedding of the picture to draw", **size)
    words = {"words": Port("features?", "N W", doc="the text encoder's features of a caption", **wide)}
    takes = {
        "cond": cond, **words, "negative": Port("features?", "N W", doc="of a caption to keep away from", **wide),
        **begun(),
    }  # fmt: skip
    wanted = {"cond": cond, "image": Port("image", channels=3, doc="what should be drawn, at any size"), **words}
    batching = Batching(max_rows=16)
    return {
        "image": Call(takes=takes, gives=picture(), batching=batching, teach="loss"),
        "loss": Call(takes=wanted, gives={"loss": Port("loss", doc="to minimise")}, batching=batching),
        "embed": Call(takes={"text": Port("text")}, gives={"features": Port("features", "N W", **wide)},
                      parts=("text_encoder",), batching=Batching(max_rows=64, cost="length")),
    }  # fmt: skip


STABLE_UNCLIP = card(
    "image_heads/stable-unclip",
    role="decoder",
    about="Stable Diffusion 2.1 unCLIP: a picture of CLIP's embedding of one, which SEED-LLaMA's codes become.",
    source="Rombach et al. 2022, arXiv 2112.10752; DALL-E 2 (arXiv 2204.06125); diffusers StableUnCLIPImg2ImgPipeline",
    config=StableUnclipConfig,
    calls=stable_unclip_calls,
    facts=Facts(
        both=[json("projection_class_embeddings_input_dim", _UNET)], words=[json("cross_attention_dim", _UNET)]
    ),
    ignores=("image_encoder.*",),
    tiny={"size": 16, "width": 16, "heads": 2, "words": 8, "steps": 4, "guidance": 2.0},
    impl="anyany_image_heads.stable_unclip:StableUnclip",
)

CARDS = [STABLE_UNCLIP]
