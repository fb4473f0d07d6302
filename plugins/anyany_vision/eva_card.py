"""Card of EVA-CLIP's tower. Torch-free; the implementation is `eva.py`."""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Config, Port, card, option


class EvaConfig(Config):
    """EVA-CLIP's ViT-g/14 as in BLIP-2; the defaults are the released ones."""

    layout: str = option(
        "transformers", choices=("transformers", "lavis"), doc="whose names; LAVIS's has biases of queries and values "
        "alone, and no last norm (it is the Q-Former's)",
    )  # fmt: skip
    resolution: int = option(224, low=1, doc="side in pixels that every picture is resized to")
    patch: int = option(14, low=1, doc="side of a patch in pixels")
    width: int = option(1408, low=1, doc="features a token")
    layers: int = option(39, low=1, doc="blocks")
    heads: int = option(16, low=1, doc="attention heads a block")
    mlp: int = option(6144, low=1, doc="feed-forward width")


def eva_calls(config: Any, facts: Any) -> dict[str, Call]:
    told = "class token and patches" + (" after the last norm" if config.layout == "transformers" else "")
    tokens = Port("features", "N D", D=config.width, space="self", doc=told)
    return {
        "encode": Call(takes={"image": Port("image", channels=3)}, gives={"tokens": tokens},
                       batching=Batching(max_rows=32))
    }  # fmt: skip


EVA = card(
    "vision/eva",
    role="encoder",
    about="EVA-CLIP's tower as BLIP-2 uses it; its last norm is the Q-Former's `ln_vision` in LAVIS's files.",
    source="EVA-CLIP (Sun et al. 2023, arXiv 2303.15389); transformers Blip2VisionModel; LAVIS",
    config=EvaConfig,
    calls=eva_calls,
    ignores=("qformer.*", "query_tokens", "language_*", "embeddings.*", "*_projection.*", "itm_head.*"),
    tiny={"resolution": 28, "width": 32, "layers": 2, "heads": 2, "mlp": 64},
    impl="anyany_vision.eva:Eva",
)
