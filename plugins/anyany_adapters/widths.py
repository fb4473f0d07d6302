"""The widths of an adapter: from its options, its checkpoint, or its neighbours.

Shapes: features [B,N,D], packed [T,D], or embeddings [B,D]; only the last axis matters here.
"""

from __future__ import annotations

from typing import Any

from anyany.api.torch import Build, Component, Context, Rows


def width(name: str, config: Any, build: Build) -> int:
    """The size called `name` ("inputs", "outputs"). Raises ValueError when nothing fixes it."""
    value = getattr(config, name) or build.facts.get(name) or build.sizes.get(name)
    if value is None:
        raise ValueError(f"nothing fixes the {name} width of {build.node}; give `with: {{{name}: …}}`")
    return int(value)


def on_last_axis(component: Component, ctx: Context, features: Rows) -> dict[str, Rows]:
    """The component's `layers` on the last axis of dense, packed or listed rows, without padding."""
    import torch

    if isinstance(features.data, torch.Tensor):
        return {"features": Rows(component.layers(features.data), features.offsets)}
    values = features.list()
    if values and values[0].dim() == 1:
        return {"features": ctx.rows(component.layers(torch.stack(values)))}
    packed, offsets = features.packed()
    return {"features": Rows(component.layers(packed), offsets)}
