"""Grouping projector: any number of tokens becomes a few by hard assignment (GroupViT, Xu et al. 2022, 2202.11094).

NExT-GPT's projector of media: [N,D] -> [G,E], G the last number of groups. On transformers' GroupViTTokenAssign.
Names: `in_fc`, `layers.S.{group_token,blocks,downsample,group_projector}`, `norm`, `out_fc`. B rows, C inner width.
"""

from __future__ import annotations

import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows
from anyany_adapters.widths import width


class SelfAttention(nn.Module):
    """Attention of all tokens, queries, keys and values without bias."""

    def __init__(self, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(inner, 3 * inner, bias=False), nn.Linear(inner, inner)

    def forward(self, x_BNC: torch.Tensor) -> torch.Tensor:
        """[B,N,C] -> [B,N,C]."""
        q, k, v = self.qkv(x_BNC).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers with exact GELU."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Mixer(Mlp):
    """The same across tokens."""

    def forward(self, x_BNC: torch.Tensor) -> torch.Tensor:
        """[B,N,C] -> [B,M,C]."""
        return super().forward(x_BNC.transpose(1, 2)).transpose(1, 2)


class Block(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self, inner: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(inner), nn.LayerNorm(inner)
        self.attn, self.mlp = SelfAttention(inner, heads), Mlp(inner, 4 * inner, inner)

    def forward(self, x_BNC: torch.Tensor) -> torch.Tensor:
        """[B,N,C] -> [B,N,C]."""
        x_BNC = x_BNC + self.attn(self.norm1(x_BNC))
        return x_BNC + self.mlp(self.norm2(x_BNC))


class Stage(nn.Module):
    """Blocks over tokens and group tokens; then groups take the tokens' place. Without groups there are only blocks."""

    def __init__(self, inner: int, depth: int, heads: int, groups: int, made: int, before: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(inner, heads) for _ in range(depth))
        self.group_token = nn.Parameter(torch.empty(1, groups, inner)) if groups else None
        self.downsample = _assign(inner, heads, groups, made) if groups else None
        self.group_projector = None
        if groups and before:
            self.group_projector = nn.Sequential(nn.LayerNorm(inner), Mixer(before, inner // 2, groups))

    def forward(self, x_BNC: torch.Tensor, last_BGC: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(tokens or groups, group tokens of this stage, which the next one starts from)."""
        count, groups_BGC = x_BNC.shape[1], None
        if self.group_token is not None:
            groups_BGC = self.group_token.expand(x_BNC.shape[0], -1, -1)
            if self.group_projector is not None:
                groups_BGC = groups_BGC + self.group_projector(last_BGC)
            x_BNC = torch.cat([x_BNC, groups_BGC], 1)
        for block in self.blocks:
            x_BNC = block(x_BNC)
        if self.downsample is None:
            return x_BNC, None
        groups_BGC = x_BNC[:, count:]
        return self.downsample(x_BNC[:, :count], groups_BGC)[0], groups_BGC


def _assign(inner: int, heads: int, groups: int, made: int) -> nn.Module:
    from transformers import GroupViTVisionConfig
    from transformers.models.groupvit.modeling_groupvit import GroupViTTokenAssign

    config = GroupViTVisionConfig(hidden_size=inner, num_attention_heads=heads, intermediate_size=4 * inner)
    return GroupViTTokenAssign(config, groups, made)


class Grouping(Component):
    """Options: `GroupingConfig`. In evaluation a token goes to its best group, without noise."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        if len(config.depths) != len(config.groups):
            raise ValueError(f"{len(config.depths)} stages of depths, but {len(config.groups)} of groups")
        first, last, inner = width("inputs", config, build), width("outputs", config, build), config.inner
        self.in_fc, self.out_fc, self.norm = nn.Linear(first, inner), nn.Linear(inner, last), nn.LayerNorm(inner)
        before = (0, *config.groups[:-1])
        self.layers = nn.ModuleList(
            Stage(inner, d, config.heads, g, m, b)
            for d, g, m, b in zip(config.depths, config.groups, config.made or config.groups, before)
        )

    def rename(self, name: str) -> str:
        """One name of the official files differs from transformers'."""
        return re.sub(r"pre_assign_attn\.attn\.proj\.", "pre_assign_attn.attn.out_proj.", name)

    def grouped(self, x_BND: torch.Tensor) -> torch.Tensor:
        """[B,N,D] -> [B,G,E]."""
        x, groups = self.in_fc(x_BND), None
        for stage in self.layers:
            x, groups = stage(x, groups)
        return self.out_fc(self.norm(x))

    def group(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        """features: [N,D], or embeddings [D], of each row. features: [G,E]. Rows of one length go together."""
        rows = [v[None] if v.dim() == 1 else v for v in features.list()]
        found: list[Any] = [None] * len(rows)
        for count in sorted({r.shape[0] for r in rows}):
            some = [i for i, r in enumerate(rows) if r.shape[0] == count]
            for i, value in zip(some, self.grouped(torch.stack([rows[i] for i in some]))):
                found[i] = value
        return {"features": ctx.rows(torch.stack(found))}
