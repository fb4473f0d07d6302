"""Cards of what the miniature's parts are taught with. Torch-free; implementations are in `lessons.py`."""

from __future__ import annotations

from anyany.api.v1 import Call, Config, Port, card, option

RECORD = {"read": Call(takes={}, gives={"record": Port("text", doc="a record's words")})}


class CaptionsConfig(Config):
    """Captions of the miniature world."""

    n: int = option(100_000, low=1, doc="how many captions, the same ones every epoch")
    seed: int = option(0, low=0, high=999_999, doc="another seed, other captions")


CAPTIONS = card(
    "mini/captions",
    role="source",
    about="Captions of the miniature world: fields caption and slots, the classes that each of eight slots must say.",
    config=CaptionsConfig,
    calls=RECORD,
    weights=False,
    tiny={"n": 8},
    impl="anyany_mini.lessons:Captions",
)


class TurnsConfig(Config):
    """Conversations about pictures and sentences."""

    n: int = option(100_000, low=1, doc="how many conversations, the same ones every epoch")
    seed: int = option(0, low=0, high=999_999, doc="another seed, other conversations")
    about: str = option("all", choices=("all", "text", "pictures"), doc="text: no picture; pictures: one in each")
    strange: float = option(0.4, low=0, high=1, doc="share of pictures with a colour or shape outside the palette")
    misread: float = option(0.4, low=0, high=1, doc="share of sizes, colours and shapes that are read as others")
    rough: bool = option(True, doc="noise and blur on the pictures")


TURNS = card(
    "mini/turns",
    role="source",
    about="Conversations of the miniature world in words and pictures: fields prompt, reply, read, drawn and cells.",
    config=TurnsConfig,
    calls=RECORD,
    weights=False,
    tiny={"n": 8},
    impl="anyany_mini.lessons:Turns",
)

CARDS = [CAPTIONS, TURNS]
