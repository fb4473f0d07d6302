"""Attention maps of transformers' encoders, and how far they look: the mean attention distance of the ViT paper.

Dosovitskiy et al. 2021 (arXiv 2010.11929), figure 7. Shape suffixes: A layers, B rows, H heads, T tokens, N patches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def exposed(model: Any) -> Iterator[None]:
    """Inside, attention runs in the plain form that computes its maps; fused kernels never hold them."""
    before = model.config._attn_implementation
    model.config._attn_implementation = "eager"
    try:
        yield
    finally:
        model.config._attn_implementation = before


def mean_distance(maps_BHTT: torch.Tensor, grid: tuple[int, int], patch: int, first: int = 1,
                  renormalise: bool = False) -> torch.Tensor:  # fmt: skip
    """[B,H] pixels between query and key patch, averaged with the attention weights over keys, then over queries.

    grid: rows and columns of patches; patch: side in pixels; first: tokens before the patches (class, registers), which
    are left out as queries and keys. What remains of a row sums to less than one; `renormalise` divides by that sum.
    Both forms are in use, and the paper does not say which it drew.
    """
    maps_BHNN = maps_BHTT[..., first:, first:].float()
    if renormalise:
        maps_BHNN = maps_BHNN / maps_BHNN.sum(-1, keepdim=True)
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    places_N2 = torch.stack([rows.flatten(), columns.flatten()], -1).to(maps_BHTT.device, torch.float32) * patch
    return (maps_BHNN * torch.cdist(places_N2, places_N2)).sum(-1).mean(-1)
