"""Latents as patches in a transformer's sequence (Transfusion, arXiv 2408.11039).

Shape suffixes: B rows, C latent channels, H W sides, P patches, V values of a patch, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import nn

FREQUENCIES = 256


class Patches(nn.Module):
    """The linear variant of the paper: patches in and out by a matrix each, the time of their noise added."""

    def __init__(self, channels: int, patch: int, width: int) -> None:
        super().__init__()
        self.channels, self.patch = channels, patch
        self.into, self.out = nn.Linear(channels * patch**2, width), nn.Linear(width, channels * patch**2)
        self.time = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def positions(self, x_BCHW: torch.Tensor, t_B: torch.Tensor) -> torch.Tensor:
        """[B,C,H,W] with noise of time t -> [B,P,D], row by row. A clean latent has time 0."""
        time_BF = get_timestep_embedding(t_B, FREQUENCIES, flip_sin_to_cos=True, downscale_freq_shift=0)
        dtype = self.into.weight.dtype
        return self.into(cut(x_BCHW, self.patch).to(dtype)) + self.time(time_BF.to(dtype))[:, None]

    def noise(self, hidden_BPD: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """[B,P,D] -> what the transformer takes for noise [B,C,H,W], of so many rows and columns of cells."""
        return joined(self.out(hidden_BPD), self.channels, self.patch, rows, columns)

    def check(self, shape: Sequence[int], where: str) -> None:
        """Raises ValueError for a latent [C,H,W] that cannot be cut into patches."""
        if len(shape) != 3 or shape[0] != self.channels or 0 in shape or shape[1] % self.patch or shape[2] % self.patch:
            raise ValueError(f"{where} takes latents of {self.channels} channels and sides in multiples of "
                             f"{self.patch}, not {list(shape)}")  # fmt: skip


def cut(x_BCHW: torch.Tensor, patch: int) -> torch.Tensor:
    """[B,C,H,W] -> [B,P,V]: squares of `patch` cells, row by row."""
    grid = x_BCHW.unflatten(2, (-1, patch)).unflatten(4, (-1, patch))  # B C h p w p
    return grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def joined(x_BPV: torch.Tensor, channels: int, patch: int, rows: int, columns: int) -> torch.Tensor:
    """The opposite of `cut`."""
    grid = x_BPV.unflatten(1, (rows // patch, columns // patch)).unflatten(3, (channels, patch, patch))
    return grid.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
