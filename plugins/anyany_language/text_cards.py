"""Cards of text backbones and encoders: masked language models, encoder-decoders, remote chat servers. Torch-free.

Implementations: `masked_lm.py`, `seq2seq.py`, `text_encoder.py`, `openai_chat.py`.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Config, Facts, Port, card, json, option, var


class MaskedLmConfig(Config):
    """Any masked language model of transformers; defaults are BERT-base; a checkpoint's config.json overrides."""

    arch: str = option("bert", doc="transformers' model_type, for models without a checkpoint")
    width: int = option(768, low=1, doc="features a position")
    layers: int = option(12, low=1, doc="blocks")
    heads: int = option(12, low=1, doc="attention heads a block")
    mlp: int | None = option(None, low=1, doc="feed-forward width (4 x width)")
    vocab: int = option(30522, low=8, doc="rows of the word embedding")
    positions: int = option(512, low=4, doc="longest text in tokens")
    settings: dict[str, Any] = option({}, doc="further entries of transformers' config, without a checkpoint")


def masked_lm_calls(config: Any, facts: Any) -> dict[str, Call]:
    width = facts.known("width") or config.width
    text = {"text": Port("text", doc="a text; `fill` wants [MASK] in it")}
    return {
        "encode": Call(
            takes=text,
            gives={
                "features": Port("features", "N D", D=width, space="self", doc="a vector a token"),
                "cls": Port("embedding", "D", D=width, space="self", doc="the first position"),
            },
        ),
        "fill": Call(takes=text, gives={"text": Port("text"), "scores": Port("scores", doc="at the first [MASK]")},
                     teach="learn"),
        "learn": Call(takes={**text, "target": Port("text", doc="the whole text")}, gives={"loss": Port("loss")}),
    }  # fmt: skip


MASKED_LM = card(
    "language/masked-lm",
    role="backbone",
    about="A masked language model: features of a text, or words for its masks.",
    source="BERT (Devlin et al. 2019, arXiv 1810.04805); transformers' masked language models",
    config=MaskedLmConfig,
    calls=masked_lm_calls,
    facts=Facts(width=[json("hidden_size")]),
    tiny={"width": 32, "layers": 2, "heads": 2, "vocab": 264, "positions": 256},
    impl="anyany_language.masked_lm:MaskedLm",
)


class Seq2SeqConfig(Config):
    """Any encoder-decoder of transformers; the defaults are T5-base, a checkpoint's config.json overrides them."""

    arch: str = option("t5", doc="transformers' model_type (t5, mt5), for models without a checkpoint")
    width: int = option(768, low=1, doc="features a position")
    layers: int = option(12, low=1, doc="blocks of the encoder, and as many of the decoder")
    heads: int = option(12, low=1, doc="attention heads a block")
    mlp: int | None = option(None, low=1, doc="feed-forward width (4 x width)")
    inputs: tuple[str, ...] = option(("image", "audio", "video"), doc="kinds whose features stand at their places")
    context: int = option(4096, low=8, doc="longest prompt in tokens")
    max_new_tokens: int = option(256, per_item=True, low=1, doc="longest reply in tokens")
    temperature: float = option(0.0, per_item=True, low=0.0, doc="0 is greedy")
    top_k: int = option(0, per_item=True, low=0, doc="sample among the k likeliest (0: all)")
    top_p: float = option(1.0, per_item=True, low=0.0, high=1.0, doc="sample within this probability mass")
    beams: int = option(1, low=1, doc="beam search width; more than one samples nothing")
    settings: dict[str, Any] = option({}, doc="further entries of transformers' config, without a checkpoint")


def seq2seq_calls(config: Any, facts: Any) -> dict[str, Call]:
    width = facts.known("width") or config.width
    takes = {"message": Port("message", doc="text with media at their places")}
    for kind in config.inputs:
        takes[kind] = Port("features|embedding?", "... D", D=width, per="message", doc=f"features at each {kind}")
    return {
        "generate": Call(takes=takes, gives={"reply": Port("message"), "text": Port("text", doc="the reply's text")},
                         teach="learn", batching=Batching(max_rows=32, cost="length")),
        "learn": Call(takes={**takes, "target": Port("text", doc="to be learned")}, gives={"loss": Port("loss")}),
    }  # fmt: skip


