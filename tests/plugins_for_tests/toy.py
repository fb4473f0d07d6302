"""The `toy` namespace: small cards for the checker's tests, so that they depend on no component that moves.

Torch-free cards only; nothing here runs.
"""

from __future__ import annotations

from typing import Any

from plugins_for_tests.paper_cards import registry as registry_of

from anyany.api.v1 import Call, Card, Config, Facts, NoConfig, Port, card, json, option, var
from anyany.registry.registry import Registry

EVERYTHING = ("image", "audio", "video", "boxes", "points", "mask")


class LookConfig(Config):
    width: int = option(64, low=1)
    resolution: int = option(32, low=8, high=4096)
    pool: str = option("mean", choices=("mean", "max"))


def look(config: LookConfig, facts: Any) -> dict[str, Call]:
    gives = {"patches": Port("features", "N D", D=config.width), "cls": Port("embedding", "D", D=config.width)}
    return {"encode": Call(takes={"image": Port("image", channels=3)}, gives=gives)}


class MapConfig(Config):
    width: int | None = option(None)
    wide: bool = option(False)


def adapter(config: MapConfig, facts: Any) -> dict[str, Call]:
    takes = {"features": Port("features|embedding", "... D", D=var("inputs", 16))}
    out = config.width if config.width is not None else var("outputs", 16)
    return {"map": Call(takes=takes, gives={"features": Port("features|embedding", "... E", E=out)})}


class ThinkConfig(Config):
    signals: dict[str, int] = option({})
    width: int = option(128)
    inputs: list[str] = option(["image", "audio", "boxes"])
    temperature: float = option(1.0, per_item=True, low=0)


def think(config: ThinkConfig, facts: Any) -> dict[str, Call]:
    takes = {"message": Port("message")}
    takes |= {k: Port("features|embedding", "... D", D=config.width, per="message") for k in config.inputs}
    gives = {"reply": Port("message", open=bool(config.signals)), "text": Port("text")}
    gives |= {k: Port("features*", "N D", N=n, D=config.width, per="reply") for k, n in config.signals.items()}
    return {"generate": Call(takes=takes, gives=gives)}


class DrawConfig(Config):
    steps: int = option(20, per_item=True)
    cond: int | None = option(None)
    size: int = option()


def draw(config: DrawConfig, facts: Any) -> dict[str, Call]:
    cond = config.cond if config.cond is not None else var("cond")
    takes = {"cond": Port("features", "N D", D=cond), "start": Port("image?"), "words": Port("text?")}
    return {"draw": Call(takes=takes, gives={"image": Port("image", channels=3)})}


def code(config: Any, facts: Any) -> dict[str, Call]:
    tokens = Port("tokens", "N", vocab=512, space="self")
    return {
        "encode": Call(takes={"image": Port("image")}, gives={"tokens": tokens}),
        "decode": Call(takes={"tokens": tokens}, gives={"image": Port("image")}),
    }


def fact_width(config: Any, facts: Any) -> dict[str, Call]:
    return {"encode": Call(takes={"text": Port("text")}, gives={"features": Port("features", "N D", D=facts.width)})}


class RouteConfig(Config):
    to: list[str] = option(["a", "b"])


def route(config: RouteConfig, facts: Any) -> dict[str, Call]:
    takes = {"value": Port("any"), "label": Port("label")}
    return {"route": Call(takes=takes, gives={k: Port("any?") for k in config.to})}


class StrictConfig(Config):
    even: int = option(2)

    def __post_init__(self) -> None:
        if self.even % 2:
            raise ValueError("`even` must be even")


def fragile(config: StrictConfig, facts: Any) -> dict[str, Call]:
    return {"do": Call(takes={"text": Port("text")}, gives={"text": Port({}[config.even])})}


def one(
    name: str, takes: dict[str, Port], gives: dict[str, Port], config: type[Config] = NoConfig, **more: Any
) -> Card:
    """A component with one call and no weights."""
    calls = {"do": Call(takes=takes, gives=gives)}
    return card(name, role="transform", calls=calls, config=config, impl="nowhere:Nothing", weights=False, **more)


