"""Pixels of a picture and fractions of what the model saw of it: the whole picture stretched, or padded to a square.

Boxes [N,4] and points [N,2]: x, y pairs. Sizes are (width, height).
"""

from __future__ import annotations

from typing import Any

import torch

from anyany.api.torch import image_of, on_image

Size = tuple[int, int]


def size_of(image: torch.Tensor) -> Size:
    """(width, height) of a picture [C,H,W]."""
    return int(image.shape[-1]), int(image.shape[-2])


def picture_of(region: Any, image: torch.Tensor | None = None) -> torch.Tensor:
    """The picture that a region lies on: its own, else `image`. Raises ValueError where there is none."""
    own = image_of(region)
    found = own if own is not None else image
    if found is None:
        raise ValueError("a region lies on no picture: put it behind its picture in the message, or feed the picture")
    return found


def _frame(size: Size, pad: bool) -> tuple[Size, Size]:
    """(the frame's size, where the picture begins in it)."""
    if not pad:
        return size, (0, 0)
    side = max(size)
    return (side, side), ((side - size[0]) // 2, (side - size[1]) // 2)


def to_fractions(pixels: torch.Tensor, size: Size, pad: bool) -> torch.Tensor:
    """Pixels [N,2k] as fractions 0...1 of the picture, or of its square (`pad`), clamped."""
    frame, start = _frame(size, pad)
    shift, scale = _pairs(pixels, start), _pairs(pixels, frame)
    return ((pixels.as_subclass(torch.Tensor) + shift) / scale).clamp(0, 1)


def to_pixels(fractions: torch.Tensor, image: torch.Tensor, pad: bool) -> torch.Tensor:
    """Fractions [N,2k] as pixels of the picture, within it, knowing it."""
    size = size_of(image)
    frame, start = _frame(size, pad)
    pixels = fractions * _pairs(fractions, frame) - _pairs(fractions, start)
    pixels = torch.minimum(pixels.clamp_min(0), _pairs(fractions, size))
    return on_image(pixels, image)


def _pairs(like: torch.Tensor, pair: Size) -> torch.Tensor:
    return torch.tensor([*pair] * (like.shape[-1] // 2), dtype=like.dtype, device=like.device)


def box_around(mask: torch.Tensor) -> torch.Tensor:
    """[1,4] the box around a mask [H,W], its far sides excluded. Raises ValueError for an empty mask."""
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    if not len(rows):
        raise ValueError("the mask is empty: it marks no pixel")
    sides = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
    return torch.tensor([sides], dtype=torch.float32)
