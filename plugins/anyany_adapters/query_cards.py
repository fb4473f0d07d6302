"""Cards of the adapters that read features with learned queries: Q-Former, resampler, signal projection. Torch-free.

Implementations: `qformer.py`, `resampler.py`, `signal_projection.py`.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Call, Config, Facts, Port, card, option, tensor, var


class QFormerConfig(Config):
    """BLIP-2's Q-Former; the defaults are those of every released checkpoint."""

    layout: str = option("lavis", choices=("lavis", "transformers"),
                         doc="whose names the checkpoint has; LAVIS's also hold the tower's last norm")  # fmt: skip
    text: bool = option(False, doc="stage 1: the text branch, with matching, comparing and captioning")
    project: bool = option(True, doc="stage 2: a linear layer to the width of the neighbour")
    inputs: int | None = option(None, low=1, doc="width of the features (solved when not given)")
    outputs: int | None = option(None, low=1, doc="width given by `project` (solved when not given)")
    queries: int = option(32, low=1, doc="learned queries, the length of the output")
    width: int = option(768, low=1, doc="width inside")
    layers: int = option(12, low=1, doc="BERT layers")
    heads: int = option(12, low=1, doc="attention heads")
    mlp: int | None = option(None, low=1, doc="feed-forward width (4 x width)")
    every: int = option(2, low=1, doc="every how many layers the queries look at the features")
    vocab: int = option(30523, low=8, doc="rows of the word embedding (BERT uncased and [DEC])")
    positions: int = option(512, low=4, doc="longest text in tokens")
    embed: int = option(256, low=1, doc="width of the contrastive vectors")
    max_new_tokens: int = option(30, low=1, doc="longest caption in tokens")


def qformer_calls(config: Any, facts: Any) -> dict[str, Call]:
    taken = config.inputs or facts.known("inputs") or var("inputs", 1408)
    given = (config.outputs or facts.known("outputs") or var("outputs", 2560)) if config.project else config.width

    def features() -> dict[str, Port]:
        return {"features": Port("features", "N D", D=taken, doc="image features, before the tower's last norm")}

    def both() -> dict[str, Port]:
        return {**features(), "text": Port("text", doc="a caption")}

    calls = {
        "encode": Call(
            takes=features(), gives={"queries": Port("features", "Q E", Q=config.queries, E=given, doc="what they saw")}
        )
    }
    if config.text:
        calls |= {
            "match": Call(takes=both(), gives={"scores": Port("scores", doc="the probability of a match")}),
            "compare": Call(takes=both(), gives={"scores": Port("scores", doc="cosine, the best over queries")}),
        }
    if config.text and config.layout == "lavis":  # transformers' has no word head
        calls |= {
            "caption": Call(takes=features(), gives={"text": Port("text", doc="a caption")}, teach="learn"),
            "learn": Call(takes=both(), gives={"loss": Port("loss", doc="of captioning")}),
        }
    return calls


QFORMER = card(
    "adapters/qformer",
    role="adapter",
    about="BLIP-2's Q-Former: a few learned queries read image features, for a language model or for scores.",
    source="BLIP-2 (Li et al. 2023, arXiv 2301.12597); salesforce/LAVIS; transformers Blip2QFormerModel",
    config=QFormerConfig,
    calls=qformer_calls,
    facts=Facts(
        inputs=[tensor("*layer.0.crossattention.*.key.weight", axis=1)],
        outputs=[tensor("opt_proj.weight"), tensor("t5_proj.weight"), tensor("llm_proj.weight"),
                 tensor("language_projection.weight")],
    ),
    ignores=("visual_encoder.*", "vision_model.*", "opt_model.*", "t5_model.*", "llm_model.*", "language_model.*"),
    tiny={"queries": 4, "width": 32, "layers": 2, "heads": 2, "vocab": 261, "positions": 64, "embed": 16,
          "max_new_tokens": 6},
    impl="anyany_adapters.qformer:QFormer",
)  # fmt: skip


