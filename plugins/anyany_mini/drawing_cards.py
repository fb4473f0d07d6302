"""Cards of what the miniature's image heads are taught with. Torch-free; implementations: `drawings.py`, `blend.py`."""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Call, Config, Port, card, option


class DrawingsConfig(Config):
    """Pictures that teach shape and colour apart."""

    n: int = option(100_000, low=1, doc="how many pictures, the same ones every epoch")
    seed: int = option(0, low=0, high=999_999, doc="another seed, other scenes; evaluation's are never among them")
    jitter: float = option(0.25, low=0, high=1, doc="spread of positions, sizes and colours (the world's own is 1)")
    mixed: float = option(0.4, low=0, high=1, doc="share with a thing of a shade between two colours")
    strange: float = option(0.2, low=0, high=1, doc="share of the others with a colour or shape outside the palette")
    blank: float = option(0.02, low=0, high=1, doc="share of slots left blank")
    crowd: bool = option(False, doc="six things a picture or more, and no other field: for autoencoders")


DRAWINGS = card(
    "mini/drawings",
    role="source",
    about="Pictures of seen pairs, shades between colours and strange things: fields picture, focus, caption, other, "
    "share, blank.",
    config=DrawingsConfig,
    calls={"read": Call(takes={}, gives={"record": Port("text", doc="a record as JSON, its captions alone")})},
    weights=False,
    tiny={"n": 8},
    impl="anyany_mini.drawings:Drawings",
)


class BlendConfig(Config):
    """Two conditionings as one."""

    slots: int = option(8, low=1, doc="positions of a conditioning")
    noise: float = option(0.1, low=0, doc="standard deviation of Gaussian noise on every number")


def blend_calls(config: Any, facts: Any) -> dict[str, Call]:
    slots = Port("features", "N D", N=config.slots, doc="slots of conditioning")
    share = Port("features", "K", K=1, doc="of the other, 0..1")
    blank = Port("features", "N", N=config.slots, doc="1 where a slot becomes zeros, else 0")
    takes = {"cond": slots, "other": slots, "share": share, "blank": blank}
    return {"blend": Call(takes=takes, gives={"features": slots})}


BLEND = card(
    "mini/blend",
    role="transform",
    about="Slots of two captions mixed by a share, some of them blank, with noise: what a head is taught from.",
    config=BlendConfig,
    calls=blend_calls,
    weights=False,
    tiny={},
    impl="anyany_mini.blend:Blend",
)


CARDS = [DRAWINGS, BLEND]
