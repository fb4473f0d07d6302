"""Parts of the image heads' own transformers: attention with one qkv product, feed-forward, timesteps, modulation.

Names are those of timm, which DiT's and MAR's checkpoints follow. Suffixes: B rows, T tokens, C width, H heads.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

BLOCK, FEW = 256, 128


def product(x: torch.Tensor, weight_OI: torch.Tensor, bias_O: torch.Tensor | None) -> torch.Tensor:
    """`F.linear`; of few rows on the CPU in blocks of outputs.

    BLAS packs the weights anew for every product; a block of them stays in cache. 15 to 25 % faster at 2 to 128 rows
    and widths around 1024 (MKL, AMD EPYC, one thread).
    """
    rows, outputs = x.numel() // x.shape[-1], weight_OI.shape[0]
    if not 1 < rows <= FEW or outputs <= BLOCK or x.device.type != "cpu" or torch.is_grad_enabled():
        return F.linear(x, weight_OI, bias_O)
    biases = [None] * -(-outputs // BLOCK) if bias_O is None else bias_O.split(BLOCK)
    return torch.cat([F.linear(x, w, b) for w, b in zip(weight_OI.split(BLOCK), biases)], -1)


class Linear(nn.Linear):
    """nn.Linear by `product`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return product(x, self.weight, self.bias)


class Attention(nn.Module):
    """Full self-attention: [B,T,C] -> [B,T,C]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def forward(self, x_BTC: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x_BTC).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with GELU between (`tanh` or the exact one)."""

    def __init__(self, width: int, hidden: int, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)

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
        self.mlp = nn.Sequential(Linear(256, width), nn.SiLU(), Linear(width, width))

    def forward(self, t_B: torch.Tensor) -> torch.Tensor:
        return self.mlp(sinusoid(t_B).to(self.mlp[0].weight.dtype))


def modulation(width: int, parts: int) -> nn.Sequential:
    """The layer that makes shifts, scales and gates from a condition: SiLU, then linear."""
    return nn.Sequential(nn.SiLU(), Linear(width, parts * width))


def modulated(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    """Layer norm without weights of its own, then `x (1 + scale) + shift`."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=eps), 1 + scale)
