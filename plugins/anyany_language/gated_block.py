"""Flamingo's gated cross-attention block (Alayrac et al. 2022, arXiv 2204.14198), as OpenFlamingo computes it.

x + tanh(gate) * attention(x, media), then + tanh(gate) * feed-forward. Closed gates (0) change nothing, bit for bit.
Suffixes: B rows, L text positions, K tokens of all media of a row end to end, D text width, V visual width, A heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a row of text may look at.

    media_BKV: tokens of all media. owner_BK: whose token it is, media counted from 1; 0 is padding.
    time_BL: how many media stand at or before each text position; None: no mask at all.
    immediate: a position sees only the medium before it (all released models), else all media before it.
    """

    media_BKV: torch.Tensor
    owner_BK: torch.Tensor
    time_BL: torch.Tensor | None
    immediate: bool = True

    def at(self, length: int) -> Seen:
        """For a pass over `length` positions: the whole prompt, or a later token, which sees what its end sees."""
        if self.time_BL is None or self.time_BL.shape[1] == length:
            return self
        last = self.time_BL[:, -1:].expand(-1, length)
        return Seen(media_BKV=self.media_BKV, owner_BK=self.owner_BK, time_BL=last, immediate=self.immediate)


class MaskedCrossAttention(nn.Module):
    """Text asks, media answer; the text is normed here, the media are not."""

    def __init__(self, dim: int, visual: int, head: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, head * heads, bias=False)
        self.to_kv = nn.Linear(visual, 2 * head * heads, bias=False)
        self.to_out = nn.Linear(head * heads, dim, bias=False)

    def forward(self, x_BLD: torch.Tensor, seen: Seen) -> torch.Tensor:
        k, v = self.to_kv(seen.media_BKV).chunk(2, -1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.to_q(self.norm(x_BLD)), k, v))
        score = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        real_B1K = (seen.owner_BK > 0)[:, None]
        if seen.time_BL is not None:
            score = score.masked_fill(~_visible(seen)[:, None], -torch.finfo(score.dtype).max)
        # Tokens before any medium see all of them evenly (the reference does so), but never padding.
        score = score.masked_fill(~real_B1K[:, None], float("-inf"))
        weight = score.softmax(-1).masked_fill(~real_B1K[:, None], 0.0)
        if seen.time_BL is not None and seen.immediate:
            weight = weight.masked_fill((seen.time_BL == 0)[:, None, :, None], 0.0)
        return self.to_out((weight @ v).transpose(1, 2).flatten(2))


def _visible(seen: Seen) -> torch.Tensor:
    """[B,L,K] truth values."""
    assert seen.time_BL is not None
    time, owner = seen.time_BL[:, :, None], seen.owner_BK[:, None]
    return (owner == time) if seen.immediate else (owner <= time)


class GatedBlock(nn.Module):
    """The block before a layer of the language model."""

    def __init__(self, dim: int, visual: int, head: int, heads: int, factor: int) -> None:
        super().__init__()
        self.attn = MaskedCrossAttention(dim, visual, head, heads)
        self.attn_gate = nn.Parameter(torch.empty(1))
        inner = dim * factor
        self.ff = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, inner, bias=False), nn.GELU(),
                                nn.Linear(inner, dim, bias=False))  # fmt: skip
        self.ff_gate = nn.Parameter(torch.empty(1))

    def forward(self, x_BLD: torch.Tensor, seen: Seen) -> torch.Tensor:
        x_BLD = x_BLD + self.attn_gate.tanh() * self.attn(x_BLD, seen)
        return x_BLD + self.ff_gate.tanh() * self.ff(x_BLD)
