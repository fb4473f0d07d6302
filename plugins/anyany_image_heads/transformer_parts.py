"""Parts of the image heads' own transformers: attention with one qkv product, feed-forward, timesteps, modulation.

Names are those of timm, which DiT's and MAR's checkpoints follow. Suffixes: B rows, T tokens, C width, H heads.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    """Full self-attention: [B,T,C] -> [B,T,C]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BTC: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x_BTC).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with GELU between (`tanh` or the exact one)."""

    def __init__(self, width: int, hidden: int, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate=self.approximate))


def sinusoid(t_B: torch.Tensor, width: int = 256, period: float = 10000.0) -> torch.Tensor:
    """[B,width] float32: cosines of the timestep at falling frequencies, then sines."""
    half = width // 2
    rates = torch.exp(-math.log(period) * torch.arange(half, dtype=torch.float32, device=t_B.device) / half)
    angles = t_B.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], 1)


class TimeEmbedding(nn.Module):
    """Timesteps [B] -> [B,C]: 256 waves, then two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t_B: torch.Tensor) -> torch.Tensor:
        return self.mlp(sinusoid(t_B).to(self.mlp[0].weight.dtype))


def modulation(width: int, parts: int) -> nn.Sequential:
    """The layer that makes shifts, scales and gates from a condition: SiLU, then linear."""
    return nn.Sequential(nn.SiLU(), nn.Linear(width, parts * width))


def modulated(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    """Layer norm without weights of its own, then `x (1 + scale) + shift`."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=eps), 1 + scale)
