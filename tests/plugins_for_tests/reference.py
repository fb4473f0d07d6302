"""A reference evaluator for specs over the `toy` cards: nested Python lists, the rules of the language read anew.

It knows neither cards nor the checker. A value carries the names of its lists, outermost first, and its data nest
accordingly; a hole is `HOLE`. Leaves are tuples that say how they were made, so that places can be traced.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

HOLE = type("Hole", (), {"__repr__": lambda self: "HOLE"})()


class Mismatch(Exception):
    """Two lists that do not pair up, or a star on one value."""


class Misplaced(Exception):
    """A value at a place that was not made from what stands there."""


@dataclass(frozen=True)
class Msg:
    """Parts in order: text is a tuple ("text", …), an image ("image", …), an unfilled place ("place", k)."""

    parts: tuple[Any, ...]

    def images(self) -> list[Any]:
        return [p for p in self.parts if p[0] == "image"]


@dataclass(frozen=True)
class Value:
    """`data` nests as many lists as `ids` names. `places`: for messages, the name of the list of their images."""

    ids: tuple[str, ...]
    data: Any
    message: str = ""
    open_list: str = ""


@dataclass(frozen=True)
class Component:
    """ports: name -> "one", "optional", "list", "message" or "place"; gives: name -> "one", "maybe", "list",
    "reply", "signal" or "tied:PORT"."""

    ports: Mapping[str, str]
    gives: Mapping[str, str]
    run: Callable[..., dict[str, Any]]


def size(*args: Any) -> int:
    """0, 1 or 2, always the same for the same arguments."""
    return zlib.crc32(repr(args).encode()) % 3


def origin(value: Any) -> Any:
    """The image that a value was made from."""
    while value[0] != "image":
        value = next(part for part in value[1:] if isinstance(part, tuple))
    return value


def think(message: Msg, image: list[Any] | None = None) -> dict[str, Any]:
    found = message.images()
    if image is not None and [origin(v) for v in image] != found:
        raise Misplaced(f"{image} at {found}")
    count = size(message, image)
    text = ("text", "reply", message, tuple(image or ()))
    reply = Msg((text, *(("place", k) for k in range(count))))
    return {"reply": reply, "text": text, "image": [("signal", text, k) for k in range(count)]}


COMPONENTS = {
    "toy/upper": Component({"text": "one"}, {"text": "one"}, lambda text: {"text": ("text", "up", text)}),
    "toy/two": Component({"a": "one", "b": "one"}, {"text": "one"}, lambda a, b: {"text": ("text", "two", a, b)}),
    "toy/join": Component({"texts": "list"}, {"text": "one"}, lambda texts: {"text": ("text", "join", *texts)}),
    "toy/words": Component({"text": "one"}, {"words": "list"},
                           lambda text: {"words": [("text", "word", text, k) for k in range(size(text))]}),
    "toy/maybe": Component({"text": "one"}, {"text": "maybe"},
                           lambda text: {"text": HOLE if size("maybe", text) == 0 else ("text", "maybe", text)}),
    "toy/either": Component({"a": "optional", "b": "optional"}, {"text": "one"},
                            lambda a=HOLE, b=HOLE: {"text": ("text", "either", str(a), str(b))}),
    "toy/both": Component({"a": "one", "all": "list"}, {"text": "one"},
                          lambda a, all: {"text": ("text", "both", a, *all)}),
    "toy/mark": Component({"values": "list", "with": "optional"}, {"values": "tied:values"},
                          lambda values, **more: {"values": [("text", "mark", v) for v in values]}),
    "toy/mean": Component({"values": "list"}, {"mean": "one"}, lambda values: {"mean": ("text", "mean", *values)}),
    "toy/message": Component({"message": "message"}, {"message": "one"}, lambda message: {"message": message}),
    "toy/chat": Component(
        {"message": "message"}, {"reply": "one", "text": "one"},
        lambda message: {"reply": Msg((("text", "chat", message),)), "text": ("text", "said", message)},
    ),
    "toy/tiles": Component({"image": "one"}, {"tiles": "list", "grid": "one"}, lambda image: {
        "tiles": [("image", "tile", image, k) for k in range(size("tiles", image))], "grid": ("boxes", image)}),
    "toy/look": Component({"image": "one"}, {"patches": "one", "cls": "one"},
                          lambda image: {"patches": ("patches", image), "cls": ("cls", image)}),
    "toy/map": Component({"features": "one"}, {"features": "one"}, lambda features: {"features": ("map", features)}),
    "toy/draw": Component({"cond": "one", "words": "optional"}, {"image": "one"},
                          lambda cond, **more: {"image": ("image", "drawn", cond)}),
    "toy/think": Component({"message": "message", "image": "place"},
                           {"reply": "reply", "text": "one", "image": "signal"}, think),
}  # fmt: skip


@dataclass
class Reference:
    """Evaluates a spec given as a mapping, on one item."""

    spec: Mapping[str, Any]
    item: Mapping[str, Any]
    values: dict[tuple[str, str], Value] = field(default_factory=dict)

    # edges ----------------------------------------------------------------------------------------------------
    def edge(self, text: str) -> Value:
        first, *rest = text.split(".")
        if first in self.spec["inputs"]:
            kind = self.spec["inputs"][first]
            ids = (first,) if kind.endswith("*") else ()
            base = Value(ids, self.item[first], first if kind.startswith("message") else "")
            return self.select(base, rest[0]) if rest else base
        self.node(first)
        gives = COMPONENTS[self.spec["nodes"][first]["use"]].gives
        main = next(iter(gives))
        if not rest:
            return self.values[first, main]
        if rest[0] in gives and (first, rest[0]) in self.values:
            found = self.values[first, rest[0]]
            return self.select(found, rest[1]) if len(rest) == 2 else found
        return self.select(self.values[first, main], rest[0])

    def select(self, base: Value, kind: str) -> Value:
        if kind == "text":
            return Value(base.ids, each(base.data, len(base.ids), lambda m: m if m is HOLE else ("text", "of", m)))
        name = f"{base.message}.{kind}"
        data = each(base.data, len(base.ids), lambda m: [] if m is HOLE else m.images())
        return Value((*base.ids, name), data)

    def bracket(self, entries: list[Any], name: str, message: bool) -> Value:
        """`[a, b*]` into a list or a message."""
        found = []
        for entry in entries:
            star = isinstance(entry, str) and entry.endswith("*")
            value = self.any_edge(entry[:-1] if star else entry, name)
            if star and not value.ids:
                raise Mismatch(f"star on one value: {entry}")
            found.append((value, star))
        over = longest([v.ids[:-1] if star else v.ids for v, star in found])

        def leaf(*args: Any) -> Any:
            flat: list[Any] = []
            for (_, star), arg in zip(found, args):
                flat += [a for a in (arg if star else [arg]) if a is not HOLE]
            return Msg(tuple(p for a in flat for p in parts(a))) if message else flat

        data = walk(over, [(v.ids[:-1] if star else v.ids, v.data) for v, star in found], leaf)
        return Value(over if message else (*over, name), data)

    def any_edge(self, edge: Any, name: str) -> Value:
        return self.fill(edge) if isinstance(edge, dict) else self.edge(edge)

    def fill(self, edge: Mapping[str, Any]) -> Value:
        """An open reply with its places taken; a hole removes its place."""
        reply, image = self.edge(edge["fill"]), self.edge(edge["image"])
        if image.ids != (*reply.ids, reply.open_list):
            raise Mismatch("the filling is of other places")

        def leaf(message: Any, images: list[Any]) -> Any:
            if message is HOLE:
                return HOLE
            places = [p for p in message.parts if p[0] == "place"]
            assert len(places) == len(images), "a reply has as many places as its port gives values"
            kept = [p for p in message.parts if p[0] != "place"]
            return Msg((*kept, *(i for i in images if i is not HOLE)))

        return Value(reply.ids, walk(reply.ids, [(reply.ids, reply.data), (reply.ids, image.data)], leaf))

    # nodes ----------------------------------------------------------------------------------------------------
    def node(self, name: str) -> None:
        raw = self.spec["nodes"][name]
        component = COMPONENTS[raw["use"]]
        if (name, next(iter(component.gives))) in self.values:
            return
        main = next(iter(component.ports))
        short = not isinstance(raw["in"], dict) or "fill" in raw["in"]
        edges = {main: raw["in"]} if short else raw["in"]
        args = {port: self.port(name, component.ports[port], port, edge, short, edges) for port, edge in edges.items()}
        over = longest([ids for ids, _ in args.values()])
        table = dict(args)
        if "when" in raw:
            table["when"] = self.opening(self.edge(raw["when"]), over)
        signals = bool(raw.get("with", {}).get("signals"))
        results = walk(over, list(table.values()), lambda *leaf: self.leaf(component, list(table), leaf, signals))
        for port, mode in component.gives.items():
            if mode == "signal" and not signals:
                continue
            self.values[name, port] = self.given(name, port, mode, over, results, signals)

    def port(
        self, node: str, mode: str, port: str, edge: Any, short: bool, edges: Mapping[str, Any]
    ) -> tuple[Any, Any]:
        """(lists it is mapped over, data below them) of what a port gets."""
        if isinstance(edge, list):
            value = self.bracket(edge, f"{node}.{port}", mode == "message")
            return (value.ids[:-1], value.data) if mode in ("list", "place") else (value.ids, value.data)
        value = self.any_edge(edge, f"{node}.{port}")
        if mode == "message":
            return value.ids, each(value.data, len(value.ids), lambda v: v if v is HOLE else Msg(tuple(parts(v))))
        if mode == "list":
            if value.ids and not short:
                return value.ids[:-1], value.data
            return value.ids, each(value.data, len(value.ids), lambda v: [] if v is HOLE else [v])
        if mode == "place":
            if value.ids and value.ids[-1] in self.lists_in(edges["message"]):
                return value.ids[:-1], value.data
            return value.ids, each(value.data, len(value.ids), lambda v: [v])
        return value.ids, value.data

    def lists_in(self, message: Any) -> set[str]:
        """Names of the lists of images that a message edge splices whole."""
        if isinstance(message, dict):
            return {self.edge(message["fill"]).open_list}
        if isinstance(message, str):
            value = self.edge(message)
            return {f"{value.message}.image"} if value.message else set()
        found: set[str] = set()
        for entry in message:
            if isinstance(entry, str) and entry.endswith("*"):
                found.add(self.edge(entry[:-1]).ids[-1])
            else:
                found |= self.lists_in(entry)
        return found

    @staticmethod
    def opening(value: Value, over: tuple[str, ...]) -> tuple[Any, Any]:
        if over[: len(value.ids)] == value.ids:
            return value.ids, value.data
        if over[: len(value.ids) - 1] != value.ids[:-1]:
            raise Mismatch("when over another list")
        shut = each(value.data, len(value.ids) - 1, lambda vs: HOLE if all(v is HOLE for v in vs) else True)
        return value.ids[:-1], shut

    @staticmethod
    def leaf(component: Component, names: list[str], args: tuple[Any, ...], signals: bool) -> Any:
        """One call; HOLE where a required value or the opening is absent."""
        given: dict[str, Any] = {}
        for name, arg in zip(names, args):
            mode = component.ports.get(name, "when")
            if mode == "list":
                given[name] = [a for a in arg if a is not HOLE]
            elif arg is HOLE:
                if mode != "optional":
                    return HOLE
            elif mode != "when":
                given[name] = arg
        result = component.run(**given)
        if "reply" in component.gives.values() and not signals:
            result["reply"] = Msg(tuple(p for p in result["reply"].parts if p[0] != "place"))
        return result

    def given(self, name: str, port: str, mode: str, over: tuple[str, ...], results: Any, signals: bool) -> Value:
        depth = len(over)
        if mode in ("list", "signal"):
            data = each(results, depth, lambda r: [] if r is HOLE else list(r[port]))
            return Value((*over, f"{name}.{port}"), data)
        if mode.startswith("tied:"):
            return self.tied(name, port, mode[5:], over, results)
        data = each(results, depth, lambda r: HOLE if r is HOLE else r[port])
        main = port == next(iter(COMPONENTS[self.spec["nodes"][name]["use"]].gives))
        message = name if main and port in ("message", "reply") else ""
        return Value(over, data, message, f"{name}.image" if mode == "reply" and signals else "")

    def tied(self, name: str, port: str, source_port: str, over: tuple[str, ...], results: Any) -> Value:
        """An output list that keeps the identity, and the holes, of the list it was made from."""
        raw = self.spec["nodes"][name]["in"]
        short = not isinstance(raw, dict)
        edge = raw if short else raw[source_port]
        source = self.bracket(edge, f"{name}.{source_port}", False) if isinstance(edge, list) else self.edge(edge)
        if not source.ids or (short and not isinstance(edge, list)):
            return Value(
                (*over, f"{name}.{port}"), each(results, len(over), lambda r: [] if r is HOLE else list(r[port]))
            )

        def leaf(result: Any, values: list[Any]) -> Any:
            if result is HOLE:
                return [HOLE] * len(values)
            fresh = iter(result[port])
            return [HOLE if v is HOLE else next(fresh) for v in values]

        data = walk(over, [(over, results), (source.ids[:-1], source.data)], leaf)
        return Value((*over, source.ids[-1]), data)

    def output(self, name: str) -> Value:
        edge = self.spec["outputs"][name]
        return self.bracket(edge, f"outputs.{name}", False) if isinstance(edge, list) else self.any_edge(edge, name)


def parts(value: Any) -> tuple[Any, ...]:
    return value.parts if isinstance(value, Msg) else (value,)


def longest(stacks: list[tuple[str, ...]]) -> tuple[str, ...]:
    over = max(stacks, key=len, default=())
    for stack in stacks:
        if over[: len(stack)] != stack:
            raise Mismatch(f"{over} and {stack}")
    return over


def each(data: Any, depth: int, change: Callable[[Any], Any]) -> Any:
    """`change` at every leaf `depth` lists down."""
    return change(data) if depth == 0 else [each(d, depth - 1, change) for d in data]


def walk(
    over: tuple[str, ...], args: list[tuple[tuple[str, ...], Any]], leaf: Callable[..., Any], level: int = 0
) -> Any:
    """Call `leaf` for each element of `over`; arguments with fewer lists broadcast, the same lists pair up."""
    if level == len(over):
        return leaf(*(data for _, data in args))
    lengths = {len(data) for ids, data in args if len(ids) > level}
    assert len(lengths) == 1, f"the list {over[level]} has one length, not {lengths}"
    found = []
    for i in range(lengths.pop()):
        inner = [(ids, data[i] if len(ids) > level else data) for ids, data in args]
        found.append(walk(over, inner, leaf, level + 1))
    return found
