"""Cards of vision/clip, vision/dino and vision/tiles. Torch-free.

Implementations: clip.py, dino.py, tiles.py.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Card, Config, Facts, Port, card, json, option, tensor

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ClipConfig(Config):
    """CLIP; a checkpoint's config.json overrides the sizes. Defaults are ViT-B/16."""

    towers: str = option("both", choices=("both", "image", "text"), doc="which towers to hold")
    layer: int = option(-1, doc="hidden state that `patches` gives: -1 after the last block, -2 before it (LLaVA)")
    keep_class: bool = option(False, doc="keep the class token before the patches")
    fit: str = option(
        "crop", choices=("crop", "pad", "white", "stretch"),
        doc="how a picture becomes a square: cropped, padded with the mean's colour or with white, stretched",
    )  # fmt: skip
    projection: bool = option(True, doc="hold the projection into the shared space (vision towers alone may lack it)")
    resolution: int = option(224, low=1, doc="side of the network's input in pixels")
    patch: int = option(16, low=1, doc="side of a patch in pixels")
    width: int = option(768, low=1, doc="width of the vision tower")
    layers: int = option(12, low=1, doc="blocks of the vision tower")
    heads: int = option(12, low=1, doc="attention heads of the vision tower")
    mlp: int | None = option(None, doc="feed-forward width of the vision tower (4 x width)")
    shared: int = option(512, low=1, doc="width of the shared space")
    text_width: int = option(512, low=1, doc="width of the text tower")
    text_layers: int = option(12, low=1, doc="blocks of the text tower")
    text_heads: int = option(8, low=1, doc="attention heads of the text tower")
    vocab: int = option(49408, low=3, doc="tokens of the text tower; the last two are start and end")
    context: int = option(77, low=3, doc="longest text in tokens")
    act: str = option("quick_gelu", choices=("quick_gelu", "gelu"), doc="activation; OpenAI's weights want quick_gelu")
    eps: float = option(1e-5, low=0.0, doc="epsilon of the norms")
    mean: tuple[float, ...] = option(CLIP_MEAN, doc="subtracted from pixels in 0..1")
    std: tuple[float, ...] = option(CLIP_STD, doc="divides what is left")


def clip_calls(config: Any, facts: Any) -> dict[str, Call]:
    shared = Port("embedding", "D", D=facts.shared, space="self", doc="in the shared space, not normalised")
    image = Port("image", channels=3)
    message = Port("message", doc="the text; media stand where their pseudo-words go")
    calls: dict[str, Call] = {}
    if config.towers != "text":
        gives = {
            "patches": Port("features", "N D", D=facts.width, space="self", doc="patch tokens of layer `layer`"),
            "cls": Port("embedding", "D", D=facts.width, space="self", doc="the class token after the final norm"),
        }
        more = {"embedding": shared} if config.projection else {}
        calls["image"] = Call(takes={"image": image}, gives={**gives, **more}, batching=Batching(max_rows=64))
    if config.towers != "image":
        word = Port("features|embedding?", "... D", D=facts.text_width, per="message", doc="pseudo-words at places")
        calls["text"] = Call(
            takes={"message": message, "image": word},
            gives={
                "embedding": shared,
                "features": Port("features", "N D", D=facts.text_width, space="self", doc="states of all tokens"),
            },
        )
    if config.towers == "both" and config.projection:
        calls["both"] = Call(
            takes={"image": image, "message": message},
            gives={
                "similarity": Port("metric", doc="cosine times exp(logit_scale)"),
                "image": Port("embedding", "D", D=facts.shared, space="self", doc="of length one"),
                "text": Port("embedding", "D", D=facts.shared, space="self", doc="of length one"),
            },
        )
    return calls


CLIP = card(
    "vision/clip",
    role="encoder",
    about="CLIP: pictures and texts as vectors of one space, and patch features of any layer.",
    source="Radford et al. 2021, arXiv 2103.00020; openai/CLIP; transformers CLIPModel",
    config=ClipConfig,
    calls=clip_calls,
    facts=Facts(
        width=[json("vision_config.hidden_size"), tensor("*class_embedding", axis=0), json("hidden_size")],
        shared=[
            json("projection_dim"), tensor("*visual_projection.weight", axis=0), tensor("*visual.proj", axis=1),
            tensor("*text_projection.weight", axis=0), tensor("*text_projection", axis=1),
        ],
        text_width=[json("text_config.hidden_size"), tensor("*token_embedding.weight", axis=1)],
    ),
    tiny={"resolution": 32, "patch": 8, "width": 32, "layers": 2, "heads": 2, "shared": 24, "text_width": 32,
          "text_layers": 2, "text_heads": 2, "vocab": 258, "context": 128},
    presets={
        "large": {"patch": 14, "width": 1024, "layers": 24, "heads": 16, "shared": 768, "text_width": 768,
                  "text_heads": 12},
        "large-336": {"resolution": 336, "patch": 14, "width": 1024, "layers": 24, "heads": 16, "shared": 768,
                      "text_width": 768, "text_heads": 12},
    },
    impl="anyany_vision.clip:Clip",
)  # fmt: skip


