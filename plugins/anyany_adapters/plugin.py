"""Cards of namespace `adapters`: what fits one component's features to the next. Torch-free.

Implementations are in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyany.api.v1 import Call, Card, Config, Facts, Port, card, hookimpl, option, tensor, var
from anyany_adapters import picture_cards, query_cards, set_cards


class LinearConfig(Config):
    """One linear layer."""

    inputs: int | None = option(None, low=1, doc="width taken (solved from the neighbour when not given)")
    outputs: int | None = option(None, low=1, doc="width given (solved from the neighbour when not given)")
    bias: bool = option(True, doc="add a bias")


class MlpConfig(Config):
    """Linear layers with an activation between them; the defaults are those of LLaVA-1.5's projector."""

    inputs: int | None = option(None, low=1, doc="width taken (solved from the neighbour when not given)")
    hidden: int | None = option(None, low=1, doc="width between the layers (the output width when not given)")
    outputs: int | None = option(None, low=1, doc="width given (solved from the neighbour when not given)")
    depth: int = option(2, low=1, high=8, doc="number of linear layers")
    act: str = option("gelu", choices=("gelu", "relu"), doc="activation between them (NExT-Chat's prompts: relu)")


def _project(config: Any, facts: Any) -> dict[str, Call]:
    """Any features in, features of another width out; the same kind and length."""
    known_in = config.inputs or facts.known("inputs") or var("inputs", 512)
    known_out = config.outputs or facts.known("outputs") or var("outputs", 512)
    return {
        "project": Call(
            takes={"features": Port("features|embedding", "... D", D=known_in)},
            gives={"features": Port("features|embedding", "... E", E=known_out)},
        )
    }


LINEAR = card(
    "adapters/linear",
    role="adapter",
    about="One linear layer between the widths of its neighbours.",
    source="LLaVA (Liu et al. 2023, arXiv 2304.08485)",
    config=LinearConfig,
    calls=_project,
    facts=Facts(inputs=[tensor("*weight", axis=1)], outputs=[tensor("*weight", axis=0)]),
    impl="anyany_adapters.linear:LinearAdapter",
    tiny={},
)

MLP = card(
    "adapters/mlp",
    role="adapter",
    about="Two linear layers with GELU between the widths of its neighbours.",
    source="LLaVA-1.5 mm_projector mlp2x_gelu (Liu et al. 2023, arXiv 2310.03744)",
    config=MlpConfig,
    calls=_project,
    facts=Facts(
        inputs=[tensor("*0.weight", axis=1)],
        outputs=[tensor("*2.weight", axis=0)],
        hidden=[tensor("*0.weight", axis=0)],
    ),
    impl="anyany_adapters.mlp:MlpAdapter",
    tiny={},
)


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """The components of this family."""
    return [LINEAR, MLP, *query_cards.CARDS, *set_cards.CARDS, *picture_cards.CARDS]
