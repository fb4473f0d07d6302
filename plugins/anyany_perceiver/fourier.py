"""Fourier features of positions (Perceiver, Jaegle et al. 2021, arXiv 2103.03206, appendix D), on transformers' code.

Positions lie in -1..1; channels: the positions, sin(pi f x) of each axis and band, then cos. N positions, A axes,
F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers.models.perceiver.modeling_perceiver import build_linear_positions, generate_fourier_features


def grid(shape: Sequence[int], device: torch.device | None = None) -> torch.Tensor:
    """[N,A]: a dense grid in row-major order, the first point of each axis at -1 and the last at 1."""
    return build_linear_positions([int(n) for n in shape], device=device).flatten(0, -2)


def steps(index_N: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """[N,A]: chosen points of a grid by their flat index, at -1 + 2 i / n, as decoder queries have always been.

    The last point is not at 1: the same pixel stands elsewhere in `grid`. It is so in the original.
    Raises ValueError for an index outside the grid.
    """
    count = 1
    for n in shape:
        count *= int(n)
    if index_N.numel() and not index_N.is_meta and not 0 <= int(index_N.min()) <= int(index_N.max()) < count:
        raise ValueError(f"queries from {int(index_N.min())} to {int(index_N.max())}, but there are {count} places")
    places = torch.stack(torch.unravel_index(index_N, [int(n) for n in shape]), -1)
    return -1 + 2 * places / torch.tensor([int(n) for n in shape], device=index_N.device)


def fourier(
    positions_NA: torch.Tensor, bands: int, resolution: Sequence[int], raw: bool = True, sines: bool = False
) -> torch.Tensor:
    """[...,A] in -1..1 -> [...,F] float32; `resolution` per axis sets the highest band, n/2 (Nyquist).

    raw: the positions themselves come first. sines: no cosines.
    """
    lead = positions_NA.shape[:-1]
    flat = positions_NA.reshape(1, -1, positions_NA.shape[-1])
    found = generate_fourier_features(flat, bands, tuple(resolution), raw, sines)
    return found.reshape(*lead, found.shape[-1])
