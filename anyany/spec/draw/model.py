"""What a drawing holds: boxes with rows of ports, and links between them, read off a checked graph.

An input's or a node's values leave by a row on the right and enter by a row on the left.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from anyany.spec.graph import Bracket, Edge, Fill, Flow, Graph, Handle, Input, Node, Output, Select, Source

INPUT, OUTPUT = "input", "output"
ITSELF = "itself"
"""The row by which a node is handed to a port of kind `node`."""


@dataclass(kw_only=True)
class Row:
    """A port: its name, and for outputs what flows out (`text`) and over which lists (`lists`)."""

    name: str
    text: str = ""
    lists: str = ""
    kind: str = ""


@dataclass(kw_only=True)
class Box:
    """An input, a node or an output."""

    key: str
    title: str
    subtitle: str
    role: str
    mapped: tuple[str, ...] = ()
    maybe: bool = False
    ins: dict[str, Row] = field(default_factory=dict)
    outs: dict[str, Row] = field(default_factory=dict)


@dataclass(kw_only=True)
class Link:
    """From a row on the right of a box to a row on the left of another. style: "flow", "when" or "node"."""

    source: str
    out: str
    target: str
    into: str
    style: str = "flow"
    star: bool = False
    maybe: bool = False


@dataclass(kw_only=True)
class Drawing:
    """All boxes by key, in the order of the spec, and all links."""

    title: str
    about: str
    boxes: dict[str, Box]
    links: list[Link]


def read(graph: Graph) -> Drawing:
    """The drawing of a graph. Nodes that only hold weights are left out unless they are handed to a port."""
    drawing = Drawing(title=graph.name, about=graph.about, boxes={}, links=[])
    for name, given in graph.inputs.items():
        suffix = "*" if given.many else "?" if given.optional else ""
        title = name if not given.has_default else f"{name} = …"
        drawing.boxes[_in(name)] = Box(key=_in(name), title=title, subtitle=given.kind + suffix, role=INPUT)
    for name in graph.order:
        node = graph.nodes[name]
        if node.runs or _handed(graph, name):
            drawing.boxes[name] = _node_box(node)
    for name, output in graph.outputs.items():
        suffix = "*" * len(output.flow.stack) + ("?" if output.flow.maybe else "")
        kind = "|".join(output.flow.kinds) + suffix
        drawing.boxes[_out(name)] = Box(key=_out(name), title=name, subtitle=kind, role=OUTPUT)
    for name in graph.order:
        for port, edge in graph.nodes[name].edges.items():
            _walk(drawing, edge.source, edge.flow, name, port)
        when: Edge | None = graph.nodes[name].when
        if when is not None:
            _walk(drawing, when.source, when.flow, name, "when", style="when")
    for name, output in graph.outputs.items():
        _walk(drawing, output.source, output.flow, _out(name), "")
    used = {key for link in drawing.links for key in (link.source, link.target)}
    drawing.boxes = {k: b for k, b in drawing.boxes.items() if k in used}
    return drawing


def flow_text(flow: Flow) -> str:
    """`features [N, 768]`, `audio 16000 Hz`, `text?`."""
    text = "|".join(flow.kinds)
    if flow.axes:
        text += " [" + ", ".join(a.name if a.size is None else str(a.size) for a in flow.axes) + "]"
    if "rate" in flow.facets:
        text += f" {flow.facets['rate']} Hz"
    if "vocab" in flow.facets:
        text += f" of {flow.facets['vocab']}"
    return text + ("?" if flow.maybe else "")


def _handed(graph: Graph, name: str) -> bool:
    sources = [e.source for n in graph.nodes.values() for e in n.edges.values()]
    return any(isinstance(s, Handle) and s.node == name for s in sources)


def _node_box(node: Node) -> Box:
    what = node.card.name if node.owner == node.name else f"of {node.owner}"
    calls = list(node.card.calls(node.config, _Anything())) if node.owner == node.name else []
    if node.owner != node.name or (calls and calls[0] != node.call_name):
        what += f" · {node.call_name}"
    return Box(key=node.name, title=node.name, subtitle=what, role=node.card.role, mapped=node.stack, maybe=node.maybe)


class _Anything:
    """Facts for a card that is asked only for the names of its calls."""

    def __getattr__(self, name: str) -> object:
        from anyany.api.v1 import Var

        if name.startswith("_"):
            raise AttributeError(name)
        return Var(name)

    def known(self, name: str, default: object = None) -> object:
        return default


def _in(name: str) -> str:
    return f"in:{name}"


def _out(name: str) -> str:
    return f"out:{name}"


def _walk(
    drawing: Drawing, source: Source, flow: Flow, target: str, into: str, *, style: str = "flow", star: bool = False
) -> None:
    """Add the links of one edge, one for each value that enters it."""
    if isinstance(source, Bracket):
        for entry in source.entries:
            _walk(drawing, entry.source, entry.flow, target, into, style=style, star=entry.star)
        return
    if isinstance(source, Fill):
        _walk(drawing, source.reply, source.reply_flow, target, into or "fill", style=style)
        for kind, entry in source.fills.items():
            _walk(drawing, entry.source, entry.flow, target, f"{into}.{kind}" if into else kind, style=style)
        return
    key, out = _origin(source)
    if key not in drawing.boxes:
        return
    style = "node" if isinstance(source, Handle) else style
    row = Row(name=out, text=flow_text(flow), lists=" ".join(f"× {s}" for s in flow.stack), kind=(*flow.kinds, "")[0])
    if isinstance(source, Handle):
        row = Row(name=ITSELF, text="the node itself", kind="node")
    drawing.boxes[key].outs.setdefault(row.name, row)
    drawing.boxes[target].ins.setdefault(into, Row(name=into))
    drawing.links.append(
        Link(source=key, out=row.name, target=target, into=into, style=style, star=star, maybe=flow.maybe)
    )


def _origin(source: Source) -> tuple[str, str]:
    """The box and the row by which a plain value leaves."""
    if isinstance(source, Input):
        return _in(source.name), ""
    if isinstance(source, Output):
        return source.node, source.port
    if isinstance(source, Handle):
        return source.node, ITSELF
    assert isinstance(source, Select)
    key, out = _origin(source.source)
    return key, f"{out}.{source.kind}"
