"""Pictures as network inputs: float pixels, resized, normalised, stacked.

Shapes: a picture [C,H,W] uint8 or float 0..1; a batch [B,C,S,S] float.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from anyany.api.torch import to_float
from anyany_vision.pictures import fitted_size


def square_batch(
    images: Sequence[torch.Tensor], size: int, mean: Sequence[float], std: Sequence[float],
    device: torch.device, dtype: torch.dtype, mode: str = "bicubic", antialias: bool = True,
) -> torch.Tensor:  # fmt: skip
    """[B,C,size,size]: every picture resized to the square, then (x - mean) / std. Pictures may differ in size."""
    batch = torch.stack([_resized(image, (size, size), device, mode, antialias) for image in images])
    return _normalised(batch, mean, std).to(dtype)


def fitted_pixels(
    images: Sequence[torch.Tensor], longest: int, patch: int, mean: Sequence[float], std: Sequence[float],
    device: torch.device, dtype: torch.dtype, mode: str = "bicubic",
) -> list[torch.Tensor]:  # fmt: skip
    """[C,H,W] of each picture at its own aspect ratio, H and W multiples of `patch`, neither above `longest`."""
    resized = (_resized(i, fitted_size(i.shape[-2:], longest, patch), device, mode, True) for i in images)
    return [_normalised(pixels, mean, std).to(dtype) for pixels in resized]


def _resized(image: torch.Tensor, size: tuple[int, int], device: torch.device, mode: str,
             antialias: bool) -> torch.Tensor:  # fmt: skip
    pixels = to_float(image).to(device=device, dtype=torch.float32)
    if pixels.shape[-2:] == size:
        return pixels
    return F.interpolate(pixels[None], size, mode=mode, align_corners=False, antialias=antialias)[0].clamp(0, 1)


def _normalised(pixels: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    shift, scale = (torch.tensor(list(v), device=pixels.device).view(-1, 1, 1) for v in (mean, std))
    return (pixels - shift) / scale
