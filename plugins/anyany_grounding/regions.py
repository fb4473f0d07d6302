"""The pixels of a region, one by one: of a box or a point without making a mask of them, of a mask as they are.

Ferret's order: by columns, as its masks are laid out (width, height). Places are x, y from 0 to below 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import torch

from anyany_grounding.coordinates import Size, size_of

REACH = 5
"""A point stands for a square of so many pixels to each side (Ferret)."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """count: pixels. at: numbers of pixels [n] -> their x, y [n,2], in pixels. size: of the picture."""

    count: int
    at: Callable[[torch.Tensor], torch.Tensor]
    size: Size

    def some(self, wanted: int, draw: torch.Tensor, *, fill: bool) -> torch.Tensor:
        """[P,2] places x, y of `wanted` pixels: all of them if they are as many, some at random if there are more,
        and with `fill` some twice if there are fewer. draw: numbers 0...1, at least `wanted` of them.
        """
        return self.at(self._numbers(wanted, draw.tolist(), fill)) / torch.tensor(self.size, dtype=torch.float32)

    def _numbers(self, wanted: int, draw: list[float], fill: bool) -> torch.Tensor:
        if self.count <= wanted:
            again = range(wanted - self.count) if fill else ()
            extra = [min(int(draw[i] * self.count), self.count - 1) for i in again]
            return torch.tensor([*range(self.count), *extra])
        moved: dict[int, int] = {}  # a shuffle of which only the first `wanted` are ever looked at
        chosen = []
        for i in range(wanted):
            j = i + min(int(draw[i] * (self.count - i)), self.count - i - 1)
            chosen.append(moved.get(j, j))
            moved[j] = moved.get(i, i)
        return torch.tensor(chosen)


def regions_of(value: torch.Tensor, image: torch.Tensor) -> list[Region]:
    """The single regions of boxes [n,4], points [n,2] or [n,3], or a mask [H,W], on a picture.

    Raises ValueError for an empty mask, and one of another size than the picture.
    """
    size = size_of(image)
    if value.dtype == torch.bool:
        return [_masked(value, size)]
    if value.dim() != 2:
        raise ValueError(f"a region is boxes [n,4], points [n,2] or a mask [H,W], not {list(value.shape)}")
    return [_rectangle(_sides(row), size) for row in value.tolist()]


def _sides(row: list[float]) -> list[float]:
    if len(row) == 4:
        return [min(row[0], row[2]), min(row[1], row[3]), max(row[0], row[2]), max(row[1], row[3])]
    x, y = int(row[0]), int(row[1])
    return [x - REACH, y - REACH, x + REACH + 1, y + REACH + 1]


def _rectangle(sides: list[float], size: Size) -> Region:
    """A box of whole pixels within the picture, of one pixel at least."""
    left, top = (min(max(floor(a), 0), most - 1) for a, most in zip(sides[:2], size))
    right, bottom = (min(max(ceil(b), low + 1), most) for b, low, most in zip(sides[2:], (left, top), size))
    high = bottom - top

    def at(numbers: torch.Tensor) -> torch.Tensor:
        return torch.stack([left + numbers // high, top + numbers % high], -1).float()

    return Region(count=(right - left) * high, at=at, size=size)


def _masked(mask: Any, size: Size) -> Region:
    if size_of(mask) != size:
        raise ValueError(f"the mask is {mask.shape[-1]}×{mask.shape[-2]}, its picture {size[0]}×{size[1]}")
    places = mask.as_subclass(torch.Tensor).T.nonzero()
    if not len(places):
        raise ValueError("the mask is empty: it marks no pixel")
    return Region(count=len(places), at=lambda numbers: places[numbers.to(places.device)].float().cpu(), size=size)
