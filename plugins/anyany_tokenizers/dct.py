"""Pictures as block cosine coefficients in JPEG's colours, and back (DCTdiff: Ning et al. 2024, arXiv 2412.15032).

Colour differences are halved in both directions; coefficients are orthonormal, of values minus 128, in zig-zag order.
Suffixes: B rows, H W sides in pixels, h w in blocks, S side of a block, F coefficients kept of each block.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

LUMA = (0.299, 0.587, 0.114)
BLUE = (-0.168736, -0.331264, 0.5)
RED = (0.5, -0.418688, -0.081312)


def zigzag(side: int) -> list[int]:
    """Places of a block's coefficients, row by row, from low to high frequencies."""
    order = []
    for total in range(2 * side - 1):
        rows = range(max(0, total - side + 1), min(total, side - 1) + 1)
        order += [row * side + total - row for row in (rows if total % 2 else reversed(rows))]
    return order


def cosines(side: int, like: torch.Tensor) -> torch.Tensor:
    """[S,S] the orthonormal type-II transform, a row a frequency."""
    place = torch.arange(side, dtype=torch.float64, device=like.device)
    table = torch.cos(math.pi / side * (place[None] + 0.5) * place[:, None]) * math.sqrt(2 / side)
    table[0] /= math.sqrt(2)
    return table.to(like.dtype)


def planes(rgb_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[B,3,H,W] in 0..255 -> luma [B,H,W], blueness and redness [B,H/2,W/2], all around 0..255."""
    weights = torch.tensor([LUMA, BLUE, RED], dtype=rgb_BCHW.dtype, device=rgb_BCHW.device)
    ycc = torch.einsum("kc,bchw->bkhw", weights, rgb_BCHW)
    half = F.avg_pool2d(ycc[:, 1:] + 128, 2)
    return ycc[:, 0], half[:, 0], half[:, 1]


def colours(luma_BHW: torch.Tensor, blue_Bhw: torch.Tensor, red_Bhw: torch.Tensor) -> torch.Tensor:
    """The inverse of `planes`, with colour differences enlarged bilinearly: [B,3,H,W], about 0..255."""
    size = luma_BHW.shape[1:]
    both = F.interpolate(torch.stack([blue_Bhw, red_Bhw], 1), size, mode="bilinear", align_corners=False) - 128
    blue, red = both[:, 0], both[:, 1]
    green = luma_BHW - 0.344136 * blue - 0.714136 * red
    return torch.stack([luma_BHW + 1.402 * red, green, luma_BHW + 1.772 * blue], 1)


def transform(plane_BHW: torch.Tensor, side: int, kept: int) -> torch.Tensor:
    """[B,H,W] -> [B,h,w,F]: the lowest frequencies of each block."""
    table = cosines(side, plane_BHW)
    blocks = (plane_BHW - 128).unfold(1, side, side).unfold(2, side, side)
    found = torch.einsum("fs,bhwst,gt->bhwfg", table, blocks, table).flatten(3)
    return found[..., zigzag(side)[:kept]]


def restore(coefficients_BhwF: torch.Tensor, side: int) -> torch.Tensor:
    """[B,h,w,F] -> [B,H,W]; frequencies that are missing count as zero."""
    whole = coefficients_BhwF.new_zeros(*coefficients_BhwF.shape[:3], side * side)
    whole[..., zigzag(side)[: coefficients_BhwF.shape[3]]] = coefficients_BhwF
    table = cosines(side, whole)
    blocks = torch.einsum("fs,bhwfg,gt->bhswt", table, whole.unflatten(3, (side, side)), table)
    return blocks.flatten(3, 4).flatten(1, 2) + 128


def spectrum(rgb_BCHW: torch.Tensor, side: int, kept: int) -> torch.Tensor:
    """[B,3,H,W] in 0..255 -> [B,T,6·F], a row for 2×2 blocks of luma: those four, then blueness, then redness."""
    luma, blue, red = (transform(plane, side, kept) for plane in planes(rgb_BCHW))
    four = luma.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).transpose(2, 3).flatten(3, 4)
    return torch.cat([four.flatten(3), blue, red], 3).flatten(1, 2)


def unspectrum(rows_BTF: torch.Tensor, side: int, height: int, width: int) -> torch.Tensor:
    """The inverse: [B,T,6·F] -> [B,3,H,W], about 0..255."""
    down, across, kept = height // (2 * side), width // (2 * side), rows_BTF.shape[2] // 6
    rows = rows_BTF.unflatten(1, (down, across)).unflatten(3, (6, kept))
    four = rows[..., :4, :].unflatten(3, (2, 2)).permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)
    return colours(*(restore(plane, side) for plane in (four, rows[..., 4, :], rows[..., 5, :])))
