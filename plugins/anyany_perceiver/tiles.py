"""Overlapping tiles of a large picture, and their predictions blended: weight falls off towards a tile's edges.

As the notebook of deepmind-research does it. Suffixes: C channels, H height, W width, h and w those of a tile.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def corners(size: Sequence[int], tile: Sequence[int], overlap: int) -> list[tuple[int, int]]:
    """(top, left) of tiles that cover `size`, neighbours sharing at least `overlap` pixels; the last ends at the edge.

    Raises ValueError for a tile no larger than the overlap, or larger than the picture.
    """
    starts = []
    for length, part in zip(size, tile):
        if part <= overlap and length > part:
            raise ValueError(f"tiles of {part} pixels cannot overlap by {overlap}")
        if part > length:
            raise ValueError(f"a picture of {length} pixels is smaller than a tile of {part}")
        along = list(range(0, length - part, part - overlap)) if length > part else []
        starts.append([*along, length - part])
    return [(top, left) for top in starts[0] for left in starts[1]]


def blended(tiles_ChW: Sequence[torch.Tensor], places: Sequence[tuple[int, int]], size: Sequence[int]) -> torch.Tensor:
    """[C,H,W]: the mean of all tiles over each pixel, weighted by its distance from their edges."""
    first = tiles_ChW[0]
    height, width = first.shape[-2:]
    down, across = (torch.minimum(torch.arange(n) + 1, n - torch.arange(n)) for n in (height, width))
    weight_hw = torch.minimum(down[:, None], across[None]).to(first.device, first.dtype)
    total = first.new_zeros(first.shape[0], *size)
    weights = first.new_zeros(*size)
    for tile, (top, left) in zip(tiles_ChW, places):
        total[:, top : top + height, left : left + width] += tile * weight_hw
        weights[top : top + height, left : left + width] += weight_hw
    return total / weights
