"""Cards of the Set Transformer's blocks. Torch-free; the implementation is `set_transformer.py`.

A whole Set Transformer is a chain of them: isab, isab, pma, sab, sab, linear (`pipelines/set-transformer.yaml`).
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Call, Config, Facts, Port, card, option, tensor, var

SOURCE = "Set Transformer (Lee et al. 2019, arXiv 1810.00825); juho-lee/set_transformer"


class SetConfig(Config):
    """A block of the Set Transformer; the defaults are the authors'."""

    inputs: int | None = option(None, low=1, doc="width of the set's vectors (solved when not given)")
    outputs: int | None = option(None, low=1, doc="width given (solved when not given)")
    heads: int = option(4, low=1, doc="attention heads; they split the width given")
    norm: bool = option(False, doc="layer norms after attention and after the feed-forward layer")


class MabConfig(SetConfig):
    """Attention of one set to another."""

    keys: int | None = option(None, low=1, doc="width of the vectors asked (solved when not given)")


class IsabConfig(SetConfig):
    """Self-attention through learned points."""

    points: int = option(32, low=1, doc="learned inducing points")


class PmaConfig(SetConfig):
    """Pooling by attention."""

    seeds: int = option(1, low=1, doc="learned seeds, the vectors given")


def _wide(config: Any, facts: Any, name: str) -> Any:
    return getattr(config, name) or facts.known(name) or var(name, 128)


def _set_calls(config: Any, facts: Any) -> dict[str, Call]:
    return {
        "transform": Call(
            takes={"features": Port("features", "N D", D=_wide(config, facts, "inputs"), doc="a set")},
            gives={
                "features": Port("features", "N E", E=_wide(config, facts, "outputs"), doc="the set, each in its place")
            },
        )
    }


def _mab_calls(config: Any, facts: Any) -> dict[str, Call]:
    return {
        "attend": Call(
            takes={
                "features": Port("features", "Q D", D=_wide(config, facts, "inputs"), doc="the set that asks"),
                "keys": Port("features", "K F", F=_wide(config, facts, "keys"), doc="the set that is asked"),
            },
            gives={
                "features": Port("features", "Q E", E=_wide(config, facts, "outputs"), doc="a vector for each asker")
            },
        )
    }


def _pma_calls(config: Any, facts: Any) -> dict[str, Call]:
    wide = config.outputs or _wide(config, facts, "inputs")
    return {
        "pool": Call(
            takes={"features": Port("features", "N D", D=wide, doc="a set")},
            gives={"features": Port("features", "M D", M=config.seeds, D=wide, doc="what was pooled")},
        )
    }


MAB = card(
    "adapters/mab", role="adapter", about="Multihead attention of one set to another.", source=SOURCE, config=MabConfig,
    calls=_mab_calls, tiny={"heads": 2}, impl="anyany_adapters.set_transformer:Mab",
    facts=Facts(inputs=[tensor("fc_q.weight", axis=1)], keys=[tensor("fc_k.weight", axis=1)],
                outputs=[tensor("fc_o.weight")]),
)  # fmt: skip
SAB = card(
    "adapters/sab", role="adapter", about="Self-attention over a set.", source=SOURCE, config=SetConfig,
    calls=_set_calls, tiny={"heads": 2}, impl="anyany_adapters.set_transformer:Sab",
    facts=Facts(inputs=[tensor("mab.fc_q.weight", axis=1)], outputs=[tensor("mab.fc_o.weight")]),
)  # fmt: skip
ISAB = card(
    "adapters/isab", role="adapter", about="Self-attention over a set through learned points; linear in its size.",
    source=SOURCE, config=IsabConfig, calls=_set_calls, tiny={"heads": 2, "points": 4},
    impl="anyany_adapters.set_transformer:Isab",
    facts=Facts(inputs=[tensor("mab0.fc_k.weight", axis=1)], outputs=[tensor("mab0.fc_o.weight")]),
)  # fmt: skip
PMA = card(
    "adapters/pma", role="adapter", about="A set pooled into a few vectors by attention from learned seeds.",
    source=SOURCE, config=PmaConfig, calls=_pma_calls, tiny={"heads": 2, "seeds": 2},
    impl="anyany_adapters.set_transformer:Pma", facts=Facts(inputs=[tensor("mab.fc_o.weight")]),
)  # fmt: skip

CARDS = [MAB, SAB, ISAB, PMA]
