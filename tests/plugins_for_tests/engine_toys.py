"""Toy components that run: numbers as text, small tensors, lists, messages, failures. Namespace `et`.

Cards and implementations stand in one file, for tests alone.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows
from anyany.api.v1 import Batching, Call, Config, Message, Place, Port, card, hookimpl, option, var

HERE = __name__
CALLS: list[tuple[str, int]] = []
"""(node, rows) of every call, for tests that ask how batches were cut."""


def _note(ctx: Context) -> None:
    CALLS.append((ctx.node, len(ctx.keys)))


class Plain(Component):
    """Base of toys without weights."""


class Pass(Plain):
    """Gives its input back, the very object."""

    def run(self, ctx: Context, x: Rows) -> dict[str, Rows]:
        _note(ctx)
        return {"x": x}


class JoinConfig(Config):
    sign: str = option("+", per_item=True)


class Join(Plain):
    """`a+b`, b optional."""

    def run(self, ctx: Context, a: Rows, b: Rows | None = None) -> dict[str, Rows]:
        _note(ctx)
        signs = ctx.option("sign", self.config.sign)
        right = ["-"] * len(a) if b is None else list(b)
        return {"text": ctx.rows([f"{x}{s}{y}" for x, s, y in zip(a, signs, right)])}


class Split(Plain):
    """The characters of a text, as a list."""

    def run(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        _note(ctx)
        return {"parts": ctx.lists([list(t) for t in text])}


class Gather(Plain):
    """A list of texts as `[a,b]`."""

    def run(self, ctx: Context, values: Rows) -> dict[str, Rows]:
        _note(ctx)
        return {"text": ctx.rows(["[" + ",".join(g) + "]" for g in values.groups()])}


class Number(Plain):
    """Each value of a list with its place in it; the output keeps the list."""

    def run(self, ctx: Context, values: Rows) -> dict[str, Rows]:
        _note(ctx)
        return {"values": ctx.lists([[f"{i}{v}" for i, v in enumerate(g)] for g in values.groups()])}


class Sift(Plain):
    """The text, absent where it holds an `x`; fails on `!`."""

    def run(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        _note(ctx)
        for value in text:
            if "!" in value:
                raise ValueError(f"{value!r} is not to be sifted")
            if "#" in value and len(text) > 1:
                raise MemoryError("too much at once")
        return {"text": ctx.maybe([None if "x" in t else t for t in text])}


class Length(Plain):
    """Vectors as long as the text is."""

    def run(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        _note(ctx)
        lengths = [len(t) for t in text]
        packed = torch.arange(sum(lengths), dtype=torch.float32)[:, None].expand(-1, 4)
        return {"features": ctx.rows(packed, lengths)}


class Shape(Plain):
    """The shape of a picture or of features, as text."""

    def run(self, ctx: Context, x: Rows) -> dict[str, Rows]:
        _note(ctx)
        return {"text": ctx.rows(["x".join(map(str, v.shape)) for v in x])}


class Think(Plain):
    """A toy backbone: answers with its own prompt; each `draw` in the text opens a place in the reply."""

    def run(self, ctx: Context, message: Rows, image: Rows | None = None) -> dict[str, Rows]:
        _note(ctx)
        seen = [[]] * len(message) if image is None else image.groups()
        replies, signals = [], []
        for i, (m, pictures) in enumerate(zip(message, seen)):
            count = m.text.count("draw")
            text = f"{m.text}|{len(pictures)}|" + ",".join(str(tuple(p.shape)) for p in pictures)
            if ctx.streaming:
                ctx.emit(i, text)
            replies.append(Message((text, *(Place("image", k) for k in range(count)))))
            signals.append([torch.full((2, 4), float(k)) for k in range(count)])
        return {"reply": ctx.rows(replies), "text": ctx.rows([r.text for r in replies]), "image": ctx.lists(signals)}


class Noisy(Plain):
    """Standard normal numbers."""

    def run(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        return {"features": ctx.rows(ctx.normal((8, 4)))}


class LinearConfig(Config):
    width: int = 4


class Linear(Component):
    """A layer with weights."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.layer = nn.Linear(config.width, config.width)

    def run(self, ctx: Context, x: Rows) -> dict[str, Rows]:
        _note(ctx)
        data, offsets = x.packed()
        return {"features": ctx.rows(self.layer(data), [b - a for a, b in itertools.pairwise(offsets)])}


