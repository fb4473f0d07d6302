"""Encodings of where and when: sines, then cosines, of 2 pi x / wavelength, wavelengths log-spaced between bounds.

Aurora (Bodnar et al. 2024, arXiv 2405.13063, supplement B.2); microsoft/aurora. In float64, given in float32: the
shortest wavelengths of the patch scale lie below float32's spacing, so the root area is computed in float32, in the
order of the reference, and its formula keeps the reference's extra factor pi.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

EARTH = 6378.137
"""Radius in km, for the bounds; the areas of patches use 6371 km, as the reference does."""


def _smallest_patch() -> float:
    """km²: a square of 0.01 degrees at the north pole. The sum is taken as the reference's polygon formula takes it,
    term by term: its last digits decide the shortest wavelengths, and with them whole turns of the first sines.
    """
    step, north, south = torch.deg2rad(torch.tensor([0.01, 90.0, 90.0 - 0.01], dtype=torch.float64))
    total = torch.zeros((), dtype=torch.float64)
    for width, latitude in ((step, north), (-step, south), (-step, south), (step, north)):
        total = total + width * torch.sin(latitude)
    return float((total * EARTH * EARTH / 2).abs())


POSITION = (0.01, 720.0)
SCALE = (_smallest_patch(), 4 * math.pi * EARTH * EARTH)
LEAD = (1 / 60, 24 * 7 * 3.0)
LEVELS = (0.01, 1e5)
ABSOLUTE = (1.0, 24 * 365.25)
"""Wavelengths: degrees, km² (though the root area is encoded), hours, hPa, hours."""


def expanded(x: torch.Tensor, width: int, bounds: tuple[float, float]) -> torch.Tensor:
    """[...] -> [...,width] float32. Raises ValueError for an odd width."""
    if width % 2:
        raise ValueError(f"an encoding has as many sines as cosines; {width} is odd")
    low, high = (math.log10(b) for b in bounds)
    waves = torch.logspace(low, high, width // 2, base=10, dtype=torch.float64, device=x.device)
    angles = x.double()[..., None] * (2 * math.pi / waves)
    return torch.cat([angles.sin(), angles.cos()], -1).float()


def root_area(lat_H: torch.Tensor, lon_W: torch.Tensor, patch: int) -> torch.Tensor:
    """[L] square roots of the patches' areas in km (times the root of pi), row by row."""
    lat_1HW, lon_1HW = _grid(lat_H, lon_W)
    high, low = F.max_pool2d(lat_1HW, patch), -F.max_pool2d(-lat_1HW, patch)
    east, west = F.max_pool2d(lon_1HW, patch), -F.max_pool2d(-lon_1HW, patch)
    area = (
        6371**2 * torch.pi
        * (torch.sin(torch.deg2rad(high)) - torch.sin(torch.deg2rad(low)))
        * (torch.deg2rad(east) - torch.deg2rad(west))
    )  # fmt: skip
    return area.sqrt().flatten()


def places(
    lat_H: torch.Tensor, lon_W: torch.Tensor, patch: int, width: int, device: torch.device | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """([L,width] of the patches' mean latitude and longitude, [L,width] of their scale), on a device.

    What is encoded is computed where the grid lies, the CPU: another device's last digit would be another place.
    Raises ValueError for a width that is no multiple of four.
    """
    if width % 4:
        raise ValueError(f"a position is half latitude, half longitude, sines and cosines: {width} is no multiple of 4")
    means = [F.avg_pool2d(grid, patch).flatten() for grid in _grid(lat_H, lon_W)]
    *means, area = (x.to(device) for x in (*means, root_area(lat_H, lon_W, patch)))
    return torch.cat([expanded(x, width // 2, POSITION) for x in means], -1), expanded(area, width, SCALE)


def _grid(lat_H: torch.Tensor, lon_W: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (1, len(lat_H), len(lon_W))
    return lat_H.float()[None, :, None].expand(shape), lon_W.float()[None, None].expand(shape)
