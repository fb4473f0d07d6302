"""Cards of adapters/feature-mixture, adapters/im2text, adapters/anyres and adapters/grouping. Torch-free.

Implementations: feature_mixture.py, im2text.py, anyres.py, grouping.py.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Call, Card, Config, Facts, Port, card, option, tensor, var


class FeatureMixtureConfig(Config):
    """How two views of the same patches become one."""

    how: str = option("interleaved", choices=("interleaved", "additive"), doc="side by side, or a weighted sum")
    alpha: float = option(0.5, low=0.0, high=1.0, doc="additive: weight of the second stream (DINO's in the paper)")


MIXTURE = card(
    "adapters/feature-mixture",
    role="adapter",
    about="The same patches seen by two encoders as one sequence: interleaved, or added.",
    source="Eyes Wide Shut (Tong et al. 2024, arXiv 2401.06209); tsb0601/MMVP",
    config=FeatureMixtureConfig,
    calls={
        "mix": Call(
            takes={"features": Port("features*", "N D", D=var("width"), doc="the streams, CLIP's first")},
            gives={"features": Port("features", "M D", D=var("width"), doc="the mixture")},
        )
    },
    impl="anyany_adapters.feature_mixture:FeatureMixture",
    weights=False,
    tiny={},
)


class Im2TextConfig(Config):
    """Pic2Word's mapping network; defaults are the released one's."""

    inputs: int | None = option(None, low=1, doc="width of the image embedding (solved from the neighbour)")
    outputs: int | None = option(None, low=1, doc="width of the text tower's tokens (solved from the neighbour)")
    middle: int = option(512, low=1, doc="width of the hidden layers")
    layers: int = option(2, low=0, doc="hidden layers")
    dropout: float = option(0.1, low=0.0, high=1.0, doc="dropout while learning")


def im2text_calls(config: Any, facts: Any) -> dict[str, Call]:
    known_in = config.inputs or facts.known("inputs") or var("inputs", 768)
    known_out = config.outputs or facts.known("outputs") or var("outputs", 768)
    return {
        "translate": Call(
            takes={"embedding": Port("embedding", "D", D=known_in, doc="CLIP's, not normalised")},
            gives={"word": Port("embedding", "E", E=known_out, doc="a pseudo-word for the text tower")},
        )
    }


IM2TEXT = card(
    "adapters/im2text",
    role="adapter",
    about="A picture's embedding becomes one word for CLIP's text tower.",
    source="Pic2Word (Saito et al. 2023, arXiv 2302.03084); google-research/composed_image_retrieval",
    config=Im2TextConfig,
    calls=im2text_calls,
    facts=Facts(
        inputs=[tensor("*layers.0.0.weight", axis=1)],
        outputs=[tensor("*fc_out.weight", axis=0)],
        middle=[tensor("*fc_out.weight", axis=1)],
    ),
    tiny={"middle": 16},
    impl="anyany_adapters.im2text:Im2Text",
)


class AnyresConfig(Config):
    """LLaVA-1.6's merging of tiles (spatial_unpad)."""

    width: int | None = option(None, low=1, doc="features a token (solved from the neighbours when not given)")


def anyres_calls(config: Any, facts: Any) -> dict[str, Call]:
    width = config.width or facts.known("width") or var("width", 512)
    return {
        "merge": Call(
            takes={
                "tiles": Port("features*", "N D", D=width, doc="features of the base view, then of each tile"),
                "places": Port("boxes", doc="where each tile lies in the picture (vision/tiles)"),
            },
            gives={"features": Port("features", "M D", D=width, doc="base view, then the grid line by line")},
        )
    }


ANYRES = card(
    "adapters/anyres",
    role="adapter",
    about="Tile features back on their grid, margins cut, a learned newline after each line.",
    source="LLaVA-1.6 (Liu et al. 2024), spatial_unpad; haotian-liu/LLaVA",
    config=AnyresConfig,
    calls=anyres_calls,
    facts=Facts(width=[tensor("*image_newline", axis=0)]),
    tiny={},
    impl="anyany_adapters.anyres:Anyres",
)


class GroupingConfig(Config):
    """NExT-GPT's grouping projector; defaults are the released one's."""

    inputs: int | None = option(None, low=1, doc="width taken (solved from the neighbour when not given)")
    outputs: int | None = option(None, low=1, doc="width given (solved from the neighbour when not given)")
    inner: int = option(512, low=2, doc="width inside")
    heads: int = option(8, low=1, doc="attention heads")
    depths: tuple[int, ...] = option((6, 3, 3), doc="blocks of each stage")
    groups: tuple[int, ...] = option((64, 8, 0), doc="group tokens of each stage (0: none)")
    made: tuple[int, ...] = option(
        (), doc="groups that each stage makes, where they are not as many as its group tokens"
    )


def grouping_calls(config: Any, facts: Any) -> dict[str, Call]:
    known_in = config.inputs or facts.known("inputs") or var("inputs", 1024)
    known_out = config.outputs or facts.known("outputs") or var("outputs", 512)
    made = [g for g in config.made or config.groups if g]
    return {
        "group": Call(
            takes={"features": Port("features|embedding", "... D", D=known_in, doc="tokens of a medium, or one")},
            gives={"features": Port("features", "G E", G=made[-1] if made else None, E=known_out, doc="its groups")},
        )
    }


GROUPING = card(
    "adapters/grouping",
    role="adapter",
    about="Any number of tokens of a medium becomes a few, each token going to its best group.",
    source="NExT-GPT (Wu et al. 2024, arXiv 2309.05519); GroupViT (Xu et al. 2022, arXiv 2202.11094)",
    config=GroupingConfig,
    calls=grouping_calls,
    facts=Facts(inputs=[tensor("*in_fc.weight", axis=1)], outputs=[tensor("*out_fc.weight", axis=0)]),
    tiny={"inner": 16, "heads": 2, "depths": (1, 1, 1), "groups": (6, 3, 0)},
    impl="anyany_adapters.grouping:Grouping",
)

CARDS: list[Card] = [MIXTURE, IM2TEXT, ANYRES, GROUPING]