class ResamplerConfig(Config):
    """Flamingo's Perceiver resampler; the defaults are those of every OpenFlamingo checkpoint."""

    inputs: int | None = option(None, low=1, doc="width of the features (solved when not given)")
    outputs: int | None = option(None, low=1, doc="width given by `project` (solved when not given)")
    project: bool = option(False, doc="a linear layer to the width of the neighbour; official checkpoints have none")
    depth: int = option(6, low=1, doc="layers")
    dim_head: int = option(64, low=1, doc="width of a head")
    heads: int = option(8, low=1, doc="attention heads")
    latents: int = option(64, low=1, doc="learned latents, the length of the output")
    factor: int = option(4, low=1, doc="feed-forward width over the width")
    max_frames: int = option(0, low=0, doc="learned times of so many frames (0: none)")
    max_media: int = option(0, low=0, doc="learned times of so many media of a sequence (0: none)")


def resampler_calls(config: Any, facts: Any) -> dict[str, Call]:
    taken = config.inputs or facts.known("inputs") or var("inputs", 1024)
    given = (config.outputs or facts.known("outputs") or var("outputs", 2048)) if config.project else taken
    return {
        "encode": Call(
            takes={
                "features": Port("features?", "N D", D=taken, doc="a picture's features"),
                "frames": Port("features*?", "N D", D=taken, doc="the features of a film's frames"),
            },
            gives={"latents": Port("features", "M E", M=config.latents, E=given, doc="the medium, of one length")},
        )
    }


RESAMPLER = card(
    "adapters/resampler",
    role="adapter",
    about="Flamingo's Perceiver resampler: a picture or film of any length becomes a fixed set of latents.",
    source="Flamingo (Alayrac et al. 2022, arXiv 2204.14198); mlfoundations/open_flamingo",
    config=ResamplerConfig,
    calls=resampler_calls,
    facts=Facts(inputs=[tensor("latents", axis=1)], outputs=[tensor("projection.weight")]),
    tiny={"depth": 2, "dim_head": 8, "heads": 2, "latents": 4},
    impl="anyany_adapters.resampler:PerceiverResampler",
)


class SignalProjectionConfig(Config):
    """NExT-GPT's output projection; the defaults are those of its image projection."""

    mode: str = option("transformer", choices=("transformer", "qformer"), doc="encoder-decoder, or Q-Former")
    inputs: int | None = option(None, low=1, doc="width of the signal's states (solved when not given)")
    outputs: int | None = option(None, low=1, doc="width of the conditioning (solved when not given)")
    queries: int | None = option(None, low=1, doc="length of the conditioning (solved when not given)")
    width: int = option(512, low=1, doc="width inside")
    heads: int = option(4, low=1, doc="attention heads")
    encoder: int = option(4, low=1, doc="encoder layers (transformer mode)")
    decoder: int = option(4, low=1, doc="decoder layers, or layers of the Q-Former")
    mlp: int | None = option(None, low=1, doc="feed-forward width (4 x width)")


def signal_projection_calls(config: Any, facts: Any) -> dict[str, Call]:
    taken = config.inputs or facts.known("inputs") or var("inputs", 4096)
    queries = config.queries or facts.known("queries") or var("queries", 77)
    given = config.outputs or facts.known("outputs") or var("outputs", 768)

    return {
        "project": Call(
            takes={"features": Port("features", "K D", D=taken, doc="a signal's states")},
            gives={"features": Port("features", "Q E", Q=queries, E=given, doc="conditioning of a decoder")},
        )
    }


SIGNAL_PROJECTION = card(
    "adapters/signal-projection",
    role="adapter",
    about="NExT-GPT's output projection: the states of a signal become a decoder's conditioning.",
    source="NExT-GPT (Wu et al. 2024, arXiv 2309.05519); NExT-GPT/NExT-GPT, first and current release",
    config=SignalProjectionConfig,
    calls=signal_projection_calls,
    facts=Facts(
        inputs=[tensor("fc.weight", axis=1), tensor("in_fc.weight", axis=1)],
        outputs=[tensor("model.weight"), tensor("out_fc.weight")],
        queries=[tensor("query_embs", axis=1), tensor("query_tokens", axis=1)],
    ),
    tiny={"width": 32, "heads": 4, "encoder": 1, "decoder": 1},
    presets={"qformer": {"mode": "qformer", "width": 768, "heads": 12, "decoder": 2}},
    impl="anyany_adapters.signal_projection:SignalProjection",
)

CARDS = [QFORMER, RESAMPLER, SIGNAL_PROJECTION]
