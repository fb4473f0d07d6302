"""The network of the original VQ-VAE (van den Oord et al. 2017, arXiv 1711.00937), as in sonnet's example.

image [B,3,H,W] -> [B,C,H/4,W/4] and back. Shapes: C channels outside the residual blocks, R inside.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class ResidualStack(nn.Module):
    """ReLU, 3×3, ReLU, 1×1, added; a ReLU at the end."""

    def __init__(self, channels: int, blocks: int, inside: int) -> None:
        super().__init__()
        self.res3x3 = nn.ModuleList(nn.Conv2d(channels, inside, 3, padding=1) for _ in range(blocks))
        self.res1x1 = nn.ModuleList(nn.Conv2d(inside, channels, 1) for _ in range(blocks))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for wide, back in zip(self.res3x3, self.res1x1):
            x = x + back(F.relu(wide(F.relu(x))))
        return F.relu(x)


class VqVaeEncoder(nn.Module):
    """Two strided 4×4 convolutions, one 3×3, and residual blocks."""

    def __init__(self, channels: int, blocks: int, inside: int) -> None:
        super().__init__()
        half = max(1, channels // 2)
        self.enc_1 = nn.Conv2d(3, half, 4, stride=2, padding=1)
        self.enc_2 = nn.Conv2d(half, channels, 4, stride=2, padding=1)
        self.enc_3 = nn.Conv2d(channels, channels, 3, padding=1)
        self.residual = ResidualStack(channels, blocks, inside)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return self.residual(self.enc_3(F.relu(self.enc_2(F.relu(self.enc_1(x_BCHW))))))


class VqVaeDecoder(nn.Module):
    """The same backwards, with transposed convolutions."""

    def __init__(self, width: int, channels: int, blocks: int, inside: int) -> None:
        super().__init__()
        half = max(1, channels // 2)
        self.dec_1 = nn.Conv2d(width, channels, 3, padding=1)
        self.residual = ResidualStack(channels, blocks, inside)
        self.dec_2 = nn.ConvTranspose2d(channels, half, 4, stride=2, padding=1)
        self.dec_3 = nn.ConvTranspose2d(half, 3, 4, stride=2, padding=1)

    def forward(self, x_BDHW: torch.Tensor) -> torch.Tensor:
        return self.dec_3(F.relu(self.dec_2(self.residual(self.dec_1(x_BDHW)))))
