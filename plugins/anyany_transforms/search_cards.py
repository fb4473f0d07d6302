"""Cards of transforms/zero-shot, transforms/prompts, transforms/search and transforms/index. Torch-free.

Implementations: zero_shot.py, prompts.py, search.py, index.py.
"""

from __future__ import annotations

from anyany.api.v1 import Call, Card, Config, Port, card, option, var

MEDIA = "image|audio|video|text"
D = var("width")


class ZeroShotConfig(Config):
    """How cosines become probabilities."""

    scale: float = option(100.0, low=0.0, doc="what cosines are multiplied by: CLIP's exp(logit_scale)")


ZERO_SHOT = card(
    "transforms/zero-shot",
    role="transform",
    about="The name whose embedding lies nearest, with a probability for each.",
    source="CLIP (Radford et al. 2021, arXiv 2103.00020)",
    config=ZeroShotConfig,
    calls={
        "guess": Call(
            takes={
                "embedding": Port("embedding", "D", D=D, doc="what is to be named"),
                "labels": Port("embedding*", "D", D=D, doc="the names' embeddings"),
                "names": Port("text*", doc="the names, in the same order"),
            },
            gives={"label": Port("label", doc="the likeliest name"), "scores": Port("scores", doc="probabilities")},
        )
    },
    impl="anyany_transforms.zero_shot:ZeroShot",
    weights=False,
    tiny={},
)


class PromptsConfig(Config):
    """The sentences."""

    templates: tuple[str, ...] = option(
        (
            "a photo of a {}.", "a bad photo of the {}.", "an origami {}.", "a photo of the large {}.",
            "a {} in a video game.", "art of the {}.", "a photo of the small {}.",
        ), doc="sentences; {} is the text",
    )  # fmt: skip


PROMPTS = card(
    "transforms/prompts",
    role="transform",
    about="A name put into several sentences.",
    source="CLIP (Radford et al. 2021, arXiv 2103.00020), section 3.1.4; the seven sentences of its notebook",
    config=PromptsConfig,
    calls={"fill": Call(takes={"text": Port("text")}, gives={"texts": Port("text*")})},
    impl="anyany_transforms.prompts:Prompts",
    weights=False,
    tiny={},
)


class SearchConfig(Config):
    """How many, and how several queries are meant."""

    top: int = option(5, per_item=True, low=1, doc="how many items are wanted")
    how: str = option("mean", choices=("mean", "best"), doc="several queries: all of them together, or any of them")


SEARCH = card(
    "transforms/search",
    role="transform",
    about="The items nearest to a query, exactly, by cosine; several queries are composed.",
    config=SearchConfig,
    calls={
        "find": Call(
            takes={
                "query": Port("embedding*", "D", D=D, doc="what is looked for"),
                "keys": Port("embedding*", "D", D=D, doc="an embedding of each item"),
                "items": Port(f"{MEDIA}*", doc="the items"),
            },
            gives={
                "hits": Port(f"{MEDIA}*", doc="the best, in order"),
                "scores": Port("scores", doc="their cosines, by place among the items"),
            },
        )
    },
    impl="anyany_transforms.search:Search",
    weights=False,
    tiny={},
)


class IndexConfig(SearchConfig):
    """Where the index lies, and how it is searched."""

    folder: str = option("", doc="folder of the index; without one it lasts as long as the run")


INDEX = card(
    "transforms/index",
    role="transform",
    about="Embeddings of many files on disk; `add` fills it, `find` gives the names nearest to a query.",
    config=IndexConfig,
    calls={
        "find": Call(
            takes={"query": Port("embedding*", "D", D=D, doc="what is looked for")},
            gives={"names": Port("text*", doc="the best, in order"), "scores": Port("scores", doc="their cosines")},
        ),
        "add": Call(
            takes={"keys": Port("embedding*", "D", D=D), "names": Port("text*", doc="a name for each key")},
            gives={"count": Port("text", doc="how many were added or replaced")},
        ),
    },
    impl="anyany_transforms.index:Index",
    weights=False,
    tiny={},
)

CARDS: list[Card] = [ZERO_SHOT, PROMPTS, SEARCH, INDEX]
