"""Cards of what makes films. Torch-free.

Implementation: `diffusion.py`.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Config, Facts, Port, card, json, option, var

_FILES = ("unet/config.json", "transformer/config.json")


class VideoDiffusionConfig(Config):
    """Diffusion of films. A checkpoint's own files fix what it is; the sizes here are for `random:` weights."""

    steps: int | None = option(None, per_item=True, low=1, high=1000, doc="denoising steps (the checkpoint's own)")
    guidance: float | None = option(None, per_item=True, low=0, doc="classifier-free guidance (1: none)")
    frames: int | None = option(None, per_item=True, low=1, high=1024, doc="frames (the checkpoint's own, else 16)")
    fps: float = option(8.0, per_item=True, low=0.1, high=240, doc="frames a second that the film is played at")
    height: int | None = option(None, low=1, doc="of a frame in pixels (the checkpoint's own, else 64)")
    width: int | None = option(None, low=1, doc="of a frame in pixels (the checkpoint's own, else 64)")
    n: int | None = option(None, low=1, doc="length of the conditioning")
    cond: int | None = option(None, low=1, doc="width of the conditioning (from the checkpoint or the neighbour)")
    arch: str = option("latte", choices=("latte", "unet3d"), doc="random weights: space-time transformer, or a UNet")
    channels: int = option(320, low=2, doc="random weights: width of the transformer, or of the UNet's first block")
    layers: int = option(6, low=1, doc="random weights: blocks of the transformer, in space and in time")
    heads: int = option(5, low=1, doc="random weights: attention heads of the transformer")
    patch: int = option(8, low=1, doc="random weights: side of a patch in pixels")


def video_diffusion_calls(config: Any, facts: Any) -> dict[str, Call]:
    """`video`: a film for each conditioning. `embed`: captions to conditioning, by the checkpoint's text encoder."""
    features = {"N": config.n or var("n"), "D": facts.known("cond") or config.cond or var("cond")}
    takes = {
        "cond": Port("features", "N D", doc="what is to be seen", **features),
        "negative": Port("features?", "N D", doc="what to keep away from, instead of nothing", **features),
    }
    film = {"video": Port("video", channels=3, doc="[T,3,H,W] in 0..1")}
    embedded = {"features": Port("features", "N D", **features)}
    return {
        "video": Call(takes=takes, gives=film, batching=Batching(max_rows=4)),
        "embed": Call(takes={"text": Port("text")}, gives=embedded, parts=("text_encoder",),
                      batching=Batching(max_rows=64, cost="length")),
    }  # fmt: skip


DIFFUSION = card(
    "video/diffusion",
    role="decoder",
    about="Films by diffusion: a UNet over space and time, or a transformer over space-time patches.",
    source="ModelScopeT2V (Wang et al. 2023, arXiv 2308.06571); Latte (Ma et al. 2024, arXiv 2401.03048); diffusers",
    config=VideoDiffusionConfig,
    calls=video_diffusion_calls,
    facts=Facts(cond=[json(key, f) for key in ("caption_channels", "cross_attention_dim") for f in _FILES]),
    tiny={"height": 16, "width": 16, "frames": 4, "patch": 4, "channels": 16, "layers": 1, "heads": 2, "steps": 2},
    presets={"zeroscope": {"arch": "unet3d", "height": 320, "width": 576, "frames": 24, "n": 77, "cond": 1024,
                           "layers": 2}},
    impl="anyany_video.diffusion:VideoDiffusion",
)  # fmt: skip

CARDS = [DIFFUSION]
