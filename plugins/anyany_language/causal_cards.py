"""Cards of the causal language models: spliced features, or gated cross-attention. Torch-free.

Implementations: `causal_lm.py`, `gated_xattn.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from anyany.api.v1 import Batching, Call, Config, Facts, Port, card, json, option, tensor, var


class CausalLmConfig(Config):
    """Any decoder-only language model of transformers; a checkpoint's config.json overrides the sizes."""

    arch: str = option("llama", doc="transformers' model_type, for models without a checkpoint")
    width: int | None = option(None, low=1, doc="hidden width (random models; the checkpoint's otherwise)")
    layers: int = option(16, low=1, doc="blocks of a model without a checkpoint")
    heads: int = option(16, low=1, doc="attention heads of a model without a checkpoint")
    kv_heads: int | None = option(None, low=1, doc="key-value heads of a model without a checkpoint")
    vocab: int | None = option(None, low=8, doc="vocabulary of a model without a checkpoint")
    mlp: int | None = option(None, low=1, doc="feed-forward width of a model without a checkpoint")
    settings: dict[str, Any] = option({}, doc="further entries of transformers' config, without a checkpoint")
    context: int = option(4096, low=8, doc="longest sequence of a model without a checkpoint")
    inputs: tuple[str, ...] = option(
        ("image", "audio", "video"), doc="kinds whose features are spliced in at their places"
    )
    signals: dict[str, int] = option({}, doc="kinds it may ask for and how many signal tokens each takes")
    template: str = option(
        "auto", choices=("auto", "plain", "chatml"), doc="chat template: the tokenizer's own, or one of these"
    )
    system: str = option("", per_item=True, doc="system prompt put before the message")
    max_new_tokens: int = option(256, per_item=True, low=1, doc="longest reply in tokens")
    temperature: float = option(0.0, per_item=True, low=0.0, doc="0 is greedy")
    top_k: int = option(0, per_item=True, low=0, doc="sample among the k likeliest (0: all)")
    top_p: float = option(1.0, per_item=True, low=0.0, high=1.0, doc="sample within this probability mass")
    beams: int = option(1, low=1, doc="beam search width (through transformers' generate)")
    stop: tuple[str, ...] = option((), doc="further strings of one token that end the reply")


def causal_lm_calls(config: Any, facts: Any) -> dict[str, Call]:
    width = facts.width

    def message_ports() -> dict[str, Port]:
        ports = {"message": Port("message", doc="text with media at their places; turns make a conversation")}
        for kind in config.inputs:
            ports[kind] = Port("features|embedding?", "... D", D=width, per="message", doc=f"features at each {kind}")
        return ports

    signals = {
        kind: Port("features*", "N D", N=count, D=width, per="reply", doc=f"hidden states of a signal for {kind}")
        for kind, count in config.signals.items()
    }
    target = {"target": Port("message", native=tuple(config.signals), doc="the reply to be learned")}
    return {
        "generate": Call(
            takes=message_ports(),
            gives={
                "reply": Port("message", open=bool(signals), doc="text and, at their places, what was asked for"),
                "text": Port("text", doc="the text of the reply alone"),
                **signals,
            },
            teach="learn",
            batching=Batching(max_rows=32, cost="length"),
        ),
        "learn": Call(
            takes={**message_ports(), **target},
            gives={"loss": Port("loss", doc="mean cross-entropy of the target's tokens"), **_loose(signals)},
            batching=Batching(max_rows=64),
        ),
    }


def _loose(signals: Mapping[str, Port]) -> dict[str, Port]:
    """In training the signals are lists of their own: there is no reply to fill."""
    return {
        kind: Port("features*", "N D", N=port.sizes["N"], D=port.sizes.get("D"), doc=port.doc)
        for kind, port in signals.items()
    }


CAUSAL_LM = card(
    "language/causal-lm",
    role="backbone",
    about="A decoder-only language model: a message in, a reply out, other modalities asked for by signal tokens.",
    source="transformers' causal language models; signals: NExT-GPT (Wu et al. 2024, arXiv 2309.05519)",
    config=CausalLmConfig,
    calls=causal_lm_calls,
    facts=Facts(
        width=[json("config.hidden_size"), json("hidden_size"), json("n_embd"), json("text_config.hidden_size"),
               tensor("*embed_tokens.weight", axis=1),
               tensor("*wte.weight", axis=1)],
    ),
    tiny={"width": 32, "layers": 2, "heads": 4, "context": 1024, "max_new_tokens": 12},
    impl="anyany_language.causal_lm:CausalLm",
)  # fmt: skip


class GatedXattnConfig(CausalLmConfig):
    """A language model with Flamingo's gated cross-attention; the defaults are those of OpenFlamingo-3B."""

    every: int = option(1, low=1, doc="a block before every so many layers (OpenFlamingo: 1, 2 and 4)")
    visual: int | None = option(None, low=1, doc="width of what it looks at (solved when not given)")
    xattn_heads: int = option(8, low=1, doc="heads of the cross-attention")
    dim_head: int = option(64, low=1, doc="width of such a head")
    factor: int = option(4, low=1, doc="feed-forward width of a block over the model's")
    attend: str = option("last", choices=("last", "all"), doc="text sees the medium before it, or all before it")


def gated_xattn_calls(config: Any, facts: Any) -> dict[str, Call]:
    visual = config.visual or facts.known("visual") or var("visual", 1024)
    calls = causal_lm_calls(config, facts)
    return {name: replace(call, takes={p: _looked_at(port, visual) for p, port in call.takes.items()})
            for name, call in calls.items()}  # fmt: skip


def _looked_at(port: Port, visual: Any) -> Port:
    if port.per is None:
        return port
    return Port("features|embedding?", "... V", V=visual, per=port.per, doc=port.doc)


GATED_XATTN = card(
    "language/gated-xattn",
    role="backbone",
    about="A frozen language model that looks at media through gated cross-attention between its layers.",
    source="Flamingo (Alayrac et al. 2022, arXiv 2204.14198); mlfoundations/open_flamingo; NVLM-X (arXiv 2409.11402)",
    config=GatedXattnConfig,
    calls=gated_xattn_calls,
    facts=Facts(
        width=[json("hidden_size"), json("n_embd"), tensor("*gated_cross_attn_layer.attn.to_out.weight")],
        visual=[tensor("*gated_cross_attn_layer.attn.to_kv.weight", axis=1)],
    ),
    tiny={"width": 32, "layers": 2, "heads": 4, "context": 1024, "max_new_tokens": 12, "xattn_heads": 2, "dim_head": 8},
    impl="anyany_language.gated_xattn:GatedXattnLm",
)

CARDS = [CAUSAL_LM, GATED_XATTN]
