"""Stub cards for the components that the paper sketches name: ports, lists and places, no implementation.

`registry()` gives a registry that holds them alone, a namespace a plugin.
"""

from __future__ import annotations

from typing import Any

from plugins_for_tests.paper_media import (
    ALL,
    AUDIO,
    VIDEO,
    VISION,
    Backbone,
    D,
    Widths,
    adapter,
    backbone_calls,
    call,
    codebook,
    diffusion,
    encoder,
    stub,
)

from anyany.api.v1 import Call, Card, Config, Port, hookimpl, option, var
from anyany.registry.registry import Registry


class Width(Config):
    width: int | None = option(None)


def text_encoder(config: Width, facts: Any) -> dict[str, Call]:
    size = config.width if config.width is not None else var("width")
    return {"encode": call({"text": Port("text")}, {"features": Port("features", "N D", D=size)})}


def xattn(config: Any, facts: Any) -> dict[str, Call]:
    takes = {"message": Port("message")}
    takes |= {k: Port("features", "N D", D=D, per="message") for k in ("image", "video")}
    return {"generate": call(takes, {"reply": Port("message"), "text": Port("text")})}


LANGUAGE = [
    stub("language/causal-lm", "backbone", backbone_calls, Backbone),
    stub("language/gated-xattn", "backbone", xattn),
    stub(
        "language/transfusion",
        "backbone",
        {
            "generate": call(
                {"message": Port("message"), "image": Port("latent", "C H W", per="message")},
                {
                    "reply": Port("message", open=True),
                    "text": Port("text"),
                    "image": Port("latent*", "C H W", per="reply", space="of:image"),
                },
            )
        },
    ),
    stub(
        "language/openai-chat",
        "backbone",
        {
            "generate": call(
                {"message": Port("message", native=("image", "audio"))},
                {"reply": Port("message"), "text": Port("text")},
            )
        },
        weights=False,
    ),
    stub("language/text-encoder", "encoder", text_encoder, Width),
]
ADAPTERS = [
    stub("adapters/linear", "adapter", adapter),
    stub("adapters/mlp", "adapter", adapter),
    stub("adapters/signal-projection", "adapter", adapter),
    stub("adapters/im2text", "adapter", adapter),
    stub(
        "adapters/resampler",
        "adapter",
        {
            "resample": call(
                {"features": Port("features?", "N D", D=D), "frames": Port("features*?", "N D", D=D)},
                {"features": Port("features", "M E", E=var("out"))},
            )
        },
    ),
    stub(
        "adapters/qformer",
        "adapter",
        {
            "encode": call(
                {"features": Port("features", "N D", D=D)}, {"queries": Port("features", "Q E", E=var("out"))}
            ),
            "match": call({"features": Port("features", "N D", D=D), "text": Port("text")}, {"scores": Port("scores")}),
        },
    ),
    stub(
        "adapters/anyres",
        "adapter",
        {
            "merge": call(
                {"tiles": Port("features*", "N D", D=D), "places": Port("boxes")},
                {"features": Port("features", "N D", D=D)},
            )
        },
    ),
    stub(
        "adapters/feature-mixture",
        "adapter",
        {
            "mix": call(
                {"features": Port("features*", "N D", D=D)},
                {"features": Port("features", "N D", D=D)},
            )
        },
    ),
]
TOKENIZERS = [
    stub("tokenizers/seed", "tokenizer", codebook("image", "tokens", "features")),
    stub("tokenizers/kl-vae", "tokenizer", codebook("image", "latent")),
    stub("tokenizers/vq", "tokenizer", codebook("image", "tokens")),
]


def perceiver(config: Any, facts: Any) -> dict[str, Call]:
    kinds = {"video": Port("video"), "audio": Port("audio?"), "label": Port("label?")}
    return {"encode": call(kinds, {"video": Port("video"), "audio": Port("audio"), "label": Port("label")})}


class PerceiverConfig(Config):
    inputs: list[str] = option([])
    queries: list[str] = option([])


