"""Cards of namespace `mini`: records of the miniature world; its models are made of the other families' components.

The namespace also gives `bundle:mini/NAME`, the weights shipped in `weights/NAME`. Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence

from anyany.api.v1 import Call, Card, Config, Port, card, hookimpl, option


class ScenesConfig(Config):
    """Scenes of the miniature world; no training scene shows one of the six unseen pairs of colour and shape."""

    n: int = option(2000, low=1, doc="how many scenes, the same ones every epoch")
    seed: int = option(0, low=0, high=999_999, doc="another seed, other scenes; evaluation's are never among them")
    split: str = option("seen", choices=("seen", "unseen", "any"), doc="pairs of colour and shape that may occur")


SCENES = card(
    "mini/scenes",
    role="source",
    about="Pictures of the miniature world with captions: fields picture, caption, prompt, question, answer.",
    config=ScenesConfig,
    calls={"read": Call(takes={}, gives={"record": Port("text", doc="a record as JSON, without its picture")})},
    weights=False,
    tiny={"n": 8},
    impl="anyany_mini.scenes:Scenes",
)


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """The components of this family."""
    return [SCENES]
