"""Causal attention that sees a part of what came before: dense, local, strided or fixed patterns.

Child et al. 2019 (arXiv 1904.10509), section 4: strided attention is `local` and `strided` in turn, fixed attention is
`fixed`. GPT-3 (Brown et al. 2020, arXiv 2005.14165) takes `dense` and `local` in turn. With s the stride, a position
costs N, s, N/s or s + cN/s scores. Suffixes: B rows, H heads, N positions, d head width, M blocks, S stride, K keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from anyany_language.sequence_cards import PATTERNS


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """Which earlier positions a position sees; itself always.

    dense: all. local: the last `stride` ones. strided: those a multiple of `stride` away. fixed: its own block of
    `stride`, and the last `summary` positions of every earlier block.
    """

    kind: str
    stride: int
    summary: int = 1

    def __post_init__(self) -> None:
        if self.kind not in PATTERNS:
            raise ValueError(f"attention is one of {', '.join(PATTERNS)}, not {self.kind!r}")
        if not 1 <= self.summary <= self.stride:
            raise ValueError(f"a summary is 1 to {self.stride} positions, the stride, not {self.summary}")

    def seen(self, at: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """[...,K] truth values: which of the positions `keys` [...,K] the positions `at` [...] see."""
        at = at[..., None]
        before = keys <= at
        if self.kind == "local":
            return before & (at - keys < self.stride)
        if self.kind == "strided":
            return before & ((at - keys) % self.stride == 0)
        if self.kind == "fixed":
            same = at // self.stride == keys // self.stride
            return before & (same | (keys % self.stride >= self.stride - self.summary))
        return before


def attend(q_BHNd: torch.Tensor, k_BHNd: torch.Tensor, v_BHNd: torch.Tensor, pattern: Pattern) -> torch.Tensor:
    """[B,H,N,d] of whole sequences from position 0; no score outside the pattern's blocks is computed.

    Padding behind a sequence is seen by none of its positions.
    """
    length, stride = q_BHNd.shape[2], pattern.stride
    if pattern.kind == "dense" or (length <= stride and pattern.kind != "strided"):
        return F.scaled_dot_product_attention(q_BHNd, k_BHNd, v_BHNd, is_causal=True)
    short = -length % stride
    q, k, v = (F.pad(t, (0, 0, 0, short)).flatten(0, 1).unflatten(1, (-1, stride)) for t in (q_BHNd, k_BHNd, v_BHNd))
    if pattern.kind == "strided":  # BH S M d: every residue is a sequence of its own
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
    else:
        at_MS = torch.arange(length + short, device=q.device).view(-1, stride)
        k, v, at_MK = _local(k, v, at_MS) if pattern.kind == "local" else _fixed(k, v, at_MS, pattern.summary)
        seen_MSK = pattern.seen(at_MS, at_MK[:, None]) & (at_MK >= 0)[:, None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen_MSK)
    return out.flatten(1, 2)[:, :length].unflatten(0, q_BHNd.shape[:2])


def _local(k: torch.Tensor, v: torch.Tensor, at_MS: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Keys and values [BH,M,K,d] and positions [M,K] of the block before (below 0: none) and of the own block."""

    def with_before(x: torch.Tensor, fill: int, blocks: int) -> torch.Tensor:
        first = torch.full_like(x.narrow(blocks, 0, 1), fill)
        return torch.cat([torch.cat([first, x.narrow(blocks, 0, x.shape[blocks] - 1)], blocks), x], blocks + 1)

    return with_before(k, 0, 1), with_before(v, 0, 1), with_before(at_MS, -1, 0)


def _fixed(k: torch.Tensor, v: torch.Tensor, at_MS: torch.Tensor,
           summary: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """The same of all blocks' summaries (-1 where not earlier) and of the own block."""
    blocks = at_MS.shape[0]

    def with_summaries(x: torch.Tensor) -> torch.Tensor:
        last = x[:, :, -summary:].flatten(1, 2)[:, None].expand(-1, blocks, -1, -1)
        return torch.cat([last, x], 2)

    last_K = at_MS[:, -summary:].flatten()
    earlier_MK = torch.where(last_K[None] < at_MS[:, :1], last_K[None], -1)
    return with_summaries(k), with_summaries(v), torch.cat([earlier_MK, at_MS], 1)