class Paint(Plain):
    """A picture from features: as bright as their mean; fails where asked to."""

    def run(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        _note(ctx)
        return {"image": ctx.rows([torch.full((3, 4, 4), float(f.mean()) / 10) for f in features])}


class Remote(Plain):
    """An `async` method."""

    async def run(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        await asyncio.sleep(0)
        if any(t == "bad" for t in text):
            raise ValueError("the far end refused")
        return {"text": ctx.rows([t.upper() for t in text])}


class Loop(Plain):
    """Calls the component it was given, twice."""

    def run(self, ctx: Context, text: Rows, step: Any) -> dict[str, Rows]:
        once = step(ctx, a=text)["text"]
        return {"text": step(ctx, a=once)["text"]}


class Sums(Plain):
    """Prepared values: their lengths; `-` has none."""

    @staticmethod
    def prepare_run(config: Any, assets: Any) -> Any:
        return measured

    def run(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        return {"text": ctx.rows([f"n{n}" for n in text])}


class Liar(Plain):
    """Breaks its card's promise."""

    def run(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        return {"text": ctx.rows(["one"] * (len(text) + 1))}


def measured(text: str) -> int:
    """The length of a text; fails for `-`."""
    if text == "-":
        raise ValueError("- cannot be measured")
    return len(text)


def _card(name: str, takes: dict[str, Port], gives: dict[str, Port], **more: Any) -> Any:
    batching = more.pop("batching", Batching())
    prepare = more.pop("prepare", False)
    more.setdefault("weights", False)
    calls = {"run": Call(takes=takes, gives=gives, batching=batching, prepare=prepare)}
    return card(f"et/{name}", role="transform", calls=calls, impl=f"{HERE}:{name.title()}", **more)


CARDS = [
    _card("pass", {"x": Port("any")}, {"x": Port("any")}),
    _card("join", {"a": Port("text"), "b": Port("text?")}, {"text": Port("text")}, config=JoinConfig),
    _card("split", {"text": Port("text")}, {"parts": Port("text*")}),
    _card("gather", {"values": Port("text*")}, {"text": Port("text")}),
    _card("number", {"values": Port("text*")}, {"values": Port("text*", ties="values")}),
    _card("sift", {"text": Port("text")}, {"text": Port("text?")}),
    _card("length", {"text": Port("text")}, {"features": Port("features", "N D", D=4)},
          batching=Batching(max_rows=3, cost="length", max_cost=12)),
    _card("shape", {"x": Port("image|features")}, {"text": Port("text")}, batching=Batching(group_by=("shape",))),
    _card("think", {"message": Port("message"), "image": Port("features?", per="message")},
          {"reply": Port("message", open=True), "text": Port("text"),
           "image": Port("features*", "N D", N=2, D=4, per="reply")}),
    _card("noisy", {"text": Port("text")}, {"features": Port("features", "N D", N=8, D=4)},
          batching=Batching(max_rows=2)),
    _card("linear", {"x": Port("features", "... D", D=4)}, {"features": Port("features", "... D", D=4)},
          config=LinearConfig, weights=True, tiny={"width": 4}),
    _card("paint", {"features": Port("features", "N D", D=var("paint", 4))}, {"image": Port("image", channels=3)}),
    _card("remote", {"text": Port("text")}, {"text": Port("text")}, runtime="remote", concurrency=4,
          batching=Batching(max_rows=2)),
    _card("loop", {"text": Port("text"), "step": Port("node")}, {"text": Port("text")}),
    _card("sums", {"text": Port("text")}, {"text": Port("text")}, prepare=True),
    _card("liar", {"text": Port("text")}, {"text": Port("text")}),
    _card("look", {"image": Port("image", channels=1)}, {"features": Port("features", "N D", D=4)}),
]  # fmt: skip


class Look(Plain):
    """One vector for each 8 pixels of a grey picture's width."""

    def run(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        _note(ctx)
        if any(i.shape[0] != 1 for i in image):
            raise ValueError("the picture is not grey")
        return {"features": ctx.rows([torch.ones(max(1, i.shape[-1] // 8), 4) for i in image])}


@hookimpl
def anyany_cards() -> list[Any]:
    """All toys."""
    return CARDS
