"""Card of tagged prompts: media that a text-only model asks for. Torch-free; the implementation is `tagged.py`."""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Call, Config, Port, card, option

ALL = ("image", "audio", "video", "boxes", "points", "mask")


class TaggedConfig(Config):
    """Words between tags of a kind, such as <image>a red fox</image>."""

    kinds: tuple[str, ...] = option(("image", "audio", "video"), doc="kinds that may be asked for")
    most: dict[str, int] = option({}, per_item=True, doc="how many of a kind a reply holds at most")

    def __post_init__(self) -> None:
        strange = [k for k in self.most if k not in self.kinds]
        if strange or not self.kinds:
            raise ValueError(f"`most` names {strange[0]}, which is none of `kinds`" if strange else "`kinds` is empty")


def tagged_calls(config: Any, facts: Any) -> dict[str, Call]:
    prompts = {kind: Port("text*", per="reply", doc=f"the words of each {kind}") for kind in config.kinds}
    return {
        "split": Call(
            takes={"message": Port("message", doc="a reply with tags")},
            gives={
                "reply": Port("message", open=True, doc="its text and, where tags were, places"),
                "text": Port("text", doc="its text without what is between tags"),
                **prompts,
            },
        ),
        "write": Call(
            takes={"message": Port("message", native=ALL, doc="a conversation")},
            gives={"message": Port("message", doc="the same, what the assistant made as words between tags")},
        ),
    }


TAGGED = card(
    "language/tagged",
    role="transform",
    about="Media asked for in words between tags, by any model that writes text; and produced media as such words.",
    source="Visual ChatGPT (Wu et al. 2023, arXiv 2303.04671) and tool calls in general",
    config=TaggedConfig,
    calls=tagged_calls,
    weights=False,
    tiny={},
    impl="anyany_language.tagged:Tagged",
)

CARDS = [TAGGED]
