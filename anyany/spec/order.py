"""The order in which nodes can be computed, and cycles told with every edge on them.

The order is topological and, among nodes that are free, that of the file.
"""

from __future__ import annotations

from collections.abc import Iterator

from anyany.spec.raw import BracketRef, FillRef, RawEdge, RawNode, Ref
from anyany.spec.wires import Check


def refs_of(edge: RawEdge | None) -> Iterator[Ref]:
    """Every name in an edge."""
    if isinstance(edge, Ref):
        yield edge
    elif isinstance(edge, BracketRef):
        for inner, _ in edge.entries:
            yield from refs_of(inner)
    elif isinstance(edge, FillRef):
        yield from refs_of(edge.reply)
        for inner in edge.fills.values():
            yield from refs_of(inner)


def refs_of_node(node: RawNode) -> Iterator[Ref]:
    """Every name that feeds a node."""
    yield from refs_of(node.short)
    for edge in node.ports.values():
        yield from refs_of(edge)
    yield from refs_of(node.when)


def sort_nodes(check: Check) -> None:
    """Set `check.order`. Nodes on a cycle are told and broken, and come last."""
    needs: dict[str, dict[str, Ref]] = {}
    for name, raw in check.spec.nodes.items():
        edges = needs[name] = {}
        for ref in refs_of_node(raw):
            if ref.parts[0] in check.spec.nodes:
                edges.setdefault(ref.parts[0], ref)
    order: list[str] = []
    waiting = dict.fromkeys(needs)
    while waiting:
        free = [n for n in waiting if all(d not in waiting for d in needs[n])]
        if not free:
            cycle = _cycle({n: needs[n] for n in waiting})
            _tell_cycle(check, cycle, needs)
            for name in cycle:
                check.nodes[name].broken = True
            free = cycle
        for name in free:
            del waiting[name]
        order += free
    check.order = tuple(order)


def _cycle(needs: dict[str, dict[str, Ref]]) -> list[str]:
    """One cycle, in the order of the flow, beginning with the node that comes first in the file."""
    seen: list[str] = [next(iter(needs))]
    while True:
        following = next(d for d in needs[seen[-1]] if d in needs)
        if following in seen:
            cycle = seen[seen.index(following) :][::-1]
            first = min(range(len(cycle)), key=lambda i: list(needs).index(cycle[i]))
            return cycle[first:] + cycle[:first]
        seen.append(following)


def _tell_cycle(check: Check, cycle: list[str], needs: dict[str, dict[str, Ref]]) -> None:
    shown = " → ".join([*cycle, cycle[0]])
    edges = [needs[node][cycle[i - 1]] for i, node in enumerate(cycle)]
    related = [(ref.mark, f"`{node}` takes `{ref.text}`") for node, ref in zip(cycle[1:], edges[1:])]
    check.tell(
        "E202",
        f"the nodes form a cycle: {shown}",
        mark=edges[0].mark,
        path=edges[0].path,
        related=related,
        help="take one of these edges from elsewhere; loops live inside components, which take a node as `{of: node}`",
    )
