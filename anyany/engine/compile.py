"""Compiling a checked graph into steps: one reader an edge, one step a node, nothing left to look up while running.

A step knows its stack, its ports and where its results go. Source: SEMANTICS of edges in DESIGN section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from anyany.api.v1 import Call
from anyany.engine.readers import (
    BracketList,
    BracketMessage,
    Decode,
    DecodeParts,
    EntryPlan,
    FillReply,
    Reader,
    SelectList,
    SelectText,
    Slot,
    Wrap,
)
from anyany.spec.graph import Bracket, Edge, Fill, Flow, Graph, Handle, Input, Node, Output, Select, Source, Stack

MOVED_DTYPE = ("features", "embedding", "latent")


@dataclass(eq=False)
class PortPlan:
    """One fed port of a node: how its rows are found for an element of the node.

    depth: numbers in a key of the mapped part of the edge. mode: "map", "gather" or "one" ("places" is one of the
    first two, `counts` then tells how many places each element has).
    """

    name: str
    reader: Reader
    mode: str
    depth: int
    kind: str
    optional: bool
    counted: bool
    moves_dtype: bool
    per: str | None = None
    handle: str | None = None


@dataclass(eq=False)
class OutPlan:
    """One output port: where its rows go, and which list (of which input port) it opens or keeps.

    kind: the one kind of its values ("" where a union is left open). shape: the sizes of a value's axes, None where
    it varies; None for values without declared axes. loose: more axes may come before those.
    """

    name: str
    slot: tuple[str, str]
    many: bool
    optional: bool
    stack: Stack
    list_id: str | None = None
    tied: str | None = None
    kind: str = ""
    shape: tuple[int | None, ...] | None = None
    loose: bool = False


@dataclass(eq=False)
class Step:
    """One node, ready to run. `inputs` are the names of the spec's inputs that it depends on.

    simple: every port is mapped and required and every output plain, so that up to `max_simple` rows need no cutting.
    """

    node: Node
    name: str
    stack: Stack
    call: Call
    call_name: str
    ports: tuple[PortPlan, ...]
    rows: tuple[PortPlan, ...]
    required: tuple[PortPlan, ...]
    outs: tuple[OutPlan, ...]
    when: Reader | None
    when_depth: int
    when_list: str | None
    main: PortPlan | None
    places: tuple[tuple[PortPlan, PortPlan], ...]
    inputs: frozenset[str] = frozenset()
    simple: bool = False
    max_simple: int = 0
    upstream: frozenset[str] = field(default_factory=frozenset)


class Compiler:
    """Readers are shared: the same selection or decoding is done once, whoever asks."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._known: dict[Any, Reader] = {}
        self.inputs: dict[str, frozenset[str]] = {}
        self.steps: dict[str, Step] = {}

    # sources -----------------------------------------------------------------------------------------------------
    def reader(self, source: Source, flow: Flow) -> Reader:
        """The reader of a source."""
        if isinstance(source, Input):
            return self._share(("in", source.name), lambda: Slot(("", source.name)))
        if isinstance(source, Output):
            return self._share(("out", source.node, source.port), lambda: Slot((source.node, source.port)))
        if isinstance(source, Select):
            inner = self.reader(source.source, flow)
            if source.list_id is None:
                return self._share(("text", inner), lambda: SelectText(inner))
            list_id = source.list_id
            return self._share(
                ("select", inner, source.kind), lambda: SelectList(inner, source.kind, list_id, flow.stack)
            )
        if isinstance(source, Bracket):
            return self._share(("bracket", id(source)), lambda: self._bracket(source, flow))
        assert isinstance(source, Fill)
        return self._share(("fill", id(source)), lambda: self.fill(source, None))

    def fill(self, source: Fill, keep: frozenset[str] | None) -> FillReply:
        """The reader of a fill; with `keep`, only places of those kinds are filled and the others removed."""
        fills = {}
        for kind, entry in source.fills.items():
            if keep is None or kind in keep:
                fills[kind] = (self.reader(entry.source, entry.flow), source.reply_flow.open_places[kind])
        return FillReply(self.reader(source.reply, source.reply_flow), fills, keep)

    def decoded(self, reader: Reader, source: Source, kind: str, facets: Mapping[str, Any]) -> Reader:
        """The reader of decoded values where the source comes from outside; others are values already."""
        if not from_outside(source) or kind == "message":
            return reader
        if isinstance(reader, BracketList) and len({entry.kind for entry in reader.entries}) > 1:
            assert isinstance(source, Bracket)
            return self._share(("decode each", reader, _words(facets)), lambda: self._each(reader, source, facets))
        key = ("decode", reader, kind, _words(facets))
        return self._share(key, lambda: Decode(reader, kind, facets))

    def _each(self, bracket: BracketList, source: Bracket, facets: Mapping[str, Any]) -> Reader:
        """A bracket of several kinds, each entry decoded as what it is."""
        entries = [
            replace(plan, reader=self.decoded(plan.reader, entry.source, plan.kind, facets))
            for plan, entry in zip(bracket.entries, source.entries)
        ]
        return BracketList(entries, bracket.list_id, bracket.stack)

    def _bracket(self, source: Bracket, flow: Flow) -> Reader:
        entries = []
        for e in source.entries:
            depth = len(e.flow.stack) + (0 if e.star else 1)
            entries.append(EntryPlan(self.reader(e.source, e.flow), e.star, e.flow.kinds[0], depth))
        if source.into == "message":
            return BracketMessage(entries, flow.stack)
        assert source.list_id is not None
        return BracketList(entries, source.list_id, flow.stack)

    def _share(self, key: Any, make: Any) -> Reader:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    # nodes -------------------------------------------------------------------------------------------------------
    def step(self, node: Node) -> Step:
        """The step of a node (made once)."""
        if node.name not in self.steps:
            self.steps[node.name] = self._step(node)
        return self.steps[node.name]

    def _port(self, node: Node, edge: Edge) -> PortPlan:
        port = node.call.takes[edge.port]
        if isinstance(edge.source, Handle):
            return PortPlan(name=edge.port, reader=Slot(("", "")), mode="handle", depth=0, kind="node",
                            optional=False, counted=False, moves_dtype=False, handle=edge.source.node)  # fmt: skip
        reader = self.reader(edge.source, edge.flow)
        kind = edge.flow.kinds[0]
        reader = self.decoded(reader, edge.source, kind, edge.facets)
        if edge.wrap:
            inner = reader
            reader = self._share(("wrap", inner, kind), lambda: Wrap(inner, kind))
        if "message" in port.kinds and (edge.wrap or kind == "message") and port.native:
            message, native = reader, port.native
            reader = self._share(("parts", message, native), lambda: DecodeParts(message, native))
        mode = edge.mode
        if mode == "places":
            mode = "gather" if len(edge.flow.stack) > len(edge.mapped) else "one"
        return PortPlan(
            name=edge.port, reader=reader, mode=mode, depth=1 + len(edge.mapped), kind=kind,
            optional=edge.optional or port.optional, counted=mode != "map",
            moves_dtype=kind in MOVED_DTYPE, per=port.per if edge.mode == "places" else None,
        )  # fmt: skip

    def _step(self, node: Node) -> Step:
        ports = tuple(self._port(node, e) for e in node.edges.values())
        rows = tuple(p for p in ports if p.handle is None)
        by_name = {p.name: p for p in ports}
        outs = tuple(self._out(node, name, by_name) for name in node.call.gives if name in node.gives)
        required = tuple(p for p in rows if not p.optional and p.mode in ("map", "one"))
        when = None if node.when is None else self.reader(node.when.source, node.when.flow)
        when_flow = None if node.when is None else node.when.flow
        depth, when_list = 0, None
        if when_flow is not None:
            listed = len(when_flow.stack) > len(node.stack)
            depth = len(when_flow.stack) + (0 if listed else 1)
            when_list = when_flow.stack[-1] if listed else None
        main = by_name.get(node.call.main_in or "")
        places = tuple((p, by_name[p.per]) for p in rows if p.per is not None and p.per in by_name)
        upstream, inputs = self._upstream(node)
        plain = when is None and all(p.mode == "map" and not p.optional for p in rows) and not places
        batching = node.call.batching
        plain = plain and not batching.group_by and batching.max_cost is None and bool(rows)
        simple = plain and len(rows) == len(ports) and not any(o.many or o.optional for o in outs)
        return Step(
            node=node, name=node.name, stack=node.stack, call=node.call, call_name=node.call_name, ports=ports,
            rows=rows, required=required, outs=outs, when=when, when_depth=depth, when_list=when_list, main=main,
            places=places, inputs=inputs,
            simple=simple, max_simple=batching.max_rows, upstream=upstream,
        )  # fmt: skip

    def _out(self, node: Node, name: str, ports: Mapping[str, PortPlan]) -> OutPlan:
        port, flow = node.call.gives[name], node.gives[name]
        many = port.many or port.per is not None
        list_id = node.given_lists.get(name) or (flow.stack[-1] if many else None)
        tied = None
        if many and port.ties is not None and port.ties in ports and port.ties in node.edges:
            edge = node.edges[port.ties]
            if ports[port.ties].mode == "gather" and edge.flow.stack and edge.flow.stack[-1] == list_id:
                tied = port.ties
        loose = bool(flow.axes) and flow.axes[0].name == "..."
        shape = tuple(a.size for a in flow.axes[1 if loose else 0 :]) if flow.axes else None
        return OutPlan(name=name, slot=(node.name, name), many=many, optional=port.optional, stack=flow.stack,
                       list_id=list_id, tied=tied, kind=flow.kinds[0] if len(flow.kinds) == 1 else "",
                       shape=shape, loose=loose)  # fmt: skip

    def _upstream(self, node: Node) -> tuple[frozenset[str], frozenset[str]]:
        nodes: set[str] = set()
        inputs: set[str] = set()
        edges = [*node.edges.values(), *([node.when] if node.when else [])]
        for edge in edges:
            for kind, name in leaves(edge.source):
                if kind != "held":
                    (inputs if kind == "in" else nodes).add(name)
        for name in nodes:
            inputs |= self.step(self.graph.nodes[name]).inputs if self.graph.nodes[name].runs else set()
        return frozenset(nodes), frozenset(inputs)


def _words(facets: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted(facets.items(), key=str))


def leaves(source: Source) -> list[tuple[str, str]]:
    """What a source reads: ("in", input), ("node", node), and ("held", node) for a node given as such."""
    if isinstance(source, Input):
        return [("in", source.name)]
    if isinstance(source, (Output, Handle)):
        return [("held" if isinstance(source, Handle) else "node", source.node)]
    if isinstance(source, Select):
        return leaves(source.source)
    if isinstance(source, Bracket):
        return [leaf for e in source.entries for leaf in leaves(e.source)]
    found = leaves(source.reply)
    return found + [leaf for e in source.fills.values() for leaf in leaves(e.source)]


def from_outside(source: Source) -> bool:
    """True where values may still be files: inputs, selections of input messages, brackets that hold such."""
    return any(kind == "in" for kind, _ in leaves(source)) and not isinstance(source, (Output, Fill))
