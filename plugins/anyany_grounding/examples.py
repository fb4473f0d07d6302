"""Values for tests: pictures of unlike shapes with boxes, points and masks on them. Used by `example_rows` alone."""

from __future__ import annotations

from typing import Any

import torch

from anyany.api.torch import OnImage, on_image

SIZES = ((24, 32), (31, 17), (40, 9), (8, 8))
"""Heights and widths; smallest is 8 x 8."""


def picture(row: int) -> torch.Tensor:
    """[3,H,W] uint8."""
    return torch.randint(0, 256, (3, *SIZES[row % len(SIZES)]), generator=_drawn(row), dtype=torch.uint8)


def boxes(image: torch.Tensor, count: int, seed: int, of: int | None = None) -> OnImage:
    """[count,4] boxes within a picture."""
    height, width = image.shape[-2:]
    corner = torch.rand(count, 2, generator=_drawn(seed, 1)) * torch.tensor([width - 3.0, height - 3.0])
    return on_image(torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=_drawn(seed, 2)) * 2], 1), image, of)


def points(image: torch.Tensor, count: int, seed: int, of: int | None = None) -> OnImage:
    """[count,2] points within a picture."""
    height, width = image.shape[-2:]
    return on_image(torch.rand(count, 2, generator=_drawn(seed, 3)) * torch.tensor([width, height]), image, of)


def mask(image: torch.Tensor, seed: int, of: int | None = None) -> OnImage:
    """[H,W] truth values, some of them true."""
    drawn = torch.rand(image.shape[-2:], generator=_drawn(seed, 4)) > 0.7
    drawn[0, 0] = True
    return on_image(drawn, image, of)


def states(count: int, width: int, seed: int) -> torch.Tensor:
    """[count,width] features."""
    return torch.randn(count, width, generator=_drawn(seed, 5))


def fed(given: dict[str, Any], making: Any, optional: tuple[str, ...]) -> dict[str, Any]:
    """The arguments without the optional ones that a case does not feed."""
    return {n: v for n, v in given.items() if n not in optional or making.fed is None or n in making.fed}


def _drawn(*seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(hash(seed) % 2**31)
