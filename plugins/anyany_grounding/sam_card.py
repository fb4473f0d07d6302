"""Card of grounding/sam. Torch-free; the implementation is `sam.py`."""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Config, Facts, Port, card, json, option, tensor

_DEPTHS = {"base": (768, 12, 12, (2, 5, 8, 11)), "large": (1024, 24, 16, (5, 11, 17, 23))}


class SamConfig(Config):
    """SAM's sizes; the defaults are those of ViT-H. A checkpoint's config.json overrides them."""

    resolution: int = option(1024, low=16, doc="side of the square that pictures are fitted into")
    patch: int = option(16, low=1, doc="side of a patch in pixels")
    encoder_width: int = option(1280, low=1, doc="width of the picture encoder")
    layers: int = option(32, low=1, doc="its blocks")
    heads: int = option(16, low=1, doc="its heads")
    mlp: int | None = option(None, low=1, doc="its feed-forward width (four times its width)")
    window: int = option(14, low=1, doc="side of its windows in patches")
    wide_layers: tuple[int, ...] = option((7, 15, 23, 31), doc="blocks that attend to the whole picture")
    width: int = option(256, low=8, doc="width of prompts and of the picture's embedding")
    mask_channels: int = option(16, low=4, doc="channels of the mask prompt's encoder")
    decoder_layers: int = option(2, low=1, doc="blocks of the mask decoder")
    decoder_heads: int = option(8, low=1, doc="its heads")
    decoder_mlp: int = option(2048, low=1, doc="its feed-forward width")
    iou_width: int | None = option(None, low=1, doc="hidden width of its IoU head (that of the prompts)")
    tokens: int = option(4, low=1, doc="prompt tokens that a language model gives for a mask (NExT-Chat)")
    fit: str = option(
        "corner", choices=("corner", "center"), doc="where the picture lies in the square: SAM, NExT-Chat"
    )


def _calls(config: Any, facts: Any) -> dict[str, Call]:
    wide = facts.known("width", config.width)
    embedding = Port("features", "N D", D=wide, doc="the picture's embedding, row by row")
    return {
        "encode": Call(
            takes={"image": Port("image", doc="a picture of any shape")},
            gives={"features": embedding},
            parts=("vision_encoder",),
            batching=Batching(max_rows=4),
        ),
        "segment": Call(
            takes={
                "features": embedding,
                "image": Port("image", doc="the same picture"),
                "prompt": Port("features?", "P E", E=config.tokens * wide, doc="prompt tokens, side by side"),
                "box": Port("boxes?", doc="in pixels of the picture"),
                "points": Port("points?", doc="in pixels of the picture, inside what is meant"),
            },
            gives={
                "mask": Port("mask", doc="[H,W] on the picture"),
                "scores": Port("scores", doc="the predicted IoU for each prompt"),
            },
            parts=("prompt_encoder", "mask_decoder"),
        ),
    }


SAM = card(
    "grounding/sam",
    role="encoder",
    about="SAM: a picture embedded once, and masks cut out of it by boxes, points or a language model's tokens.",
    source="Segment Anything (Kirillov et al. 2023, arXiv 2304.02643); transformers' SAM",
    config=SamConfig,
    calls=_calls,
    facts=Facts(width=[json("prompt_encoder_config.hidden_size"), tensor("*no_mask_embed.weight", axis=1)]),
    presets={
        name: {"encoder_width": width, "layers": layers, "heads": heads, "wide_layers": wide}
        for name, (width, layers, heads, wide) in _DEPTHS.items()
    },
    tiny={"resolution": 64, "encoder_width": 24, "layers": 2, "heads": 2, "window": 3, "wide_layers": (1,), "width": 16,
          "mask_channels": 4, "decoder_heads": 2, "decoder_mlp": 32},
    impl="anyany_grounding.sam:Sam",
)  # fmt: skip
