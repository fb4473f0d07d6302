"""Cards of the causal language models: spliced features, or gated cross-attention. Torch-free.

Implementations: `causal_lm.py`, `gated_xattn.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from anyany.api.v1 import Batching, Call, Config, Facts, Port, card, json, option, tensor, var


class LanguageModelConfig(Config):
    """A decoder-only language model of transformers; a checkpoint's config.json overrides the sizes."""

    arch: str = option("llama", doc="transformers' model_type, for models without a checkpoint")
    width: int | None = option(None, low=1, doc="hidden width (random models; the checkpoint's otherwise)")
    layers: int = option(16, low=1, doc="blocks of a model without a checkpoint")
    heads: int = option(16, low=1, doc="attention heads of a model without a checkpoint")
    kv_heads: int | None = option(None, low=1, doc="key-value heads of a model without a checkpoint")
    vocab: int | None = option(None, low=8, doc="vocabulary of a model without a checkpoint")
    mlp: int | None = option(None, low=1, doc="feed-forward width of a model without a checkpoint")
    settings: dict[str, Any] = option({}, doc="further entries of transformers' config, without a checkpoint")
    context: int = option(4096, low=8, doc="longest sequence of a model without a checkpoint")
    template: str = option(
        "auto", choices=("auto", "plain", "chatml", "human"), doc="chat template: the tokenizer's own, or one of these"
    )
    system: str = option("", per_item=True, doc="system prompt put before the message")
    max_new_tokens: int = option(256, per_item=True, low=1, doc="longest reply in tokens")
    temperature: float = option(0.0, per_item=True, low=0.0, doc="0 is greedy")
    top_k: int = option(0, per_item=True, low=0, doc="sample among the k likeliest (0: all)")
    top_p: float = option(1.0, per_item=True, low=0.0, high=1.0, doc="sample within this probability mass")
    produce: tuple[str, ...] | None = option(
        None, per_item=True, doc="the kinds that a reply holds, in order and no others; null: the model decides"
    )
    most: dict[str, int] = option({}, per_item=True, doc="how many of a kind a reply holds at most")
    threshold: float = option(
        0.0, per_item=True, low=0.0, high=1.0, doc="how likely the beginning of a medium must be for it to begin"
    )


class CausalLmConfig(LanguageModelConfig):
    """Any decoder-only language model of transformers, with media at places of its prompts and replies."""

    inputs: tuple[str, ...] = option(
        ("image", "audio", "video"), doc="kinds whose features are spliced in at their places"
    )
    signals: dict[str, int] = option({}, doc="kinds it may ask for and how many signal tokens each takes")
    signal_names: dict[str, str] = option({}, doc='their names where they are not NExT-GPT\'s first: "<image_{:02d}>"')
    signal_separator: str = option("", doc="a token between two signal tokens (a space in NExT-GPT's second release)")
    signal_state: str = option(
        "hidden", choices=("hidden", "sum"), doc="what a signal carries: hidden states, or these plus input embeddings"
    )
    look_again: bool = option(
        True, doc="what it produced in earlier turns is read again, behind the signals it came of"
    )
    order: tuple[str, ...] = option(
        (), doc="kinds in which the parts of a user's turn are read, as LLaVA's [image, text]; as written where empty"
    )
    codebooks: tuple[str, ...] | dict[str, dict[str, Any]] = option(
        (), doc="kinds whose tokens it reads and writes; of each: codes, length, turns, begin, end, token, read"
    )
    new_tokens: str = option(
        "refuse",
        choices=("refuse", "mean"),
        doc="tokens that no checkpoint has rows for: an error, or rows to be trained",
    )
    marks: dict[str, tuple[str, str]] = option({}, doc="text before and after each medium of a kind in the prompt")
    beams: int = option(1, low=1, doc="beam search width (through transformers' generate)")
    stop: tuple[str, ...] = option((), doc="further strings of one token that end the reply")

    def __post_init__(self) -> None:
        books = codebook_settings(self)
        both = sorted(set(self.signals) & set(books))
        if both:
            raise ValueError(f"{both[0]} is in `signals` and in `codebooks`; a kind is asked for in one way")
        for name, given in (("produce", self.produce or ()), ("most", self.most), ("signal_names", self.signal_names)):
            strange = [k for k in given if k not in {*self.signals, *(books if name != "signal_names" else ())}]
            if strange:
                raise ValueError(f"`{name}` names {strange[0]}, which is in neither `signals` nor `codebooks`")
        if len({*self.order}) < len(self.order):
            raise ValueError("`order` names a kind twice")
        if any(n < 1 for n in self.signals.values()):
            raise ValueError("a signal takes at least one token")


CODEBOOK = {"codes": None, "length": None, "turns": None, "begin": "", "end": "", "token": "", "read": "tokens"}


