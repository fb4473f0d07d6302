"""Cards of namespace `vision`: image encoders. Torch-free.

Implementations are in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyany.api.v1 import Batching, Call, Card, Config, Facts, Port, card, hookimpl, json, option, tensor
from anyany_vision import class_cards, encoder_cards, imagebind_card, pyramid_cards
from anyany_vision.eva_card import EVA


class VitConfig(Config):
    """A Vision Transformer; a checkpoint's config.json overrides the sizes."""

    resolution: int = option(224, low=1, doc="side in pixels that every picture is resized to")
    fit: str = option(
        "stretch", choices=("stretch", "keep"), doc="a square of `resolution`, or the own aspect ratio up to that side"
    )
    patch: int = option(16, low=1, doc="side of a patch in pixels")
    width: int = option(768, low=1, doc="features a token")
    layers: int = option(12, low=1, doc="transformer blocks")
    heads: int = option(12, low=1, doc="attention heads a block")
    mlp: int | None = option(None, doc="width of the feed-forward layers (4 x width)")
    channels: int = option(3, choices=(1, 3), doc="colour channels")
    stem: str = option(
        "patch", choices=("patch", "conv"), doc="linear patches, or strided convolutions before the blocks"
    )
    mean: tuple[float, ...] = option((0.5,), doc="subtracted from pixels in 0..1, one value or one a channel")
    std: tuple[float, ...] = option((0.5,), doc="divides what is left, one value or one a channel")
    positions: str = option(
        "learned",
        choices=("learned", "grid", "relative", "none"),
        doc="a vector a place; row and column vectors; vectors for distances, met by queries; nothing",
    )
    eps: float = option(1e-6, low=0.0, doc="epsilon of the norms")
    classes: int = option(0, low=0, doc="classes of the head on the class token (0: no head)")
    names: tuple[str, ...] = option((), doc="names of the classes, in order")

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide by {self.heads} heads")
        if self.resolution < self.patch or self.resolution % self.patch:
            raise ValueError(f"resolution {self.resolution} is no multiple of the patch, {self.patch} pixels")
        if self.fit == "keep" and self.positions not in ("learned", "none"):
            raise ValueError(f"fit: keep wants learned positions, or none; {self.positions} ones have one size")


def vit_calls(config: Any, facts: Any) -> dict[str, Call]:
    width = facts.width
    takes = {"image": Port("image", channels=config.channels)}
    far = "pixels between query and key patch, a head"
    calls = {
        "encode": Call(
            takes=takes,
            gives={
                "patches": Port("features", "N D", D=width, space="self", doc="patch tokens after the final norm"),
                "cls": Port("embedding", "D", D=width, space="self", doc="the class token after the final norm"),
            },
            batching=Batching(max_rows=64),
        ),
        "look": Call(
            takes=takes,
            gives={
                "maps": Port("features", "A H T K", doc="attention weights of every layer and head, class token first"),
                "distance": Port("features", "A H", doc=f"mean attention distance: {far}"),
                "distance_renormalised": Port("features", "A H", doc="the same, rows made to sum to one"),
            },
            batching=Batching(max_rows=16),
        ),
    }
    if config.classes:
        gives = {"label": Port("label", doc="the likeliest class"), "scores": Port("scores", doc="probabilities")}
        calls["classify"] = Call(takes=takes, gives=gives)
    return calls


VIT = card(
    "vision/vit",
    role="encoder",
    about="Vision Transformer: a picture becomes a sequence of patch features.",
    source="Dosovitskiy et al. 2021, arXiv 2010.11929; google-research/vision_transformer; transformers ViTModel",
    config=VitConfig,
    calls=vit_calls,
    facts=Facts(
        width=[json("config.hidden_size"), json("hidden_size"), tensor("*cls_token", axis=2)],
    ),
    tiny={"resolution": 32, "patch": 8, "width": 32, "layers": 2, "heads": 2},
    presets={
        "tiny16": {"width": 192, "heads": 3},
        "small": {"width": 384, "heads": 6},
        "large": {"width": 1024, "layers": 24, "heads": 16},
        "huge": {"width": 1280, "layers": 32, "heads": 16, "patch": 14},
    },
    impl="anyany_vision.vit:Vit",
)


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """The components of this family."""
    return [VIT, EVA, *encoder_cards.CARDS, *pyramid_cards.CARDS, *class_cards.CARDS, imagebind_card.IMAGEBIND]
