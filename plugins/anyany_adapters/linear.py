"""Linear adapter: one layer from the width of what it reads to the width its neighbour asks for (LLaVA).

features: [B,N,D], packed [T,D] or embeddings [B,D] -> the same with width E. Names: `weight`, `bias`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows
from anyany_adapters.widths import on_last_axis, width


class LinearAdapter(Component):
    """Options: `LinearConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        rows, columns = width("outputs", config, build), width("inputs", config, build)
        self.weight = nn.Parameter(torch.empty(rows, columns))
        self.bias = nn.Parameter(torch.empty(rows)) if config.bias else None

    def layers(self, x: torch.Tensor) -> torch.Tensor:
        """[..., D] -> [..., E]."""
        return nn.functional.linear(x, self.weight, self.bias)

    def project(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        """features of width D -> features of width E."""
        return on_last_axis(self, ctx, features)
