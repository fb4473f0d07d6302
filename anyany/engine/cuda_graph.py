"""One decode step as a CUDA graph: captured once a batch, replayed a token, without any host synchronisation.

The step works on tensors in place (tokens, states, mask, cache), so that replaying it is running it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch


def _tensors(state: Any, cache: Any) -> list[torch.Tensor]:
    held = [getattr(state, f.name) for f in fields(state)]
    for layer in cache.layers:
        held += [v for v in (layer.keys, layer.values, layer.cumulative_length) if isinstance(v, torch.Tensor)]
    return held


def graphed(step: Callable[[], torch.Tensor], state: Any, cache: Any) -> Callable[[], torch.Tensor]:
    """`step` captured as a graph. Warm-up runs change state and cache, so both are put back before the first replay."""
    held = _tensors(state, cache)
    saved = [t.clone() for t in held]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            step()
            for tensor, value in zip(held, saved):
                tensor.copy_(value)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        hidden_BD = step()
    for tensor, value in zip(held, saved):
        tensor.copy_(value)

    def replay() -> torch.Tensor:
        graph.replay()
        return hidden_BD.clone()

    return replay
