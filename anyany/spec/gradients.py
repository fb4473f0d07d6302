"""Which nodes a gradient of a graph's outputs reaches, by the kinds on its edges.

Text, tokens, labels and boxes are discrete: nothing flows back over them. Source: DESIGN section 8.
"""

from __future__ import annotations

from anyany.spec.graph import Bracket, Fill, Graph, Output, Source

CARRYING = frozenset({"features", "embedding", "latent", "scores", "field", "image", "audio", "video", "mask", "loss"})


def reached_by_gradient(graph: Graph) -> frozenset[str]:
    """Names of the nodes that some output depends on over edges that carry gradients."""
    reached: set[str] = set()
    waiting = [name for out in graph.outputs.values() for name in _givers(graph, out.source)]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        for edge in graph.nodes[name].edges.values():
            waiting += _givers(graph, edge.source)
    return frozenset(reached)


def _givers(graph: Graph, source: Source) -> list[str]:
    """Nodes whose values arrive over this edge with a gradient."""
    if isinstance(source, Output):
        kinds = graph.nodes[source.node].gives[source.port].kinds
        return [source.node] if CARRYING & set(kinds) else []
    if isinstance(source, Bracket):
        return [n for e in source.entries for n in _givers(graph, e.source)]
    if isinstance(source, Fill):
        return [n for e in source.fills.values() for n in _givers(graph, e.source)]
    return []
