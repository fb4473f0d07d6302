"""Inspecting a graph on the meta device: parameters and FLOPs of each node, with inputs made up from its ports.

A component may say how it is to be probed: `example(call, config)` gives the rows of its inputs, `probe(call)` a
function that makes one pass of a loop (a language model, a sampler). No weights are read, nothing is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from anyany.api.v1 import Port, Var
from anyany.engine.build import build_on_meta, default_reach, implementation, parse_weights
from anyany.engine.component import Assets
from anyany.engine.context import Context
from anyany.engine.noise import Noise
from anyany.engine.rows import Rows
from anyany.kinds.message import Media, Message
from anyany.spec.graph import Graph, Node

META = torch.device("meta")
LENGTH, SIDE, SECONDS, FRAMES = 16, 224, 2, 8
PROMPT = "What is to be seen in this picture, and what is to be heard?"


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """One node. parameters: of its own weights (None: unknown); flops: of one call on `input` (None: see note)."""

    node: str
    component: str
    call: str
    parameters: int | None
    flops: int | None
    input: str
    note: str = ""


def inspect_graph(graph: Graph, *, offline: bool = False) -> list[Inspected]:
    """One line for each node, in order. Small assets (config.json) are read; weights are not."""
    reach = default_reach(graph, offline=offline)
    built: dict[str, Any] = {}
    rows = []
    for name in graph.order:
        node = graph.nodes[name]
        if node.owner not in built:
            built[node.owner] = _component(graph.nodes[node.owner], reach)
        rows.append(_inspect(node, built[node.owner]))
    return rows


def _component(node: Node, reach: Any) -> Any:
    """The component on meta, or the exception that keeps it from being built."""
    from anyany.errors import AnyanyError
    from anyany.weights.errors import WeightsError

    try:
        return build_on_meta(node, META, torch.float32, Assets(assets_folder(node, reach)))
    except (AnyanyError, WeightsError):
        raise
    except Exception as error:
        return error


def assets_folder(node: Node, reach: Any) -> Any:
    """Where the small files of a node's checkpoint lie; None for random weights."""
    from pathlib import Path

    from anyany.weights.locate import locate
    from anyany.weights.sources import RandomSource

    sources = [s for s in parse_weights(node) if not isinstance(s, RandomSource)]
    return Path(locate(sources[0], reach, weights=False).folder) if sources else None


def _inspect(node: Node, component: Any) -> Inspected:
    common = {"node": node.name, "component": node.card.name, "call": node.call_name if node.runs else ""}
    if isinstance(component, Exception):
        return Inspected(parameters=None, flops=None, input="", note=f"cannot be built: {_line(component)}", **common)
    own = node.owner == node.name
    module = isinstance(component, torch.nn.Module)
    parameters = sum(p.numel() for p in component.parameters()) if own and module else 0
    if not node.runs:
        return Inspected(parameters=parameters, flops=None, input="", note="only holds weights", **common)
    if not module or not any(True for _ in component.parameters()):
        return Inspected(parameters=parameters, flops=None, input="", note="no weights", **common)
    note = "" if own else f"weights of {node.owner}"
    try:
        flops, told, extra = count(node, component)
    except Exception as error:
        return Inspected(parameters=parameters, flops=None, input="", note=f"not counted: {_line(error)}", **common)
    note = "; ".join(filter(None, (note, extra)))
    return Inspected(parameters=parameters, flops=flops, input=told, note=note, **common)


def count(node: Node, component: Any) -> tuple[int, str, str]:
    """(FLOPs, the input in words, a remark) of one call of a component on meta."""
    from torch.utils.flop_counter import FlopCounterMode

    single = _single_pass(node, component)
    if single is not None:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            single[0]()
        return counter.get_total_flops(), single[1], "one pass"
    given = example(node, component)
    told = ", ".join(f"{n} {describe(r)}" for n, r in given.items())
    method = getattr(component, node.call_name)
    ctx = Context(node=node.name, call=node.call_name, keys=[(0,)], noise=Noise(0, ["0"]), device=META,
                  dtype=torch.float32)  # fmt: skip
    failure: Exception | None = None
    for device in ("cpu", "meta"):  # small tables that a component makes itself may want to be on either
        try:
            with FlopCounterMode(display=False) as counter, torch.no_grad(), torch.device(device):
                method(ctx, **given)
            return counter.get_total_flops(), told, ""
        except Exception as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _single_pass(node: Node, component: Any) -> tuple[Callable[[], Any], str] | None:
    """One pass of a loop: the component's own `probe`, or one forward pass of a transformers language model."""
    probe = getattr(component, "probe", None)
    if probe is not None:
        found = probe(node.call_name)
        if found is not None:
            return found, getattr(found, "__doc__", None) or "one pass"
    model: Any = getattr(component, "model", None)
    if node.card.role == "backbone" and hasattr(model, "get_input_embeddings"):
        tokens = 64
        width = model.get_input_embeddings().weight.shape[1]
        hidden = torch.empty(1, tokens, width, device=META)
        mask = torch.empty(1, 1, tokens, tokens, device=META)
        places = torch.empty(1, tokens, dtype=torch.long, device=META)

        def one_pass() -> None:
            model(inputs_embeds=hidden, attention_mask=mask, position_ids=places, use_cache=False)

        return one_pass, f"{tokens} tokens"
    return None


def example(node: Node, component: Any = None) -> dict[str, Rows]:
    """Rows of one element for each fed port: the component's own `example`, or made up from the ports."""
    own = getattr(component if component is not None else implementation(node), "example", None)
    if own is not None:
        given: dict[str, Rows] = own(node.call_name, node.config)
        return given
    ports = {n: p for n, p in node.call.takes.items() if n in node.edges and "node" not in p.kinds}
    made = {}
    for name, port in ports.items():
        kind = node.edges[name].flow.kinds[0] if not node.edges[name].wrap else "message"
        value = value_of(kind, port, node.sizes, node.config, [n for n, p in ports.items() if p.per == name])
        made[name] = Rows([value], counts=[1] if port.many or port.per is not None else None)
    return made


def value_of(kind: str, port: Port, sizes: Mapping[str, int | None], config: Any, places: list[str]) -> Any:
    """A value of a kind that a port takes, on meta where it is a tensor."""
    from anyany import media

    channels = _whole(port.facets.get("channels"), sizes, 3)
    side = int(getattr(config, "resolution", None) or SIDE)
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


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
