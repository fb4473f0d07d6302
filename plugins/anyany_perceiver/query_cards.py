"""Cards of Perceiver's encoder and of its query decoders. Torch-free.

Implementations: `encoder.py`, `classify.py`, `queries.py`, `at.py`, `bytes.py`.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Batching, Call, Config, Facts, Port, card, json, option, tensor, var
from anyany_perceiver.input_cards import IO, PERCEIVER, check_bounds

KRASSERM = "krasserm/perceiver-io"
LATENT_FACTS = {
    "latents": [json("num_latents"), tensor("*embeddings.latents"), tensor("0.latent_provider._query")],
    "width": [json("d_latents"), tensor("*embeddings.latents", axis=1), tensor("0.latent_provider._query", axis=1)],
}
READ = [
    tensor("*decoding_cross_attention.attention.self.layernorm2.weight"),
    tensor("1.cross_attn.0.module.kv_norm.weight"),
    tensor("*decoder.classifier.weight", axis=1),
]


class LatentConfig(Config):
    """Perceiver's latent transformer; a checkpoint's config.json overrides the sizes that it names."""

    latents: int = option(512, low=1, doc="rows of the learned array")
    width: int = option(1024, low=1, doc="values of each")
    blocks: int = option(8, low=1, doc="how often the block of self-attention runs")
    layers: int = option(6, low=1, doc="layers of a block")
    heads: int = option(8, low=1, doc="heads of self-attention")
    cross_heads: int = option(1, low=1, doc="heads of the look at the inputs")
    looks: int = option(1, low=1, doc="blocks, from the first on, that begin with a look at the inputs")
    share_looks: bool = option(True, doc="one set of weights for all looks; false: later ones share a second")
    share_blocks: bool = option(True, doc="one set of weights for all blocks; false: later ones share a second")
    qk: int | None = option(None, low=1, doc="width of queries and keys (by `attention`)")
    values: int | None = option(None, low=1, doc="width of values (that of the keys)")
    attention: str = option(
        "kv", choices=("kv", "q"), doc="whose width a look's queries and keys take: inputs or latents"
    )
    widening: int = option(1, low=1, doc="feed-forward width of self-attention layers over their width")
    cross_widening: int = option(1, low=1, doc="the same of the looks")
    residual: bool = option(True, doc="a look adds to the latents")

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % self.cross_heads:
            raise ValueError(f"width {self.width} does not divide by {self.heads} and {self.cross_heads} heads")
        for name in ("qk", "values"):
            own = getattr(self, name)
            if own is not None and (own % self.heads or own % self.cross_heads):
                raise ValueError(f"{name} {own} does not divide by {self.heads} and {self.cross_heads} heads")
        if self.values is not None and self.values != self.width:
            raise ValueError(f"values {self.values} are added to latents of width {self.width}; make them alike")
        if self.looks > self.blocks:
            raise ValueError(f"{self.looks} looks, but only {self.blocks} blocks to begin with one")


TINY_LATENTS = {"latents": 6, "width": 16, "blocks": 2, "layers": 1, "heads": 2, "cross_heads": 1, "qk": None,
                "values": None}  # fmt: skip


class EncoderConfig(LatentConfig):
    """Perceiver's encoder; the defaults are those of the vision models."""

    inputs: int | None = option(None, low=1, doc="width of what it looks at (solved when not given)")


def encoder_calls(config: Any, facts: Any) -> dict[str, Call]:
    taken = config.inputs or facts.known("inputs") or var("inputs")
    width, count = facts.known("width") or config.width, facts.known("latents") or config.latents
    takes = {"features": Port("features", "N C", C=taken, doc="an array of any length, positions in it")}
    gives = {"latents": Port("features", "M D", M=count, D=width, space="self", doc="what the queries read")}
    return {"encode": Call(takes=takes, gives=gives, batching=Batching(max_rows=16, cost="length"))}


LANGUAGE = {"latents": 256, "width": 1280, "blocks": 1, "layers": 26, "heads": 8, "cross_heads": 8, "qk": 256,
            "values": 1280}  # fmt: skip
