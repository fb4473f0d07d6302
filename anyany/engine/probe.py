"""Inspecting a graph on the meta device: parameters and FLOPs of each node, with inputs made up from its ports.

A node's inputs are what the nodes before it gave, so that lengths are real ones. A component may say how it is to be
probed: `example(call, config)` gives the rows of its inputs; `probe(call)`, or `one_pass(given)` over the rows of its
inputs, a function that makes one pass of a loop (a sampler, a language model) with the input in words as its
docstring, or None; what it returns is as what a call returns. No weights are read, nothing is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from anyany.engine.build import build_on_meta, default_reach, parse_weights
from anyany.engine.component import Assets
from anyany.engine.context import Context
from anyany.engine.decode import cache_kind
from anyany.engine.noise import Noise
from anyany.engine.probe_values import META, Made, describe, example
from anyany.engine.rows import Rows
from anyany.spec.graph import Graph, Node

WORDS = 64
"""How many words a language model reads in the one pass that is counted."""


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
    made: Made = {}
    rows = []
    for name in graph.order:
        node = graph.nodes[name]
        if node.owner not in built:
            built[node.owner] = _component(graph.nodes[node.owner], reach)
        rows.append(_inspect(node, built[node.owner], made))
    return rows


def _component(node: Node, reach: Any) -> Any:
    """The component on meta, or the exception that keeps it from being built."""
    from anyany.errors import AnyanyError
    from anyany.weights.errors import WeightsError

    try:
        component = build_on_meta(node, META, torch.float32, Assets(assets_folder(node, reach)))
        return component.requires_grad_(False) if isinstance(component, torch.nn.Module) else component
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


def _inspect(node: Node, component: Any, made: Made) -> Inspected:
    common = {"node": node.name, "component": node.card.name, "call": node.call_name if node.runs else ""}
    if isinstance(component, Exception):
        return Inspected(parameters=None, flops=None, input="", note=f"cannot be built: {_line(component)}", **common)
    own = node.owner == node.name
    module = isinstance(component, torch.nn.Module)
    weights = module and any(True for _ in component.parameters())
    parameters = sum(p.numel() for p in component.parameters()) if own and module else 0
    if not node.runs:
        return Inspected(parameters=parameters, flops=None, input="", note="only holds weights", **common)
    if not weights:
        _pass_on(node, component, made)
        return Inspected(parameters=parameters, flops=None, input="", note="no weights", **common)
    try:
        flops, told, extra = count(node, component, made)
    except Exception as error:
        return Inspected(parameters=parameters, flops=None, input="", note=f"not counted: {_why(error)}", **common)
    note = "; ".join(filter(None, ("" if own else f"weights of {node.owner}", extra)))
    return Inspected(parameters=parameters, flops=flops, input=told, note=note, **common)


def _pass_on(node: Node, component: Any, made: Made) -> None:
    """What a node without weights makes of tensors, for the nodes after it: a mean, a mixture, a pooling.

    Encoders and adapters are run on made-up inputs too. Nothing else is: it may write files or ask a server.
    Where it cannot be run, the nodes after it make up theirs.
    """
    fed = [name for name, port in node.call.takes.items() if name in node.edges and "node" not in port.kinds]
    if node.card.runtime != "torch" or not fed:
        return
    given = example(node, component, made)
    known = {id(v) for values in made.values() for v in values}
    pure = node.card.role in ("encoder", "adapter")
    if pure or all(id(v) in known for rows in given.values() for v in rows.list()):
        with suppress(Exception):
            count(node, component, made)


def count(node: Node, component: Any, made: Made) -> tuple[int, str, str]:
    """(FLOPs, the input in words, a remark) of one call of a component on meta; what it gives is added to `made`."""
    given = example(node, component, made)
    single = _single_pass(node, component, given)
    results: dict[str, Any] = {}
    if single is not None:
        flops = _counted(lambda: results.update(result=single()))
        if isinstance(results["result"], dict):
            _keep(node, results["result"], made)
        return flops, getattr(single, "__doc__", None) or "one pass", "one pass"
    method = getattr(component, node.call_name)
    ctx = Context(node=node.name, call=node.call_name, keys=[(0,)], noise=Noise(0, ["0"]), device=META,
                  dtype=torch.float32)  # fmt: skip
    failure: Exception | None = None
    # What was given may be of a shape that only the whole run would show to be wrong; then it is made up.
    for rows in (given, example(node, component, {})):
        for device in ("cpu", "meta"):  # small tables that a component makes itself may want to be on either
            try:
                with torch.device(device):
                    flops = _counted(lambda rows=rows: results.update(method(ctx, **rows)))  # type: ignore[misc]
            except Exception as error:
                failure = failure or error
                continue
            _keep(node, results, made)
            return flops, ", ".join(f"{n} {describe(r)}" for n, r in rows.items()), ""
    assert failure is not None
    raise failure


def _counted(run: Callable[[], Any]) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return int(counter.get_total_flops())


def _keep(node: Node, results: Mapping[str, Any], made: Made) -> None:
    """Note the tensors that a call gave, for the nodes after it."""
    for port, value in results.items():
        values = value.list() if isinstance(value, Rows) else list(value) if isinstance(value, torch.Tensor) else []
        if values and all(isinstance(v, torch.Tensor) for v in values):
            made[node.name, port] = values


def _single_pass(node: Node, component: Any, given: Mapping[str, Rows]) -> Callable[[], Any] | None:
    """One pass of a loop: the component's own, or a forward pass of a transformers language model over the words of a
    prompt and the features at its places."""
    for name, argument in (("probe", node.call_name), ("one_pass", given)):
        own = getattr(component, name, None)
        found: Callable[[], Any] | None = own(argument) if own is not None else None
        if found is not None:
            return found
    model: Any = getattr(component, "model", None)
    if node.card.role != "backbone" or not hasattr(model, "get_input_embeddings"):
        return None
    media = places(node, given)
    tokens = WORDS + sum(media.values())
    inputs = {"inputs_embeds": torch.empty(1, tokens, model.get_input_embeddings().weight.shape[1], device=META)}
    if model.config.is_encoder_decoder:
        inputs["decoder_inputs_embeds"] = inputs["inputs_embeds"][:, :WORDS]
    elif cache_kind(model.config) != "state":  # without them, transformers looks into values that are not there
        inputs["attention_mask"] = torch.empty(1, 1, tokens, tokens, device=META)
        inputs["position_ids"] = torch.empty(1, tokens, dtype=torch.long, device=META)

    def one_pass() -> None:
        model(**inputs, use_cache=False)

    one_pass.__doc__ = " + ".join([f"{WORDS} words", *(f"{n} of {kind}" for kind, n in media.items() if n)])
    return one_pass


def places(node: Node, given: Mapping[str, Rows]) -> dict[str, int]:
    """How many positions the features at the places of a prompt take, by port."""
    ports = [name for name, port in node.call.takes.items() if port.per is not None and name in given]
    return {name: sum(v.shape[0] if v.dim() > 1 else 1 for v in given[name].list()) for name in ports}


def _why(error: BaseException) -> str:
    return "its cost follows from values, not from sizes" if "meta tensor" in str(error) else _line(error)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
