"""The checked graph: wires, feeds and states with their solved sizes, as the frozen types of `graph.py`.

Called only when a check found no error.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Port, Var
from anyany.registry.options import options_of
from anyany.spec.graph import (
    Axis,
    Bracket,
    Edge,
    Entry,
    Fill,
    Flow,
    Graph,
    GraphInput,
    GraphOutput,
    Handle,
    Input,
    Node,
    Output,
    Placement,
    Select,
    Source,
)
from anyany.spec.wires import Check, Feed, FeedEntry, NodeState, PortUse, Wire
from anyany.spec.wiring import when_mode
from anyany.spec.yaml_tree import to_plain


def freeze(check: Check, file: str | None) -> Graph:
    """The graph of a check without errors."""
    spec = check.spec
    return Graph(
        name=spec.name,
        about=spec.about,
        file=file,
        folder=check.folder,
        profile=check.profile,
        inputs={n: _input(check, n) for n in spec.inputs},
        nodes={n: _node(check, check.nodes[n]) for n in spec.nodes},
        order=check.order,
        train=spec.train,
        raw=to_plain(spec.tree),
        outputs={
            n: GraphOutput(name=n, source=source(check, f), flow=flow(check, f.wire), mark=spec.outputs[n].mark)
            for n, f in check.outputs.items()
        },
        taken={m: tuple(kinds) for m, kinds in check.taken.items()},
    )


def flow(check: Check, wire: Wire) -> Flow:
    """The static type of an edge with its sizes."""
    return Flow(
        kinds=wire.kinds,
        stack=wire.stack,
        maybe=wire.maybe,
        axes=tuple(_axis(check, a.name, a.term) for a in wire.axes),
        facets=_facets(check, wire.facets),
        space=wire.space,
        open_places=dict(wire.open_places),
        label=wire.label,
    )


def _axis(check: Check, name: str, term: int) -> Axis:
    found = check.sizes.fixed(term) if term >= 0 else None
    return Axis(name=name, size=found.value if found is not None and isinstance(found.value, int) else None)


def _facets(check: Check, facets: Any) -> dict[str, Any]:
    solved = {k: check.sizes.fixed(term) for k, term in facets.items()}
    return {k: f.value for k, f in solved.items() if f is not None}


def source(check: Check, feed: Feed) -> Source:
    """Where an edge comes from."""
    if feed.form == "input":
        return Input(name=feed.name)
    if feed.form == "output":
        return Output(node=feed.name, port=feed.port)
    if feed.form == "handle":
        return Handle(node=feed.name)
    if feed.form == "bracket":
        return Bracket(entries=tuple(_entry(check, e) for e in feed.entries), into=feed.into, list_id=feed.list_id)
    assert feed.source is not None
    if feed.form == "select":
        return Select(source=source(check, feed.source), kind=feed.kind, list_id=feed.list_id)
    return Fill(
        reply=source(check, feed.source),
        reply_flow=flow(check, feed.source.wire),
        fills={k: _entry(check, e) for k, e in feed.fills.items()},
    )


def _entry(check: Check, entry: FeedEntry) -> Entry:
    return Entry(source=source(check, entry.feed), flow=flow(check, entry.feed.wire), star=entry.star)


def _input(check: Check, name: str) -> GraphInput:
    raw = check.spec.inputs[name]
    return GraphInput(
        name=name,
        kind=raw.spec.rstrip("*?"),
        many=raw.spec.endswith("*"),
        optional=raw.spec.endswith("?"),
        has_default=raw.has_default,
        default=raw.default,
        flow=flow(check, check.inputs[name]),
        mark=raw.mark,
    )


def _edge(check: Check, state: NodeState, name: str, use: PortUse, port: Port | None) -> Edge:
    return Edge(
        node=state.name,
        port=name,
        source=source(check, use.feed),
        flow=flow(check, use.feed.wire),
        mode=use.mode,
        mapped=use.mapped,
        per=port.per if port else None,
        wrap=use.wrap,
        optional=bool(port and port.optional),
        facets=_port_facets(check, state, port),
        mark=use.feed.mark,
    )


def _port_facets(check: Check, state: NodeState, port: Port | None) -> dict[str, Any]:
    """The facets that the loader is to meet at an input."""
    found: dict[str, Any] = {}
    for facet, value in (port.facets if port else {}).items():
        known = _solved(check, state, value) if isinstance(value, Var) else value
        if known is not None:
            found[facet] = known
    return found


def _solved(check: Check, state: NodeState, var: Var) -> Any:
    key = ("var", state.root.name, var.name)
    fixed = check.sizes.fixed(check.sizes.named(key)) if check.sizes.has(key) else None
    return fixed.value if fixed is not None else var.default


def vars_of(state: NodeState) -> dict[str, Var]:
    """Every size variable of a component, over all its calls."""
    found: dict[str, Var] = {}
    for call in state.calls.values():
        for port in (*call.takes.values(), *call.gives.values()):
            for value in (*port.sizes.values(), *port.facets.values()):
                if isinstance(value, Var) and (value.name not in found or found[value.name].default is None):
                    found[value.name] = value
    return found


def _node(check: Check, state: NodeState) -> Node:
    call, card, config = state.call, state.card, state.config
    assert call is not None and card is not None and config is not None
    when = _edge(check, state, "when", when_mode(state, state.when), None) if state.when is not None else None
    return Node(
        name=state.name,
        owner=state.root.name,
        card=card,
        call_name=state.call_name,
        call=call,
        config=config,
        facts=dict(state.facts),
        sizes={n: _solved(check, state, v) for n, v in vars_of(state).items()},
        edges={n: _edge(check, state, n, u, call.takes[n]) for n, u in state.uses.items()},
        when=when,
        stack=state.stack,
        gives={n: flow(check, w) for n, w in state.gives.items()},
        given_lists=dict(state.given_lists),
        maybe=state.maybe,
        weights=state.settings.weights or (),
        skip=state.root.raw.skip,
        placement=Placement(device=state.settings.device or "auto", dtype=state.settings.dtype),
        per_item=tuple(o.name for o in options_of(card.config) if o.per_item),
        mark=state.raw.mark,
    )
