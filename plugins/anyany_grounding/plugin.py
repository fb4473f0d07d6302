"""Cards of namespace `grounding`: boxes, regions and masks in a conversation. Torch-free.

Implementations are in the files beside this one; SAM's card is in `sam_card.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyany.api.v1 import Call, Card, Config, Facts, Port, card, hookimpl, option, tensor, var
from anyany_grounding.sam_card import SAM

REGIONS = ("boxes", "points", "mask")


class BoxTextConfig(Config):
    """How coordinates are written; the defaults are Shikra's."""

    form: str = option(
        "shikra",
        choices=("shikra", "parentheses", "tokens", "ferret"),
        doc="[0.1,0.2,0.3,0.4], the same in (), location tokens, or Ferret's [100, 200, 300, 400]",
    )
    pad: bool = option(True, doc="fractions are of the picture padded to a square, as Shikra sees it; else of itself")
    digits: int = option(3, low=1, high=8, doc="decimals written")
    bins: int = option(1001, low=2, doc="location tokens of `form: tokens`")
    keep: bool = option(False, doc="regions also stay in the message, one place behind each of their texts (Ferret)")
    media: tuple[str, ...] = option(("image",), doc="media of the message that are passed on: image, audio, video")


def _text_calls(config: Any, facts: Any) -> dict[str, Call]:
    within = (*config.media, *REGIONS)
    return {
        "write": Call(
            takes={"message": Port("message", native=within, doc="regions lie on the picture before them, or on `of`")},
            gives={"message": Port("message", doc="the same with coordinates for regions")},
        ),
        "parse": Call(
            takes={
                "text": Port("text", doc="an answer"),
                "images": Port("image*", doc="the pictures it speaks of; boxes lie on the last"),
            },
            gives={
                "boxes": Port("boxes", doc="in pixels of the picture, in order"),
                "points": Port("points", doc="in pixels of the picture, in order"),
                "note": Port("text?", doc="what looked like coordinates and was none; absent where all was well"),
            },
        ),
    }


BOX_TEXT = card(
    "grounding/box-text",
    role="transform",
    about="Regions of a message as coordinates in its text, and coordinates of an answer as boxes on the picture.",
    source="Shikra (Chen et al. 2023, arXiv 2306.15195); Ferret's form (You et al. 2023, arXiv 2310.07704)",
    config=BoxTextConfig,
    calls=_text_calls,
    impl="anyany_grounding.box_text:BoxText",
    weights=False,
    tiny={},
)  # fmt: skip


class RegionSamplerConfig(Config):
    """The sampler's sizes; the defaults are those of Ferret 7B and 13B."""

    inputs: int | None = option(None, low=1, doc="width of the features (solved when not given)")
    outputs: int | None = option(None, low=1, doc="width given (solved when not given)")
    how: str = option("points", choices=("points", "average"), doc="the sampler, or the mean over the region's pixels")
    points: int = option(512, low=1, doc="points drawn from a region")
    keep: tuple[int, ...] = option((128, 32), doc="points kept by each stage")
    neighbours: tuple[int, ...] = option((24, 24), doc="neighbours gathered for each kept point")
    pool: str = option("max", choices=("max", "mean"), doc="how neighbours are pooled")
    transposed: bool = option(True, doc="features are looked up with x and y exchanged, as the released Ferret does")


def _sampler_calls(config: Any, facts: Any) -> dict[str, Call]:
    wide = config.inputs or facts.known("inputs") or var("inputs", 1024)
    out = config.outputs or facts.known("outputs") or var("outputs", 4096)
    return {
        "sample": Call(
            takes={
                "regions": Port(f"{'|'.join(REGIONS)}*", doc="as a message holds them: each knows its picture"),
                "features": Port("features*", "N C", C=wide, doc="patches of each picture, a square of them"),
                "images": Port("image*?", doc="the picture, for regions that come from elsewhere"),
            },
            gives={
                "features": Port("features*", "R E", E=out, ties="regions", doc="a vector for each box, point or mask")
            },
        )
    }


SAMPLER = card(
    "grounding/region-sampler",
    role="adapter",
    about="Any region of a picture as vectors of a language model's width: points within it and their neighbours.",
    source="Ferret (You et al. 2023, arXiv 2310.07704), section 3.2",
    config=RegionSamplerConfig,
    calls=_sampler_calls,
    facts=Facts(
        inputs=[tensor("*flatten_projector.weight", axis=0), tensor("*region_fea_adapter.weight", axis=1)],
        outputs=[tensor("*dim_projector.weight", axis=0), tensor("*region_fea_adapter.weight", axis=0)],
    ),
    impl="anyany_grounding.region_sampler:RegionSampler",
    tiny={"points": 24, "keep": (8, 4), "neighbours": (6, 4)},
)


class BoxCodecConfig(Config):
    """NExT-Chat's location encoder and decoder."""

    width: int | None = option(None, low=2, doc="width of the language model (solved when not given)")
    pad: bool = option(True, doc="boxes are fractions of the picture padded to a square; else of itself")


def _codec_calls(config: Any, facts: Any) -> dict[str, Call]:
    wide = config.width or facts.known("width") or var("width", 4096)
    states = Port("features", "N D", D=wide, doc="hidden states of a signal for boxes")
    picture = Port("image", doc="the picture they speak of")
    return {
        "decode": Call(
            takes={"features": states, "image": picture},
            gives={"boxes": Port("boxes", doc="a box for each state, in pixels")},
            teach="learn",
        ),
        "encode": Call(
            takes={
                "boxes": Port("boxes", doc="in pixels of their picture"),
                "image": Port("image?", doc="the picture, for boxes that do not know theirs"),
            },
            gives={"features": Port("features", "N D", D=wide, doc="an embedding for each box")},
        ),
        "learn": Call(
            takes={"features": states, "image": picture, "target": Port("boxes", doc="the boxes that were meant")},
            gives={"loss": Port("loss", doc="2 L1 + GIoU / 5, and both cycles through the codec")},
        ),
    }


BOX_CODEC = card(
    "grounding/box-codec",
    role="decoder",
    about="A trigger token's hidden state as a box, and a box as the embedding of a token.",
    source="NExT-Chat (Zhang et al. 2023, arXiv 2311.04498); NExT-ChatV/NExT-Chat",
    config=BoxCodecConfig,
    calls=_codec_calls,
    facts=Facts(width=[tensor("*loc_decoder.0.weight", axis=1)]),
    impl="anyany_grounding.box_codec:BoxCodec",
    tiny={},
)


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """The components of this family."""
    return [BOX_TEXT, SAMPLER, BOX_CODEC, SAM]
