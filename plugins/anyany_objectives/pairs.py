"""Two values a row that must be of one shape, for losses that compare them."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from anyany.api.torch import Rows


def pairs(found: Rows, wanted: Rows, node: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(found, wanted) of each row, in float32. Raises ValueError where their shapes differ or are empty."""
    for a, b in zip(found, wanted, strict=True):
        if a.shape != b.shape or not a.numel():
            raise ValueError(f"{node} compares {list(a.shape)} with {list(b.shape)}; both must have one shape")
        yield _float(a), _float(b)


def _float(value: torch.Tensor) -> torch.Tensor:
    return value.float() / 255 if value.dtype == torch.uint8 else value.float()


def apart(found: torch.Tensor, wanted: torch.Tensor, how: str) -> torch.Tensor:
    """[]: mean absolute (l1) or squared (l2) difference."""
    gap = found - wanted
    return (gap.abs() if how == "l1" else gap.square()).mean()
