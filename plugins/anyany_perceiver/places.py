"""Points and rows of numbers as coordinates in -1..1. Suffixes: N points, A axes, F further columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def rows_of(value: Any, axes: int, more: int = 0) -> torch.Tensor:
    """[N,A+F] float32. Raises ValueError for other columns, or for what is no finite number."""
    if isinstance(value, torch.Tensor) and value.is_meta:  # counting FLOPs: shapes alone
        return torch.empty(len(value), axes + more, device="meta")
    found = torch.as_tensor(value, dtype=torch.float32)
    if not found.numel():
        return found.reshape(0, axes + more)
    if found.dim() != 2 or found.shape[1] != axes + more:
        told = f"{axes} coordinates" + (f" and {more} more values" if more else "")
        raise ValueError(f"points are rows of {told}, not {list(found.shape)}")
    if not bool(found.isfinite().all()):
        raise ValueError("points hold values that are not numbers (NaN or infinity)")
    return found


def within(value: Any, bounds: Sequence[float], axes: int, more: int = 0) -> torch.Tensor:
    """[N,A+F] with the coordinates brought from `bounds` (low, high) to -1..1, or, without, from their own extent.

    Own extent: the middle of the box around them goes to 0 and its longest side spans -1..1, so that shapes keep
    their proportions. Raises ValueError for points outside `bounds`.
    """
    found = rows_of(value, axes, more)
    place, rest = found[:, :axes], found[:, axes:]
    if not len(found):
        return found
    if bounds:
        low, high = bounds
        place = 2 * (place - low) / (high - low) - 1
        if not place.is_meta and bool((place.abs() > 1 + 1e-4).any()):
            raise ValueError(f"points outside {low:g}..{high:g}: give the `bounds` that they lie in")
    else:
        low_A, high_A = place.amin(0), place.amax(0)
        half = ((high_A - low_A).amax() / 2).clamp(min=1e-12)
        place = (place - (low_A + high_A) / 2) / half
    return torch.cat([place, rest], 1)
