"""DiT's network (Peebles and Xie 2023, arXiv 2212.09748), under the official names; written from the paper.

Takes x [B,c,S,S], original timesteps [B], a condition; gives noise, and with a learned variance as much again.
Suffixes: B rows, c channels, S side, T tokens = (S/p)^2, C width, p patch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from anyany_image_heads.transformer_parts import Attention, Mlp, TimeEmbedding, modulated, modulation


def waves(side: int, width: int) -> torch.Tensor:
    """[1,side^2,width] float32, the fixed positions: columns in the first half, rows in the second, sines first."""
    quarter = width // 4
    with torch.device("cpu"):  # also where the network is built without memory
        rates = 1 / 10000 ** (torch.arange(quarter, dtype=torch.float64) / quarter)
        angles = torch.arange(side, dtype=torch.float64)[:, None] * rates
    table = torch.cat([angles.sin(), angles.cos()], 1)
    columns, rows = table.expand(side, -1, -1), table[:, None].expand(-1, side, -1)
    return torch.cat([columns, rows], 2).reshape(1, side * side, -1).float()


class Block(nn.Module):
    """Attention and feed-forward, each between a modulated layer norm and a gate."""

    def __init__(self, width: int, heads: int, ratio: float) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.mlp = Mlp(width, int(width * ratio), "tanh")
        self.adaLN_modulation = modulation(width, 6)

    def forward(self, x_BTC: torch.Tensor, c_BC: torch.Tensor) -> torch.Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.adaLN_modulation(c_BC)[:, None].chunk(6, 2)
        x_BTC = torch.addcmul(x_BTC, gate, self.attn(modulated(x_BTC, shift, scale)))
        return torch.addcmul(x_BTC, gate2, self.mlp(modulated(x_BTC, shift2, scale2)))


class FinalLayer(nn.Module):
    """Tokens to numbers of their patch: row, column, channel."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, outputs)
        self.adaLN_modulation = modulation(width, 2)

    def forward(self, x_BTC: torch.Tensor, c_BC: torch.Tensor) -> torch.Tensor:
        shift, scale = self.adaLN_modulation(c_BC)[:, None].chunk(2, 2)
        return self.linear(modulated(x_BTC, shift, scale))


class DitTransformer(nn.Module):
    """`config` gives channels, side, patch, width, layers, heads, ratio, learned (variance).

    The condition enters as a vector beside the time's: `forward(x, t, y)` takes y [B,C].
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.patch, self.channels = config.patch, config.channels
        outputs = config.channels * (2 if config.learned else 1)
        self.x_embedder = nn.Module()
        self.x_embedder.proj = nn.Conv2d(config.channels, config.width, config.patch, stride=config.patch)
        self.t_embedder = TimeEmbedding(config.width)
        self.pos_embed = nn.Buffer(waves(config.side // config.patch, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads, config.ratio) for _ in range(config.layers))
        self.final_layer = FinalLayer(config.width, config.patch**2 * outputs)

    def tokens(self, x_BcSS: torch.Tensor) -> torch.Tensor:
        """[B,T,C] with positions."""
        return self.x_embedder.proj(x_BcSS).flatten(2).transpose(1, 2) + self.pos_embed.to(x_BcSS.dtype)

    def forward(self, x_BcSS: torch.Tensor, t_B: torch.Tensor, y_BC: torch.Tensor) -> torch.Tensor:
        """[B,c,S,S], or [B,2c,S,S] with the variance behind."""
        c_BC, x_BTC = self.t_embedder(t_B) + y_BC, self.tokens(x_BcSS)
        for block in self.blocks:
            x_BTC = block(x_BTC, c_BC)
        out, side = self.final_layer(x_BTC, c_BC), x_BcSS.shape[2] // self.patch
        out = out.unflatten(2, (self.patch, self.patch, -1)).unflatten(1, (side, side))
        return out.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
