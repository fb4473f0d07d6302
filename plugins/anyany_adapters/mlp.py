"""MLP adapter: linear layers with GELU or ReLU between them (LLaVA-1.5's `mlp2x_gelu`, arXiv 2310.03744).

features: [B,N,D], packed [T,D] or embeddings [B,D] -> the same with width E. Names: `0.weight`, `0.bias`, `2.weight`, …
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows
from anyany_adapters.widths import on_last_axis, width


class MlpAdapter(Component):
    """Options: `MlpConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        first, last = width("inputs", config, build), width("outputs", config, build)
        hidden = config.hidden or build.facts.get("hidden") or last
        widths = [first, *[int(hidden)] * (config.depth - 1), last]
        for i, (a, b) in enumerate(pairwise(widths)):
            self.add_module(str(2 * i), nn.Linear(a, b))
            if i < config.depth - 1:
                self.add_module(str(2 * i + 1), nn.GELU() if config.act == "gelu" else nn.ReLU())

    def layers(self, x: torch.Tensor) -> torch.Tensor:
        """[..., D] -> [..., E]."""
        for layer in self.children():
            x = layer(x)
        return x

    def project(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        """features of width D -> features of width E."""
        return on_last_axis(self, ctx, features)
