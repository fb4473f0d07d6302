"""Graphs built by hand, without the checker: a chain of toys for the engine's own tests and its benchmark."""

from __future__ import annotations

from plugins_for_tests import engine_toys

from anyany.api.v1 import Card
from anyany.spec.graph import Edge, Flow, Graph, GraphInput, GraphOutput, Input, Node, Output, Placement, Source


def card(name: str) -> Card:
    """A toy's card."""
    return next(c for c in engine_toys.CARDS if c.name == f"et/{name}")


def node(name: str, component: str, edges: dict[str, tuple[Source, Flow]]) -> Node:
    """A node without lists, each edge mapped."""
    made = card(component)
    config = made.config()
    call = made.calls(config, None)["run"]
    wired = {
        port: Edge(node=name, port=port, source=source, flow=flow, mode="map", mapped=flow.stack,
                   optional=call.takes[port].optional)
        for port, (source, flow) in edges.items()
    }  # fmt: skip
    gives = {}
    for port, p in call.gives.items():
        gives[port] = Flow(kinds=("text",) if p.kinds == ("any",) else p.kinds, maybe=p.optional)
    return Node(
        name=name, owner=name, card=made, call_name="run", call=call, config=config, facts={}, sizes={}, edges=wired,
        when=None, stack=(), gives=gives, given_lists={}, maybe=False, weights=(), skip=(),
        placement=Placement(device="cpu"), per_item=(),
    )  # fmt: skip


def chain(length: int, component: str = "pass", kind: str = "text") -> Graph:
    """x -> n0 -> n1 -> ... -> out."""
    flow = Flow(kinds=(kind,), label="x")
    source: Source = Input(name="x")
    nodes = {}
    for i in range(length):
        nodes[f"n{i}"] = node(f"n{i}", component, {"x": (source, flow)})
        source = Output(node=f"n{i}", port="x")
    made = GraphInput(name="x", kind=kind, many=False, optional=False, has_default=False, default=None, flow=flow)
    return Graph(
        name="chain", about="", file=None, folder=".", profile=None, inputs={"x": made}, nodes=nodes,
        order=tuple(nodes), outputs={"y": GraphOutput(name="y", source=source, flow=flow)},
    )  # fmt: skip
