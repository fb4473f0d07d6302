"""Pictures as network inputs: float pixels, resized, normalised, stacked.

Shapes: a picture [C,H,W] uint8 or float 0..1; a batch [B,C,S,S] float.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from anyany.api.torch import to_float


def square_batch(
    images: Sequence[torch.Tensor], size: int, mean: Sequence[float], std: Sequence[float],
    device: torch.device, dtype: torch.dtype, mode: str = "bicubic", antialias: bool = True,
) -> torch.Tensor:  # fmt: skip
    """[B,C,size,size]: every picture resized to the square, then (x - mean) / std. Pictures may differ in size."""
    ready = []
    for image in images:
        pixels = to_float(image).to(device=device, dtype=torch.float32)[None]
        if pixels.shape[-2:] != (size, size):
            pixels = F.interpolate(pixels, (size, size), mode=mode, align_corners=False, antialias=antialias)
            pixels = pixels.clamp(0, 1)
        ready.append(pixels)
    batch = torch.cat(ready)
    shift = torch.tensor(list(mean), device=device).view(1, -1, 1, 1)
    scale = torch.tensor(list(std), device=device).view(1, -1, 1, 1)
    return ((batch - shift) / scale).to(dtype)
