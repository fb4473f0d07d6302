"""Cards of vision/pix2struct and vision/quadrangle. Torch-free.

Implementations: pix2struct.py, quadrangle.py.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Card, Config, Facts, Port, card, json, option, tensor
from anyany_vision.encoder_cards import IMAGENET_MEAN, IMAGENET_STD


class Pix2StructConfig(Config):
    """Pix2Struct's vision encoder; a checkpoint's config.json overrides the sizes. Defaults are the base model's."""

    max_patches: int = option(2048, low=1, doc="most patches of a picture")
    patch: int = option(16, low=1, doc="side of a patch in pixels")
    deviation: str = option(
        "population", choices=("population", "sample"), doc="standard deviation that pictures are divided by"
    )
    width: int = option(768, low=1, doc="features a patch")
    layers: int = option(12, low=1, doc="transformer blocks")
    heads: int = option(12, low=1, doc="attention heads a block")
    head_width: int = option(64, low=1, doc="width of a head")
    mlp: int = option(2048, low=1, doc="feed-forward width")
    table: int = option(4096, low=2, doc="rows of the position tables")


def pix2struct_calls(config: Any, facts: Any) -> dict[str, Call]:
    return {
        "encode": Call(
            takes={"image": Port("image", channels=3)},
            gives={
                "patches": Port("features", "N D", D=facts.width, space="self", doc="after the final norm"),
                "places": Port("points", doc="row and column of each patch, from 1"),
            },
            batching=Batching(max_rows=16),
        )
    }


PIX2STRUCT = card(
    "vision/pix2struct",
    role="encoder",
    about="Patches at the picture's own aspect ratio, and their encoder: for screens and documents.",
    source="Pix2Struct (Lee et al. 2023, arXiv 2210.03347); ScreenAI (Baechler et al. 2024, arXiv 2402.04615)",
    config=Pix2StructConfig,
    calls=pix2struct_calls,
    facts=Facts(
        width=[json("vision_config.hidden_size"), json("hidden_size"), tensor("*row_embedder.weight", axis=1)],
    ),
    tiny={
        "max_patches": 16, "patch": 4, "width": 32, "layers": 2, "heads": 2, "head_width": 16, "mlp": 48, "table": 64,
    },
    presets={"large": {"width": 1536, "layers": 18, "heads": 24, "mlp": 3968}},
    impl="anyany_vision.pix2struct:Pix2Struct",
)  # fmt: skip


class QuadrangleConfig(Config):
    """The quadrangle transformer; defaults are the tiny model's."""

    resolution: int = option(224, low=1, doc="side of the network's input in pixels")
    short: int | None = option(None, doc="short side before the crop (256 for the paper's evaluation)")
    patch: int = option(4, low=1, doc="side of a patch in pixels")
    width: int = option(96, low=1, doc="channels of the first stage; each stage doubles them")
    depths: tuple[int, ...] = option((2, 2, 6, 2), doc="blocks of each stage")
    heads: tuple[int, ...] = option((3, 6, 12, 24), doc="attention heads of each stage")
    window: int = option(7, low=1, doc="side of a window in places")
    rpe: str = option("v1", choices=("v1", "v2"), doc="relative positions: a table, or vectors met by queries")
    mlp_ratio: float = option(4.0, low=0.1, doc="feed-forward width over width")
    classes: int = option(0, low=0, doc="classes of the head (0: no head)")
    names: tuple[str, ...] = option((), doc="names of the classes, in order")
    mean: tuple[float, ...] = option(IMAGENET_MEAN, doc="subtracted from pixels in 0..1")
    std: tuple[float, ...] = option(IMAGENET_STD, doc="divides what is left")


def quadrangle_calls(config: Any, facts: Any) -> dict[str, Call]:
    width = facts.known("width")
    last = (width or config.width) << (len(config.depths) - 1)
    takes = {"image": Port("image", channels=3)}
    gives = {
        "patches": Port("features", "N D", D=last, space="self", doc="places of the last stage"),
        "pooled": Port("embedding", "D", D=last, space="self", doc="their mean"),
    }
    calls = {"encode": Call(takes=takes, gives=gives, batching=Batching(max_rows=32))}
    if config.classes:
        calls["classify"] = Call(takes=takes, gives={"label": Port("label"), "scores": Port("scores")})
    return calls


QUADRANGLE = card(
    "vision/quadrangle",
    role="encoder",
    about="A windowed pyramid whose windows look where a learned quadrangle lies.",
    source="Zhang et al. 2023, arXiv 2303.15105; ViTAE-Transformer/QFormer",
    config=QuadrangleConfig,
    calls=quadrangle_calls,
    facts=Facts(width=[tensor("*patch_embed.norm.weight", axis=0)]),
    ignores=("head.*",),
    tiny={"resolution": 32, "width": 16, "depths": (1, 1), "heads": (2, 4), "window": 4},
    presets={
        "small": {"depths": (2, 2, 18, 2)},
        "base": {"width": 128, "depths": (2, 2, 18, 2), "heads": (4, 8, 16, 32)},
    },
    impl="anyany_vision.quadrangle:Quadrangle",
)

CARDS: list[Card] = [PIX2STRUCT, QUADRANGLE]