def codebook_settings(config: Any) -> dict[str, dict[str, Any]]:
    """By kind: codes (size of the codebook), length in codes (a number, or the least and the most), turns (equal parts
    of the codebook that codes come from in turn), names of tokens, read (what media are in prompts: tokens, features).

    Raises ValueError for what cannot be.
    """
    given = config.codebooks
    found = {}
    for kind in given:
        told = dict(given[kind]) if isinstance(given, Mapping) else {}
        strange = [k for k in told if k not in CODEBOOK]
        if strange:
            raise ValueError(f"a codebook has no {strange[0]!r}; it has {', '.join(CODEBOOK)}")
        made = {**CODEBOOK, "begin": f"<{kind}>", "end": f"</{kind}>", **told}
        made["token"] = made["token"] or f"<{kind}_{{}}>"
        _check_codebook(kind, made)
        found[kind] = made
    return found


def _check_codebook(kind: str, told: Mapping[str, Any]) -> None:
    length = told["length"]
    pair = [length, length] if isinstance(length, int) else length
    if pair is not None and (not isinstance(pair, (list, tuple)) or len(pair) != 2
                             or not all(isinstance(n, int) and n >= 1 for n in pair) or pair[0] > pair[1]):  # fmt: skip
        raise ValueError(f"the length of {kind} is a number of codes, or the least and the most, not {length!r}")
    for name in ("codes", "turns"):
        if told[name] is not None and (not isinstance(told[name], int) or told[name] < 1):
            raise ValueError(f"`{name}` of the codebook of {kind} is a number from 1, not {told[name]!r}")
    if not told["begin"] or (not told["end"] and pair is not None and pair[0] != pair[1]):
        raise ValueError(f"the codebook of {kind} wants a `begin`, and an `end` where its length varies")
    try:
        named = told["token"].format(0) != told["token"].format(1)
    except (AttributeError, IndexError, KeyError, ValueError):
        named = False
    if not named:
        raise ValueError(f"`token` of the codebook of {kind} is a name with a place for a code, as <img_{{:05d}}> is")
    if told["read"] not in ("tokens", "features"):
        raise ValueError(f"media of {kind} are read as tokens or features, not {told['read']!r}")


def causal_lm_calls(config: Any, facts: Any) -> dict[str, Call]:
    width, books = facts.width, codebook_settings(config)
    tokens = {kind: _tokens(kind, told) for kind, told in books.items()}
    read = [kind for kind, told in books.items() if told["read"] == "tokens"]

    def message_ports() -> dict[str, Port]:
        ports = {"message": Port("message", doc="text with media at their places; turns make a conversation")}
        for kind in config.inputs:
            ports[kind] = Port("features|embedding?", "... D", D=width, per="message", doc=f"features at each {kind}")
        for kind in read:
            ports[kind] = Port("tokens?", per="message", doc=f"tokens of each {kind}", **tokens[kind])
        return ports

    between = 2 if config.signal_separator else 1
    signals = {
        kind: Port("features*", "N D", N=between * (count - 1) + 1, D=width, per="reply",
                   doc=f"states of a signal for {kind}")
        for kind, count in config.signals.items()
    }  # fmt: skip
    signals |= {
        kind: Port("tokens*", per="reply", space=f"of:{kind}" if kind in read else None, doc=f"codes of {kind}",
                   **sizes)
        for kind, sizes in tokens.items()
    }  # fmt: skip
    written = (*config.signals, *books)
    target = {
        "target": Port("message", native=written, doc="the reply to be learned; tokens that pad are not"),
        "read": Port("message?", native=written, doc="what is read in its place while it is learned, token by token"),
    }
    target |= {f"target_{kind}": Port("tokens*?", doc=f"tokens of each {kind} of it, in order", **sizes)
               for kind, sizes in tokens.items()}  # fmt: skip
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


def _tokens(kind: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """Length, vocabulary and turns of a kind's tokens: told, or to be solved. A length that varies is left open."""
    length = told["length"]
    sizes = {} if isinstance(length, (list, tuple)) else {"N": length or var(f"{kind}_length")}
    turns = told["turns"] or var(f"{kind}_turns", 1)
    return {"axes": "N", **sizes, "vocab": told["codes"] or var(f"{kind}_codes"), "turns": turns}


def _loose(signals: Mapping[str, Port]) -> dict[str, Port]:
    """In training the signals are lists of their own: there is no reply to fill. Codes are what was given."""
    return {
        kind: Port("features*", "N D", N=port.sizes["N"], D=port.sizes.get("D"), doc=port.doc)
        for kind, port in signals.items()
        if "features" in port.kinds
    }


CAUSAL_LM = card(
    "language/causal-lm",
    role="backbone",
    about="A decoder-only language model: a message in, a reply out, other modalities by signals or as its own tokens.",
    source="transformers' causal language models; signals: NExT-GPT (Wu et al. 2024, arXiv 2309.05519); codebooks: "
    "SEED-LLaMA (arXiv 2310.01218), AnyGPT (arXiv 2402.12226)",
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.codebooks:
            raise ValueError("cross-attention looks at features; `codebooks` are for language/causal-lm")


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
