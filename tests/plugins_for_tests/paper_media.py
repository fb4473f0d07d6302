"""Stub cards of the paper sketches, first part: what sees, hears and draws, and the helpers to declare ports.

Ports, lists and places only; nothing is implemented.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyany.api.v1 import Call, Card, Config, NoConfig, Port, card, option, var

ALL = ("image", "audio", "video", "boxes", "points", "mask")
D = var("width")


def call(takes: Mapping[str, Port], gives: Mapping[str, Port]) -> Call:
    return Call(takes=takes, gives=gives)


def stub(name: str, role: str, calls: Any, config: type[Config] = NoConfig, weights: bool = True) -> Card:
    return card(name, role=role, calls=calls, config=config, impl="nowhere:Nothing", weights=weights)


class Widths(Config):
    n: int | None = option(None)
    cond: int | None = option(None)
    guidance: float = option(1.0, per_item=True)
    strength: float = option(1.0)


class Backbone(Config):
    signals: dict[str, int] = option({})
    codebooks: list[str] = option([])
    inputs: list[str] = option(["image", "audio", "video", "boxes"])


def backbone_calls(config: Backbone, facts: Any) -> dict[str, Call]:
    takes = {"message": Port("message")}
    for kind in config.inputs:
        takes[kind] = Port("features|embedding|tokens", "... D", D=D, per="message")
    gives = {"reply": Port("message", open=bool(config.signals or config.codebooks)), "text": Port("text")}
    for kind, count in config.signals.items():
        gives[kind] = Port("features*", "N D", N=count, D=D, per="reply")
    for kind in config.codebooks:
        takes[kind] = Port("tokens", "N", per="message")
        gives[kind] = Port("tokens*", "N", per="reply", space=f"of:{kind}")
    return {"generate": call(takes, gives)}


def encoder(kind: str, **gives: Port) -> Call:
    return call({kind: Port(kind)}, gives or {"features": Port("features", "N D", D=D)})


def clip(config: Any, facts: Any) -> dict[str, Call]:
    embedding = Port("embedding", "D", D=var("shared"), space="self")
    return {
        "image": encoder("image", patches=Port("features", "N D", D=D), embedding=embedding),
        "text": call(
            {"message": Port("message"), "image": Port("features|embedding", "... D", per="message")},
            {"features": Port("features", "N D", D=var("text_width")), "embedding": embedding},
        ),
    }


def imagebind(config: Any, facts: Any) -> dict[str, Call]:
    shared = {"embedding": Port("embedding", "D", D=1024, space="self")}
    return {kind: call({kind: Port(kind)}, shared) for kind in ("image", "audio", "text")}


def adapter(config: Any, facts: Any) -> dict[str, Call]:
    takes = {"features": Port("features|embedding", "... D", D=var("in"))}
    return {"map": call(takes, {"features": Port("features|embedding", "... E", E=var("out"))})}


def diffusion(kind: str, width: str = "... D") -> Any:
    def calls(config: Widths, facts: Any) -> dict[str, Call]:
        sizes = {"D": config.cond if config.cond is not None else var("cond")}
        takes = {
            "cond": Port("features|embedding|label", width, **sizes),
            "negative": Port("features?", "N D", **sizes),
            "start": Port("image|latent?"),
            "mask": Port("mask?"),
            "words": Port("features?"),
        }
        return {"draw": call(takes, {kind: Port(kind)})}

    return calls


def codebook(kind: str, latent: str, back: str | None = None) -> dict[str, Call]:
    axes = "N" if latent == "tokens" else "C H W"
    return {
        "encode": call({kind: Port(kind)}, {latent: Port(latent, axes, space="self")}),
        "decode": call({latent: Port(latent, axes, space="self")}, {back or kind: Port(back or kind)}),
    }


VISION = [
    stub("vision/clip", "encoder", clip),
    stub("vision/imagebind", "encoder", imagebind),
    stub("vision/dino", "encoder", {"encode": encoder("image", patches=Port("features", "N D", D=D))}),
    stub("vision/nfnet", "encoder", {"encode": encoder("image", patches=Port("features", "N D", D=D))}),
    stub("vision/classify", "encoder", {"classify": encoder("image", label=Port("label"))}),
    stub(
        "vision/tiles",
        "transform",
        {
            "cut": call({"image": Port("image")}, {"tiles": Port("image*"), "places": Port("boxes")}),
        },
        weights=False,
    ),
]
AUDIO = [
    stub("audio/whisper-encoder", "encoder", {"encode": encoder("audio")}),
    stub("audio/whisper", "encoder", {"hear": encoder("audio", text=Port("text"), spans=Port("spans"))}),
    stub("audio/tts", "decoder", {"speak": call({"text": Port("text")}, {"audio": Port("audio", rate=24000)})}),
    stub("audio/diffusion", "decoder", diffusion("audio"), Widths),
]
VIDEO = [
    stub(
        "video/frames",
        "transform",
        {
            "cut": call({"video": Port("video")}, {"frames": Port("image*")}),
        },
        weights=False,
    ),
    stub("video/diffusion", "decoder", diffusion("video"), Widths),
]