ENCODER = card(
    "perceiver/encoder",
    role="backbone",
    about="Perceiver's encoder: inputs of any length and kind become a fixed set of latents, at linear cost.",
    source=f"{PERCEIVER}; {IO}; {KRASSERM}",
    config=EncoderConfig,
    calls=encoder_calls,
    facts=Facts(
        inputs=[tensor("*encoder.cross_attention.attention.self.layernorm2.weight"),
                tensor("0.cross_attn_1.0.module.kv_norm.weight")],
        **LATENT_FACTS,
    ),
    ignores=("*decoder.*", "*input_preprocessor.*", "*output_postprocessor.*", "0.input_adapter.*", "1.*"),
    tiny={**TINY_LATENTS, "looks": 2, "share_looks": False},
    presets={
        "original": {"looks": 8, "share_looks": False},
        "language": LANGUAGE,
        "plus-plus": {**LANGUAGE, "width": 1536, "layers": 40, "values": 1536},
    },
    impl="anyany_perceiver.encoder:Encoder",
)  # fmt: skip


class ClassifyConfig(Config):
    """A class query; the defaults are those of the vision models."""

    latents: int | None = option(None, low=1, doc="width of the latents (solved when not given)")
    pooled: bool = option(False, doc="no query: the mean of the latents, as in the original Perceiver")
    width: int | None = option(None, low=1, doc="width of the query (that of the latents)")
    classes: int | None = option(None, low=1, doc="classes (the checkpoint's, as many as `names`, or 1000)")
    names: tuple[str, ...] = option((), doc="names of the classes, in order")
    heads: int = option(1, low=1, doc="attention heads")
    residual: bool = option(
        True, doc="the answer adds to the query; false for the original of vision-perceiver-learned"
    )
    attention: str = option("kv", choices=("kv", "q"), doc="whose width queries and keys take: latents or query")
    top: int = option(5, low=0, doc="classes in `scores` (0: all)")

    def __post_init__(self) -> None:
        check_names(self.names, self.classes)


def check_names(names: tuple[str, ...], classes: int | None) -> None:
    """Raise ValueError where there are other names than classes, or a name twice."""
    if names and classes not in (None, len(names)):
        raise ValueError(f"{len(names)} names for {classes} classes")
    if len(set(names)) != len(names):
        raise ValueError("a class has the name of another")


def _latents(config: Any, facts: Any) -> dict[str, Port]:
    width = config.latents or facts.known("latents") or var("latents")
    return {"latents": Port("features", "M D", D=width, doc="of `perceiver/encoder`, or any features")}


def _answers() -> dict[str, Port]:
    return {
        "label": Port("label", doc="the likeliest"),
        "scores": Port("scores", doc="probabilities, the likeliest first"),
    }


def classify_calls(config: Any, facts: Any) -> dict[str, Call]:
    latents = _latents(config, facts)
    wanted = {"target": Port("label", doc="the right class, by number or name")}
    return {
        "classify": Call(takes=latents, gives=_answers(), teach="learn"),
        "learn": Call(takes={**latents, **wanted}, gives={"loss": Port("loss", doc="cross-entropy")}),
    }


CLASSIFY = card(
    "perceiver/classify",
    role="decoder",
    about="A class from Perceiver's latents, by one learned query or from their mean.",
    source=f"{IO}; {KRASSERM}",
    config=ClassifyConfig,
    calls=classify_calls,
    facts=Facts(
        latents=READ,
        query=[tensor("*decoder.output_position_encodings.position_embeddings", axis=1),
               tensor("1.output_query_provider._query", axis=1)],
        classes=[tensor("*decoder.final_layer.weight"), tensor("*decoder.classifier.weight"),
                 tensor("1.output_adapter.linear.weight")],
    ),
    tiny={"names": ("circle", "square", "ring")},
    impl="anyany_perceiver.classify:Classify",
)  # fmt: skip


class QueriesConfig(Config):
    """Learned queries."""

    latents: int | None = option(None, low=1, doc="width of the latents (solved when not given)")
    outputs: int | None = option(None, low=1, doc="width given (solved when not given)")
    queries: int = option(77, low=1, doc="learned queries, the length of the output")
    width: int | None = option(None, low=1, doc="width of a query (that of the latents)")
    heads: int = option(1, low=1, doc="attention heads")
    residual: bool = option(False, doc="answers add to the queries")


def queries_calls(config: Any, facts: Any) -> dict[str, Call]:
    given = config.outputs or facts.known("outputs") or var("outputs", 768)
    gives = {"features": Port("features", "Q K", Q=config.queries, K=given, space="self", doc="a vector a query")}
    return {"decode": Call(takes=_latents(config, facts), gives=gives)}


QUERIES = card(
    "perceiver/queries",
    role="decoder",
    about="Learned queries read Perceiver's latents to any width: conditions for any head.",
    source=IO,
    config=QueriesConfig,
    calls=queries_calls,
    facts=Facts(latents=READ, outputs=[tensor("*decoder.final_layer.weight")]),
    tiny={"queries": 4, "width": 16},
    impl="anyany_perceiver.queries:Queries",
)


