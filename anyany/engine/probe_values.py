"""Values to inspect a graph with, on the meta device: what the nodes before a node gave, or made up from its ports.

A component may give its own: `example(call, config)`, the rows of its inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from anyany.api.v1 import Port, Var
from anyany.engine.rows import Rows
from anyany.kinds.message import Media, Message
from anyany.spec.graph import Bracket, Node, Output, Source

META = torch.device("meta")
LENGTH, SIDE, SECONDS, FRAMES = 16, 224, 2, 8
PROMPT = "What is to be seen in this picture, and what is to be heard?"
Made = dict[tuple[str, str], list[torch.Tensor]]
"""What nodes gave, by (node, port): one element's tensors, on meta."""


def example(node: Node, component: Any, made: Made) -> dict[str, Rows]:
    """Rows of one element for each fed port: the component's own `example`, what the nodes before it gave
    (`made`), or made up from the ports."""
    own = getattr(component, "example", None)
    if own is not None:
        given: dict[str, Rows] = own(node.call_name, node.config)
        return given
    ports = {n: p for n, p in node.call.takes.items() if n in node.edges and "node" not in p.kinds}
    found = {}
    for name, port in ports.items():
        edge = node.edges[name]
        several = port.many or port.per is not None
        values = _given(edge.source, port, made)
        if values is None:
            kind = edge.flow.kinds[0] if not edge.wrap else "message"
            places = [n for n, p in ports.items() if p.per == name]
            values = [value_of(kind, port, node.sizes, node.config, places)]
        elif port.per is not None or not several:
            values = values[:1]
        found[name] = Rows(values, counts=[len(values)] if several else None)
    return found


def _given(source: Source, port: Port, made: Made) -> list[torch.Tensor] | None:
    """The tensors that an edge would carry, as far as the nodes before it could be run on meta."""
    if isinstance(source, Bracket) and source.into == "list":
        parts = [_given(entry.source, port, made) for entry in source.entries]
        return [v for part in parts for v in part or ()] if all(parts) else None
    if not isinstance(source, Output):
        return None
    values = made.get((source.node, source.port), [])
    named = [a for a in port.axes if a != "..."]
    fits = all(v.dim() == len(named) or (len(named) != len(port.axes) and v.dim() > len(named)) for v in values)
    return values if values and fits else None


def value_of(kind: str, port: Port, sizes: Mapping[str, int | None], config: Any, places: list[str]) -> Any:
    """A value of a kind that a port takes, on meta where it is a tensor."""
    from anyany import media

    channels = _whole(port.facets.get("channels"), sizes, 3)
    side = getattr(config, "resolution", None)
    side = side if isinstance(side, int) and side else SIDE
    if kind == "message":
        return Message((PROMPT, *(Media(kind=k, value=torch.empty(3, side, side, device=META)) for k in places)))
    if kind == "text":
        return PROMPT
    if kind == "label":
        return 0
    if kind == "image":
        return torch.empty(channels, side, side, device=META)
    if kind == "audio":
        rate = _whole(port.facets.get("rate"), sizes, 16000)
        return media.Audio(torch.empty(1, rate * SECONDS, device=META), rate)
    if kind == "video":
        return media.Video(torch.empty(FRAMES, channels, side, side, device=META), 8.0)
    axes = [a for a in port.axes if a != "..."] or {"features": ["N", "D"], "embedding": ["D"]}.get(kind, ["N"])
    if port.axes[:1] == ("...",) and kind == "features":
        axes = ["N", *axes]
    shape = [_whole(port.sizes.get(a), sizes, LENGTH) for a in axes]
    return torch.empty(shape, device=META, dtype=torch.long if kind == "tokens" else torch.float32)


def _whole(size: Any, sizes: Mapping[str, int | None], default: int) -> int:
    if isinstance(size, Var):
        return sizes.get(size.name) or size.default or default
    return size if isinstance(size, int) else default


def describe(rows: Rows) -> str:
    """A made-up input in few words: "3×224×224", "61 characters"."""
    value = rows[0]
    if isinstance(value, str):
        return f"{len(value)} characters"
    if isinstance(value, Message):
        return "a message"
    shape = getattr(getattr(value, "samples", getattr(value, "frames", value)), "shape", None)
    return "×".join(map(str, shape)) if shape is not None else str(value)