PERCEIVER = [
    stub("perceiver/io", "backbone", perceiver, PerceiverConfig),
    stub("perceiver/flow", "backbone", {"flow": call({"frames": Port("image*")}, {"flow": Port("field")})}),
]
IMAGE_HEADS = [
    stub("image_heads/diffusion", "decoder", diffusion("image"), Widths),
    stub("image_heads/unclip", "decoder", diffusion("image"), Widths),
    stub("image_heads/var", "decoder", diffusion("image"), Widths),
    stub("image_heads/mar", "decoder", diffusion("image"), Widths),
    stub("image_heads/vq-ar", "decoder", diffusion("image"), Widths),
    stub(
        "image_heads/unclip-prior",
        "decoder",
        {
            "prior": call(
                {"text": Port("embedding", "D", D=D), "words": Port("features?")},
                {"embedding": Port("embedding", "D", D=D)},
            )
        },
    ),
]
GROUNDING = [
    stub(
        "grounding/box-text",
        "transform",
        {
            "write": call({"message": Port("message", native=ALL)}, {"message": Port("message")}),
            "parse": call({"text": Port("text"), "images": Port("image*")}, {"boxes": Port("boxes")}),
        },
        weights=False,
    ),
    stub(
        "grounding/region-sampler",
        "adapter",
        {
            "sample": call(
                {"regions": Port("boxes*"), "features": Port("features*", "N D", D=D)},
                {"features": Port("features*", "N D", ties="regions", D=D)},
            )
        },
    ),
    stub(
        "grounding/box-codec",
        "decoder",
        {
            "decode": call(
                {"features": Port("features", "N D", D=D), "image": Port("image")}, {"boxes": Port("boxes")}
            ),
            "encode": call({"boxes": Port("boxes")}, {"features": Port("features", "N D", D=D)}),
        },
    ),
    stub(
        "grounding/sam",
        "encoder",
        {
            "encode": encoder("image"),
            "segment": call(
                {
                    "features": Port("features"),
                    "prompt": Port("features?"),
                    "box": Port("boxes?"),
                    "image": Port("image"),
                },
                {"mask": Port("mask")},
            ),
        },
    ),
]


class Steps(Config):
    steps: int | None = option(None)


def aurora(config: Steps, facts: Any) -> dict[str, Call]:
    return {"step": call({"field": Port("field")}, {"field": Port("field*" if config.steps else "field")})}


class Route(Config):
    to: list[str] = option([])


def route(config: Route, facts: Any) -> dict[str, Call]:
    return {"route": call({"value": Port("any"), "label": Port("label")}, {k: Port("any?") for k in config.to})}


class Pick(Config):
    which: str = option("last")


MEDIA = "image|audio|video|text"
TRANSFORMS = [
    stub(
        "transforms/zero-shot",
        "transform",
        {
            "guess": call(
                {"embedding": Port("embedding", "D"), "labels": Port("embedding*", "D"), "names": Port("text*")},
                {"label": Port("label"), "scores": Port("scores")},
            )
        },
        weights=False,
    ),
    stub(
        "transforms/prompts",
        "transform",
        {"fill": call({"text": Port("text")}, {"texts": Port("text*")})},
        weights=False,
    ),
    stub(
        "transforms/mean", "transform", {"mean": call({"values": Port("any*")}, {"mean": Port("any")})}, weights=False
    ),
    stub(
        "transforms/search",
        "transform",
        {
            "find": call(
                {"query": Port("embedding*"), "keys": Port("embedding*"), "items": Port(MEDIA + "*")},
                {"hits": Port(MEDIA + "*"), "scores": Port("scores")},
            )
        },
        weights=False,
    ),
    stub(
        "transforms/windows",
        "transform",
        {
            "cut": call(
                {"audio": Port("audio")},
                {"windows": Port("audio*"), "places": Port("spans")},
            )
        },
        weights=False,
    ),
    stub(
        "transforms/join-spans",
        "transform",
        {
            "join": call(
                {"spans": Port("spans*"), "places": Port("spans")},
                {"spans": Port("spans"), "text": Port("text")},
            )
        },
        weights=False,
    ),
    stub(
        "transforms/message",
        "transform",
        {
            "join": call(
                {"message": Port("message", native=ALL)},
                {"message": Port("message")},
            )
        },
        weights=False,
    ),
    stub(
        "transforms/pick",
        "transform",
        {"pick": call({"values": Port("any*")}, {"value": Port("any?")})},
        Pick,
        weights=False,
    ),
    stub(
        "transforms/rollout",
        "transform",
        {
            "roll": call(
                {"first": Port("any"), "step": Port("node")},
                {"values": Port("any*")},
            )
        },
        Steps,
        weights=False,
    ),
    stub("transforms/route", "transform", route, Route, weights=False),
    stub(
        "transforms/first",
        "transform",
        {
            "first": call(
                {"a": Port("any?"), "b": Port("any?")},
                {"value": Port("any")},
            )
        },
        weights=False,
    ),
]
FIELDS = [stub("fields/aurora", "backbone", aurora, Steps)]

CARDS = [
    *VISION,
    *AUDIO,
    *VIDEO,
    *LANGUAGE,
    *ADAPTERS,
    *TOKENIZERS,
    *PERCEIVER,
    *IMAGE_HEADS,
    *GROUNDING,
    *TRANSFORMS,
    *FIELDS,
]


class Plugin:
    """A plugin object with the cards of one namespace."""

    def __init__(self, cards: list[Card]) -> None:
        self.cards = cards

    @hookimpl
    def anyany_cards(self) -> list[Card]:
        return self.cards


def registry(cards: list[Card] | None = None) -> Registry:
    """A registry with these cards alone (default: all stubs)."""
    found = Registry(path=(), cache=False)
    chosen = CARDS if cards is None else cards
    for namespace in dict.fromkeys(c.namespace for c in chosen):
        found.add(namespace, Plugin([c for c in chosen if c.namespace == namespace]))
    return found