class AtConfig(Config):
    """Queries at positions."""

    latents: int | None = option(None, low=1, doc="width of the latents (solved when not given)")
    outputs: int | None = option(None, low=1, doc="values of an answer (solved when not given)")
    resolution: tuple[int, ...] = option(
        (64, 64), doc="of the grid, an entry an axis; also what the highest band is for"
    )
    bands: int = option(64, low=1, doc="Fourier bands an axis")
    bounds: tuple[float, ...] = option((-1.0, 1.0), doc="low and high of the coordinates asked for")
    heads: int = option(1, low=1, doc="attention heads")
    residual: bool = option(False, doc="answers add to the queries")
    chunk: int = option(16384, low=1, doc="queries at a time")

    def __post_init__(self) -> None:
        check_bounds(self.bounds)
        if not self.bounds:
            raise ValueError("bounds are needed: places asked for have no extent of their own")
        if not self.resolution or min(self.resolution) < 1:
            raise ValueError("resolution is a size an axis, such as [64, 64]")


def at_calls(config: Any, facts: Any) -> dict[str, Call]:
    given = config.outputs or facts.known("outputs") or var("outputs", 1)
    features = {"features": Port("features", "Q K", K=given, doc="an answer a place, in the order asked")}
    asked = f"places of {len(config.resolution)} coordinates"
    latents = _latents(config, facts)
    calls = {"decode": Call(takes={**latents, "at": Port("points|features?", doc=f"{asked} (the whole grid)")},
                            gives=features)}  # fmt: skip
    if given == 1:
        calls["choose"] = Call(takes={**latents, "at": Port("points|features", doc=asked)}, gives=_answers())
    return calls


AT = card(
    "perceiver/at",
    role="decoder",
    about="What Perceiver's latents say at any positions: a grid, or chosen places alone.",
    source=IO,
    config=AtConfig,
    calls=at_calls,
    facts=Facts(latents=READ, outputs=[tensor("*decoder.final_layer.weight")]),
    tiny={"resolution": (6, 5), "bands": 2, "outputs": 1, "bounds": (-1.0, 9.0), "chunk": 7},
    impl="anyany_perceiver.at:At",
)


class BytesConfig(Config):
    """Texts, byte by byte; the defaults are those of language-perceiver, whose config.json overrides them."""

    latents: int | None = option(None, low=1, doc="width of the latents (solved when not given)")
    width: int = option(768, low=1, doc="values a position")
    vocab: int = option(262, low=7, doc="tokens known: 256 bytes and six marks; others come with a tokenizer.json")
    positions: int = option(2048, low=3, doc="longest text in bytes, its two marks counted")
    query_heads: int = option(8, low=1, doc="attention heads of the queries")
    query_width: int = option(256, low=1, doc="width of the queries' attention")

    def __post_init__(self) -> None:
        if self.query_width % self.query_heads or self.width % self.query_heads:
            raise ValueError(
                f"width {self.width} and query_width {self.query_width} divide by {self.query_heads} heads"
            )


def bytes_calls(config: Any, facts: Any) -> dict[str, Call]:
    width = facts.known("width") or config.width
    text = {"text": Port("text", doc="what to fill: a [MASK] a byte")}
    asks = {**_latents(config, facts), **text}
    filled = {"text": Port("text", doc="the same, filled"), "scores": Port("scores", doc="at the first [MASK]")}
    return {
        "embed": Call(takes={"text": Port("text")}, gives={"features": Port("features", "N C", C=width, space="self")}),
        "fill": Call(takes=asks, gives=filled, teach="learn"),
        "learn": Call(takes={**asks, "target": Port("text", doc="the whole text")}, gives={"loss": Port("loss")}),
    }


BYTES = card(
    "perceiver/bytes",
    role="decoder",
    about="Perceiver IO's masked language model over bytes: text as input, and the bytes under each [MASK].",
    source=IO,
    config=BytesConfig,
    calls=bytes_calls,
    facts=Facts(latents=READ, width=[json("d_model"), tensor("*input_preprocessor.embeddings.weight", axis=1)]),
    tiny={"width": 16, "positions": 64, "query_heads": 2, "query_width": 8},
    presets={"base": {"vocab": 32000, "positions": 512}},
    impl="anyany_perceiver.bytes:Bytes",
)

CARDS = [ENCODER, CLASSIFY, QUERIES, AT, BYTES]