SEQ2SEQ = card(
    "language/seq2seq",
    role="backbone",
    about="An encoder-decoder: a message with features at its places in, a text out.",
    source="T5 (Raffel et al. 2020, arXiv 1910.10683); transformers' encoder-decoders",
    config=Seq2SeqConfig,
    calls=seq2seq_calls,
    facts=Facts(width=[json("d_model")]),
    tiny={"width": 32, "layers": 2, "heads": 2, "max_new_tokens": 8},
    impl="anyany_language.seq2seq:Seq2Seq",
)


class TextEncoderConfig(Config):
    """Any text encoder of transformers; the defaults are CLIP L/14's; a checkpoint's config.json overrides them."""

    arch: str = option("clip_text_model", doc="transformers' model_type (t5, bert, …), without a checkpoint")
    width: int | None = option(None, low=1, doc="features a position (solved when not given)")
    layers: int = option(12, low=1, doc="blocks")
    heads: int = option(12, low=1, doc="attention heads a block")
    mlp: int | None = option(None, low=1, doc="feed-forward width (4 x width)")
    vocab: int = option(49408, low=8, doc="rows of the word embedding")
    context: int = option(77, low=4, doc="longest text in tokens, where the architecture does not say it")
    length: int = option(0, low=0, doc="pad every text to so many tokens and give them all (0: each text's own)")
    pool: str = option("own", choices=("own", "first", "last", "mean"), doc="which state is the embedding")
    settings: dict[str, Any] = option({}, doc="further entries of transformers' config, without a checkpoint")


def text_encoder_calls(config: Any, facts: Any) -> dict[str, Call]:
    width = facts.known("width") or config.width or var("width", 768)
    axes = {"N": config.length} if config.length else {}
    gives = {
        "features": Port("features", "N D", D=width, space="self", doc="a vector a token", **axes),
        "embedding": Port("embedding", "D", D=width, space="self", doc="of the whole text"),
    }
    return {"encode": Call(takes={"text": Port("text")}, gives=gives, batching=Batching(max_rows=64, cost="length"))}


TEXT_ENCODER = card(
    "language/text-encoder",
    role="encoder",
    about="A text as features and one vector: CLIP's text tower, T5's encoder, BERT and kin.",
    source="transformers' text encoders: CLIP (arXiv 2103.00020), T5 (arXiv 1910.10683), BERT (arXiv 1810.04805)",
    config=TextEncoderConfig,
    calls=text_encoder_calls,
    facts=Facts(width=[json("text_config.hidden_size"), json("hidden_size"), json("d_model")]),
    tiny={"width": 32, "layers": 2, "heads": 2, "vocab": 264, "context": 128},
    impl="anyany_language.text_encoder:TextEncoder",
)


class OpenAiChatConfig(Config):
    """A chat server; its key comes from the environment."""

    url: str = option("http://localhost:8000/v1", doc="the server's address, up to and with /v1")
    model: str = option("default", doc="the model's name there")
    key_env: str = option("OPENAI_API_KEY", doc="environment variable that holds the key (unset: none is sent)")
    system: str = option("", per_item=True, doc="system prompt put before the message")
    max_new_tokens: int = option(512, per_item=True, low=1, doc="longest reply in tokens")
    temperature: float = option(0.0, per_item=True, low=0.0, doc="0 is greedy")
    seed: int | None = option(None, doc="seed for servers that take one")
    stream: bool = option(True, doc="ask for words as they come where somebody watches")
    timeout: float = option(120.0, low=0.1, doc="seconds to wait for an answer")
    retries: int = option(4, low=0, doc="further tries when the server is busy or fails")
    wait: float = option(1.0, low=0.0, doc="seconds before the first of them; it doubles")


OPENAI_CHAT = card(
    "language/openai-chat",
    role="backbone",
    about="Any OpenAI-compatible chat server as a backbone; text, pictures and sound in, text out.",
    source="OpenAI's chat completions, as vLLM, llama.cpp and others serve them",
    config=OpenAiChatConfig,
    calls={
        "generate": Call(
            takes={"message": Port("message", native=("image", "audio"), doc="text, pictures and sound; turns")},
            gives={"reply": Port("message", doc="the answer"), "text": Port("text", doc="its text")},
            batching=Batching(max_rows=1),
        )
    },
    weights=False,
    runtime="remote",
    deterministic=False,
    concurrency=8,
    tiny={"retries": 0},
    impl="anyany_language.openai_chat:OpenAiChat",
)

CARDS = [MASKED_LM, SEQ2SEQ, TEXT_ENCODER, OPENAI_CHAT]