class DinoConfig(Config):
    """DINO and DINOv2; a checkpoint's config.json overrides the sizes. Defaults are DINOv2 ViT-B/14."""

    version: str = option("dinov2", choices=("dino", "dinov2"), doc="DINO of 2021, or DINOv2")
    resolution: int = option(224, low=1, doc="side of the input in pixels; with `fit: keep` the longest side")
    fit: str = option("crop", choices=("crop", "pad", "stretch", "keep"), doc="square, or `keep` the aspect ratio")
    short: int | None = option(None, doc="short side before the crop (256 for the papers' evaluation)")
    layer: int = option(-1, doc="hidden state that is given: -1 after the last block, -2 before it")
    normed: bool = option(True, doc="apply the final norm")
    mass: float = option(0.6, low=0.0, high=1.0, doc="share of the attention that `segment` keeps")
    native: int = option(518, low=1, doc="side of the pictures that the position table was made for")
    patch: int = option(14, low=1, doc="side of a patch in pixels")
    width: int = option(768, low=1, doc="features a token")
    layers: int = option(12, low=1, doc="transformer blocks")
    heads: int = option(12, low=1, doc="attention heads a block")
    mlp_ratio: int = option(4, low=1, doc="feed-forward width over width")
    ffn: str = option("mlp", choices=("mlp", "swiglu"), doc="feed-forward layers (giant: swiglu)")
    registers: int = option(0, low=0, doc="register tokens (4 in the released models that have them)")
    offset: float | None = option(
        None, doc="added to the target when positions are interpolated (0.1; 0 with registers)"
    )
    antialias: bool | None = option(None, doc="interpolate positions with antialiasing (only with registers)")
    mean: tuple[float, ...] = option(IMAGENET_MEAN, doc="subtracted from pixels in 0..1")
    std: tuple[float, ...] = option(IMAGENET_STD, doc="divides what is left")


def dino_calls(config: Any, facts: Any) -> dict[str, Call]:
    takes = {"image": Port("image", channels=3)}
    gives = {
        "patches": Port("features", "N D", D=facts.width, space="self", doc="patch tokens"),
        "cls": Port("embedding", "D", D=facts.width, space="self", doc="the class token"),
    }
    if config.registers:
        gives["registers"] = Port("features", "R D", R=config.registers, D=facts.width, doc="register tokens")
    looks = Port("features", "H N", doc="weights of the class token on the patches, a head of the last block")
    return {
        "encode": Call(takes=takes, gives=gives, batching=Batching(max_rows=64)),
        "segment": Call(takes=takes, gives={"mask": Port("mask", doc="what holds `mass` of them"), "attention": looks}),
    }


DINO = card(
    "vision/dino",
    role="encoder",
    about="DINO and DINOv2: features learned without labels, at any resolution; what the class token looks at.",
    source="Caron et al. 2021, arXiv 2104.14294; Oquab et al. 2023, arXiv 2304.07193; Darcet et al. 2023, 2309.16588",
    config=DinoConfig,
    calls=dino_calls,
    facts=Facts(width=[json("hidden_size"), tensor("*cls_token", axis=2)]),
    tiny={"resolution": 28, "native": 21, "patch": 7, "width": 32, "layers": 2, "heads": 2, "registers": 2},
    presets={
        "small": {"width": 384, "heads": 6}, "large": {"width": 1024, "layers": 24, "heads": 16},
        "giant": {"width": 1536, "layers": 40, "heads": 24, "ffn": "swiglu"},
    },
    impl="anyany_vision.dino:Dino",
)  # fmt: skip


class TilesConfig(Config):
    """LLaVA-1.6's anyres."""

    size: int = option(336, low=1, doc="side of a tile in pixels")
    grids: tuple[tuple[int, ...], ...] = option(
        ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)), doc="(width, height) a picture may be laid on"
    )


TILES = card(
    "vision/tiles",
    role="transform",
    about="A picture as a base view and the tiles of the grid that suits its shape.",
    source="LLaVA-1.6 (Liu et al. 2024), anyres",
    config=TilesConfig,
    calls={
        "cut": Call(
            takes={"image": Port("image", channels=3)},
            gives={
                "tiles": Port("image*", channels=3, doc="base view first, then row by row"),
                "places": Port("boxes", doc="where each lies in the picture"),
            },
        )
    },
    impl="anyany_vision.tiles:Tiles",
    weights=False,
    tiny={"size": 32, "grids": ((32, 64), (64, 32), (64, 64))},
)

CARDS: list[Card] = [CLIP, DINO, TILES]
