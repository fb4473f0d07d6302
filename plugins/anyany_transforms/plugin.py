"""Cards of namespace `transforms`: small steps on lists, messages and features, without weights. Torch-free.

Implementations are in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anyany.api.v1 import Call, Card, Config, Port, card, hookimpl, option, var
from anyany_transforms import branch_cards, search_cards

PARTS = "text|image|audio|video|message"
WITHIN = ("image", "audio", "video", "boxes", "points", "mask")


class PickConfig(Config):
    """Which value of a list."""

    which: str = option("last", choices=("first", "last", "index"), doc="the value to take")
    index: int = option(0, per_item=True, doc="its number from 0 for `which: index`; negative counts from the end")


class MessageConfig(Config):
    """How values become one message."""

    roles: tuple[str, ...] = option((), doc="open a turn for each value, with these roles in rotation")
    between: str = option("", doc="text put between two values")


class RolloutConfig(Config):
    """How far."""

    steps: int = option(4, per_item=True, low=1, doc="how often the node is called on what it gave")


class ResizeConfig(Config):
    """To what size."""

    width: int = option(512, low=1, high=8192, doc="pixels across")
    height: int | None = option(None, low=1, high=8192, doc="pixels down (as many as across)")
    filter: str = option("bicubic", choices=("bilinear", "bicubic"), doc="how pixels between pixels are found")


class ConcatenateConfig(Config):
    """How values are put end to end."""

    between: str = option("", doc="text put between two texts")


def _one(name: str, takes: Mapping[str, Port], gives: Mapping[str, Port]) -> dict[str, Call]:
    return {name: Call(takes=takes, gives=gives)}


PICK = card(
    "transforms/pick",
    role="transform",
    about="One value of a list: the first, the last, or by its number; absent where the list is too short.",
    config=PickConfig,
    calls=_one("pick", {"values": Port("any*", doc="the list")}, {"value": Port("any?", doc="the value taken")}),
    impl="anyany_transforms.pick:Pick",
    weights=False,
    tiny={},
)

FIRST = card(
    "transforms/first",
    role="transform",
    about="The first of two values that is present: where two branches meet again.",
    calls=_one("first", {"a": Port("any?", doc="taken where present"), "b": Port("any?", doc="taken otherwise")},
               {"value": Port("any")}),
    impl="anyany_transforms.first:First",
    weights=False,
    tiny={},
)  # fmt: skip

MESSAGE = card(
    "transforms/message",
    role="transform",
    about="Texts, media and messages become one message, in order; with `roles`, a turn each.",
    config=MessageConfig,
    calls=_one(
        "join", {"values": Port(f"{PARTS}*", native=WITHIN, doc="what to say, in order")}, {"message": Port("message")}
    ),
    impl="anyany_transforms.message:JoinMessage",
    weights=False,
    tiny={},
)

MEAN = card(
    "transforms/mean",
    role="transform",
    about="The mean of a list of features or embeddings of one shape, as of the frames of a film.",
    calls=_one("mean", {"values": Port("features|embedding*", "... D", D=var("width"))},
               {"value": Port("features|embedding", "... D", D=var("width"))}),
    impl="anyany_transforms.mean:Mean",
    weights=False,
    tiny={},
)  # fmt: skip

CONCATENATE = card(
    "transforms/concatenate",
    role="transform",
    about="Texts, or features along their length, end to end.",
    config=ConcatenateConfig,
    calls=_one("concatenate", {"values": Port("text|features*", "... D", D=var("width"))},
               {"value": Port("text|features", "... D", D=var("width"))}),
    impl="anyany_transforms.concatenate:Concatenate",
    weights=False,
    tiny={},
)  # fmt: skip


RESIZE = card(
    "transforms/resize",
    role="transform",
    about="Pictures at another size, the whole of each.",
    config=ResizeConfig,
    calls=_one("resize", {"image": Port("image", doc="any size")}, {"image": Port("image", doc="of the size asked")}),
    impl="anyany_transforms.resize:Resize",
    weights=False,
    tiny={"width": 16},
)

ROLLOUT = card(
    "transforms/rollout",
    role="transform",
    about="A node called again and again on what it gave: a forecast made of steps.",
    config=RolloutConfig,
    calls=_one(
        "roll",
        {"first": Port("any", doc="where it begins"), "step": Port("node", doc="what makes a step: {of: NODE}")},
        {"values": Port("any*", doc="what each step gave, in order")},
    ),
    impl="anyany_transforms.rollout:Rollout",
    weights=False,
    tiny={"steps": 2},
)


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """The components of this family."""
    return [PICK, FIRST, MESSAGE, MEAN, CONCATENATE, RESIZE, ROLLOUT, *branch_cards.CARDS, *search_cards.CARDS]
