"""Aurora's Perceiver block: latents look at the levels of their patch, norms behind attention and feed-forward layer.

Unlike Flamingo's, latents are not among the keys. Suffixes: B patches, Q latents, K levels, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Sizes of a resampler. depth: blocks; ratio: feed-forward width over the width; norm: of keys and queries in the
    first block; residual: latents are added to what they saw.
    """

    heads: int
    head: int
    depth: int = 1
    ratio: float = 4.0
    eps: float = 1e-5
    norm: bool = False
    residual: bool = True


class Mlp(nn.Module):
    """Linear, GELU, linear. Names: `net.0`, `net.2`."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.net(x)
        return made


class Look(nn.Module):
    """Cross-attention without biases; with `norm`, keys and queries are normed over all heads together."""

    def __init__(self, width: int, context: int, heads: int, head: int, norm: bool) -> None:
        super().__init__()
        self.heads, inner = heads, heads * head
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(context, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)
        if norm:
            self.ln_k, self.ln_q = nn.LayerNorm(inner), nn.LayerNorm(inner)
        self.norm = norm

    def forward(self, latents_BQD: torch.Tensor, levels_BKD: torch.Tensor) -> torch.Tensor:
        query, (key, value) = self.to_q(latents_BQD), self.to_kv(levels_BKD).chunk(2, -1)
        if self.norm:
            query, key = self.ln_q(query), self.ln_k(key)
        query, key, value = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (query, key, value))
        seen = F.scaled_dot_product_attention(query, key, value)
        found: torch.Tensor = self.to_out(seen.transpose(1, 2).flatten(2))
        return found


class LevelResampler(nn.Module):
    """Latents [B,Q,D] that have looked at levels [B,K,D]. Names: `layers.N.{0: look, 1: mlp, 2, 3: norms}`."""

    def __init__(self, width: int, context: int, looks: Looks) -> None:
        super().__init__()
        self.residual = looks.residual
        self.layers = nn.ModuleList(
            nn.ModuleList([
                Look(width, context, looks.heads, looks.head, looks.norm and i == 0),
                Mlp(width, int(width * looks.ratio)), nn.LayerNorm(width, eps=looks.eps),
                nn.LayerNorm(width, eps=looks.eps),
            ]) for i in range(looks.depth)
        )  # fmt: skip

    def forward(self, latents_BQD: torch.Tensor, levels_BKD: torch.Tensor) -> torch.Tensor:
        layer: Any
        for layer in self.layers:
            look, mlp, first, second = layer
            seen = first(look(latents_BQD, levels_BKD))
            latents_BQD = seen + latents_BQD if self.residual else seen
            latents_BQD = second(mlp(latents_BQD)) + latents_BQD
        return latents_BQD
