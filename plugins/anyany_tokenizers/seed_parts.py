"""Parts of SEED's tokenizer: EVA-CLIP's tower under LAVIS's names, pre-norm blocks, and Q-Formers of queries alone.

Suffixes: B rows, N tokens or queries, D width, A heads.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import Blip2QFormerConfig
from transformers.models.blip_2.modeling_blip_2 import Blip2QFormerModel

SEEN = -10000.0
"""What the Q-Former adds where a query may not look."""


class Attention(nn.Module):
    """Self-attention with one fused projection; `split`: biases for queries and values alone (BEiT, EVA)."""

    def __init__(self, width: int, heads: int, split: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=not split)
        self.proj = nn.Linear(width, width)
        if split:
            self.q_bias = nn.Parameter(torch.zeros(width))
            self.v_bias = nn.Parameter(torch.zeros(width))
        self.split = split

    def forward(self, x_BND: torch.Tensor) -> torch.Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias]) if self.split else self.qkv.bias
        fused = F.linear(x_BND, self.qkv.weight, bias)
        q, k, v = fused.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Linear, exact GELU, linear."""

    def __init__(self, width: int, inside: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inside), nn.Linear(inside, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm transformer block; LayerNorm's epsilon is 1e-6."""

    def __init__(self, width: int, heads: int, mlp: int, split: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = Attention(width, heads, split), Mlp(width, mlp)

    def forward(self, x_BND: torch.Tensor) -> torch.Tensor:
        x_BND = x_BND + self.attn(self.norm1(x_BND))
        return x_BND + self.mlp(self.norm2(x_BND))


class PatchEmbed(nn.Module):
    """[B,3,H,W] -> [B,N,D]."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return self.proj(x_BCHW).flatten(2).mT


class EvaTower(nn.Module):
    """EVA-CLIP-g (Sun et al. 2023, arXiv 2303.15389) without its last norm: [B,3,S,S] -> [B,1+N,D]."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, mlp = config.vision_width, config.vision_mlp or int(config.vision_width * 4.3637)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (config.resolution // config.patch) ** 2, width))
        self.patch_embed = PatchEmbed(width, config.patch)
        heads = config.vision_heads
        self.blocks = nn.ModuleList(Block(width, heads, mlp, split=True) for _ in range(config.vision_layers))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embed(x_BCHW)
        x_BND = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], 1) + self.pos_embed
        for block in self.blocks:
            x_BND = block(x_BND)
        return x_BND


def query_former(config: Any, seen: int, layers: int) -> Blip2QFormerModel:
    """A Q-Former that looks at features of width `seen` in every second layer."""
    return Blip2QFormerModel(Blip2QFormerConfig(
        hidden_size=config.width, num_hidden_layers=layers, num_attention_heads=config.heads,
        intermediate_size=config.mlp, hidden_act="gelu", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        layer_norm_eps=1e-12, cross_attention_frequency=2, encoder_hidden_size=seen, use_qformer_text_input=False,
        attn_implementation="eager",
    ))  # fmt: skip


def official_query_former(name: str) -> str | None:
    """LAVIS's name of a Q-Former's tensor as transformers' one; None for what nothing reads."""
    if name.endswith("bert.embeddings.position_ids"):
        return None
    name = name.replace(".bert.embeddings.LayerNorm.", ".layernorm.").replace(".bert.encoder.", ".encoder.")
    return name.replace("attention.self.", "attention.attention.") if "ormer.encoder." in name else name


def causal_mask(queries: int, like: torch.Tensor) -> torch.Tensor:
    """[1,1,N,N] additive: a query looks at itself and those before it."""
    above = torch.ones(queries, queries, dtype=torch.bool, device=like.device).triu(1)
    return torch.zeros(queries, queries, dtype=like.dtype, device=like.device).masked_fill(above, SEEN)[None, None]
