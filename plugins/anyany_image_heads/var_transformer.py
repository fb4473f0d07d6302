"""VAR's transformer (Tian et al. 2024, arXiv 2404.02905), official names: next-scale prediction with a static cache.

All that a condition decides (shifts, scales, gates of every block) is made once a picture, not once a scale.
Suffixes: R rows, T tokens of this pass, L all tokens, C width, H heads, Z channels of a code, V codes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany_image_heads.transformer_parts import Linear, Mlp, modulated, modulation, product

HIGHEST = math.log(100)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a condition decides: [R,6,C] a block (two gates, scales, shifts), and the head's scale and shift [R,2,C]."""

    blocks: list[torch.Tensor]
    head: torch.Tensor

    def beside(self, other: Conditions) -> Conditions:
        """Those of these rows, then those of others; a single other row counts for as many."""

        def joined(mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
            return torch.cat([mine, theirs.expand(len(mine), -1, -1) if len(theirs) == 1 else theirs])

        return Conditions(blocks=list(map(joined, self.blocks, other.blocks)), head=joined(self.head, other.head))


class Cache:
    """Keys and values of the scales so far, [R,H,L,C/H] a block, of their full length from the start."""

    def __init__(self, keys: list[torch.Tensor], values: list[torch.Tensor], used: int = 0) -> None:
        self.keys, self.values, self.used = keys, values, used

    @staticmethod
    def empty(blocks: int, shape: tuple[int, int, int, int], like: torch.Tensor) -> Cache:
        keys, values = ([like.new_empty(shape) for _ in range(blocks)] for _ in range(2))
        return Cache(keys, values)

    def first(self, rows: int) -> Cache:
        """A view of the first rows."""
        return Cache([k[:rows] for k in self.keys], [v[:rows] for v in self.values], self.used)

    def put(self, rows: int, other: Cache) -> None:
        """What another cache holds becomes what the rows from `rows` on hold; a single row counts for all."""
        for mine, theirs in ((self.keys, other.keys), (self.values, other.values)):
            for held, new in zip(mine, theirs):
                held[rows:, :, : other.used] = new[:, :, : other.used]


class Attention(nn.Module):
    """Self-attention without a key bias; with `unit`, of unit-norm queries and keys with a learned heat a head."""

    def __init__(self, width: int, heads: int, unit: bool) -> None:
        super().__init__()
        self.heads, self.unit = heads, unit
        self.scale = 1.0 if unit else 0.25 / math.sqrt(width // heads)
        if unit:
            self.scale_mul_1H11 = nn.Parameter(torch.empty(1, heads, 1, 1))
        self.q_bias = nn.Parameter(torch.empty(width))
        self.v_bias = nn.Parameter(torch.empty(width))
        self.mat_qkv = Linear(width, 3 * width, bias=False)
        self.proj = Linear(width, width)

    def forward(self, x_RTC: torch.Tensor, cache: tuple[torch.Tensor, torch.Tensor] | None, used: int,
                mask_TT: torch.Tensor | None) -> torch.Tensor:  # fmt: skip
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = product(x_RTC, self.mat_qkv.weight, bias).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if self.unit:
            q = F.normalize(q, dim=-1) * self.scale_mul_1H11.clamp_max(HIGHEST).exp()
            k = F.normalize(k, dim=-1)
        if cache is not None:
            upto = used + x_RTC.shape[1]
            for held, new in zip(cache, (k, v)):
                held[:, :, used:upto] = new
            k, v = (held[:, :, :upto] for held in cache)
        out = F.scaled_dot_product_attention(q, k, v, mask_TT, scale=self.scale)
        return self.proj(out.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and feed-forward between modulated layer norms and gates."""

    def __init__(self, config: Any, width: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads, config.unit_attention)
        self.ffn = Mlp(width, int(width * config.ratio), "tanh")
        if config.shared:
            self.ada_gss = nn.Parameter(torch.empty(1, 1, 6, width))
        else:
            self.ada_lin = modulation(width, 6)

    def conditions(self, active_RC: torch.Tensor, shared_R6C: torch.Tensor | None) -> torch.Tensor:
        """[R,6,C]: two gates, scales, shifts; `active` is SiLU of the condition."""
        return self.ada_lin[1](active_RC).unflatten(1, (6, -1)) if shared_R6C is None else shared_R6C + self.ada_gss[0]

    def forward(self, x_RTC: torch.Tensor, given_R6C: torch.Tensor, **where: Any) -> torch.Tensor:
        gate, gate2, scale, scale2, shift, shift2 = given_R6C[:, :, None].unbind(1)
        x_RTC = torch.addcmul(x_RTC, gate, self.attn(modulated(x_RTC, shift, scale), **where))
        return torch.addcmul(x_RTC, gate2, self.ffn(modulated(x_RTC, shift2, scale2)))


class VarTransformer(nn.Module):
    """`config` gives depth, width (64 a layer), heads (one a layer), ratio, shared, unit_attention, scales, codes,
    latents."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, heads = config.width or 64 * config.depth, config.heads or config.depth
        self.width, self.heads, self.scales = width, heads, list(config.scales)
        self.counts = [n * n for n in self.scales]
        self.length, first = sum(self.counts), self.counts[0]
        self.word_embed = Linear(config.latents, width)
        self.pos_start = nn.Parameter(torch.empty(1, first, width))
        self.pos_1LC = nn.Parameter(torch.empty(1, self.length, width))
        self.lvl_embed = nn.Embedding(len(self.scales), width)
        self.shared_ada_lin = modulation(width, 6) if config.shared else None
        self.blocks = nn.ModuleList(Block(config, width, heads) for _ in range(config.depth))
        self.head_nm = nn.Module()
        self.head_nm.ada_lin = modulation(width, 2)
        self.head = Linear(width, config.codes)

    # once a picture --------------------------------------------------------------------------------------------------
    def conditions(self, cond_RC: torch.Tensor) -> Conditions:
        """All modulations of these conditions."""
        active = F.silu(cond_RC)
        shared = None if self.shared_ada_lin is None else self.shared_ada_lin[1](active).unflatten(1, (6, -1))
        head = self.head_nm.ada_lin[1](active).unflatten(1, (2, -1))
        return Conditions(blocks=[block.conditions(active, shared) for block in self.blocks], head=head)

    def places(self) -> torch.Tensor:
        """[1,L,C]: position and level of every token."""
        counts = torch.tensor(self.counts, device=self.pos_1LC.device)
        return self.lvl_embed.weight.repeat_interleave(counts, 0, output_size=self.length) + self.pos_1LC

    def start(self, cond_RC: torch.Tensor) -> torch.Tensor:
        """[R,n0^2,C]: the first scale's input, without its places."""
        return cond_RC[:, None] + self.pos_start

    def cache(self, rows: int, like: torch.Tensor, length: int | None = None) -> Cache:
        """Room for the keys and values of so many rows, of all tokens or so many."""
        shape = (rows, self.heads, length or self.length, self.width // self.heads)
        return Cache.empty(len(self.blocks), shape, like)

    # passes ----------------------------------------------------------------------------------------------------------
    def forward(self, x_RTC: torch.Tensor, given: Conditions, cache: Cache | None = None,
                mask_TT: torch.Tensor | None = None) -> torch.Tensor:  # fmt: skip
        """Logits [R,T,V] float32 of tokens with their places; a cache is read and grows."""
        for number, block in enumerate(self.blocks):
            held = None if cache is None else (cache.keys[number], cache.values[number])
            used = 0 if cache is None else cache.used
            x_RTC = block(x_RTC, given.blocks[number], cache=held, used=used, mask_TT=mask_TT)
        if cache is not None:
            cache.used += x_RTC.shape[1]
        scale, shift = given.head[:, :, None].unbind(1)
        return self.head(modulated(x_RTC, shift, scale)).float()

    def teacher_forced(self, cond_RC: torch.Tensor, inputs_RLZ: torch.Tensor) -> torch.Tensor:
        """Logits [R,L,V] of all scales at once; `inputs` are those of all scales but the first."""
        x_RLC = torch.cat([self.start(cond_RC), self.word_embed(inputs_RLZ)], 1) + self.places()
        return self.forward(x_RLC, self.conditions(cond_RC), mask_TT=self.allowed(x_RLC.device))

    def allowed(self, device: Any = None) -> torch.Tensor:
        """[L,L] true where a query may look at a key: at its own scale and those before it."""
        counts = torch.tensor(self.counts, device=device)
        level = torch.arange(len(self.counts), device=device).repeat_interleave(counts, output_size=self.length)
        return level[:, None] >= level