def made(name: str, role: str, calls: Any, config: type[Config] = NoConfig, **more: Any) -> Card:
    return card(name, role=role, calls=calls, config=config, impl="nowhere:Nothing", **more)


F = Port("features", "N D", D=var("width"))
CARDS = [
    made("toy/look", "encoder", look, LookConfig, tiny={"width": 8, "resolution": 8}, about="pictures to features"),
    made("toy/map", "adapter", adapter, MapConfig, weights=False, about="features to features of another width"),
    made("toy/think", "backbone", think, ThinkConfig, tiny={"width": 8}),
    made("toy/draw", "decoder", draw, DrawConfig, tiny={"size": 8}, weights=False),
    made("toy/code", "tokenizer", code),
    made("toy/read", "encoder", fact_width, facts=Facts(width=[json("hidden_size")])),
    made("toy/route", "transform", route, RouteConfig, weights=False),
    made("toy/strict", "transform", fragile, StrictConfig, weights=False),
    made(
        "toy/aged",
        "transform",
        {"do": Call(takes={"text": Port("text")}, gives={"text": Port("text")})},
        major=2,
        weights=False,
    ),
    one("toy/deep", {"x": Port("features", "T N D")}, {"x": Port("features", "T N D")}),
    one("toy/shape", {"x": Port("features", "N D", D=0)}, {"x": Port("features")}),
    one("toy/guess", {"embedding": Port("embedding")}, {"label": Port("label")}),
    one("toy/hear", {"audio": Port("audio", rate=16000)}, {"features": F}),
    one("toy/speak", {"text": Port("text")}, {"audio": Port("audio", rate=24000)}),
    one("toy/mean", {"values": Port("any*")}, {"mean": Port("any")}),
    one("toy/pick", {"values": Port("any*")}, {"value": Port("any?")}),
    one("toy/first", {"a": Port("any?"), "b": Port("any?")}, {"value": Port("any")}),
    one("toy/message", {"message": Port("message", native=EVERYTHING)}, {"message": Port("message")}),
    one("toy/chat", {"message": Port("message", native=("image",))}, {"reply": Port("message"), "text": Port("text")}),
    one("toy/tiles", {"image": Port("image")}, {"tiles": Port("image*"), "grid": Port("boxes")}),
    one("toy/classify", {"image": Port("image")}, {"label": Port("label")}),
    one("toy/pair", {"a": Port("image"), "b": Port("image")}, {"scores": Port("scores")}),
    one("toy/mix", {"values": Port("features*", "N D", D=var("width"))}, {"mix": F}),
    one("toy/join", {"texts": Port("text*")}, {"text": Port("text")}),
    one("toy/upper", {"text": Port("text")}, {"text": Port("text")}),
    one("toy/words", {"text": Port("text")}, {"words": Port("text*")}),
    one("toy/mark", {"values": Port("text*"), "with": Port("text?")}, {"values": Port("text*", ties="values")}),
    one("toy/maybe", {"text": Port("text")}, {"text": Port("text?")}),
    one("toy/either", {"a": Port("text?"), "b": Port("text?")}, {"text": Port("text")}),
    one("toy/two", {"a": Port("text"), "b": Port("text")}, {"text": Port("text")}),
    one("toy/both", {"a": Port("text"), "all": Port("text*")}, {"text": Port("text")}),
    one("toy/loop", {"first": Port("text"), "step": Port("node")}, {"texts": Port("text*")}),
    one("toy/clock", {}, {"text": Port("text")}),
    made("toy/records", "source", {"read": Call(takes={}, gives={"record": Port("text")})}, weights=False),
    made(
        "toy/score",
        "objective",
        {"score": Call(takes={"found": Port("features*"), "words": Port("text")}, gives={"loss": Port("loss")})},
        weights=False,
    ),
    one("toy/still", {"text": Port("text")}, {}),
]


def registry() -> Registry:
    """A registry that holds the `toy` namespace alone."""
    return registry_of(CARDS)
