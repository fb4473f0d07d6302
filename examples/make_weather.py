"""The weather of this folder, made by code: `python examples/make_weather.py [FOLDER]`. Synthetic: nobody measured it.

A zonal climate with a wave in it: warm at the equator, westerlies at 45 degrees, two times six hours apart, on three
levels.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

from anyany.media import save
from anyany.media.fields import Field

LAT, LON, LEVELS = 17, 32, (250.0, 500.0, 850.0)
HEIGHTS = {250.0: 101223.0, 500.0: 54115.0, 850.0: 13750.0}
"""Geopotential of a level in m²/s², and below temperatures in K where it is mild."""
MILD = {250.0: 222.0, 500.0: 253.0, 850.0: 275.0}


def weather() -> Field:
    """Two times on a grid of 17 x 32, from pole to pole."""
    lat, lon = torch.linspace(90, -90, LAT), torch.arange(LON) * 360 / LON
    rows, columns = torch.deg2rad(lat)[:, None], torch.deg2rad(lon)[None]
    warm, mid = torch.cos(rows) ** 2 - 0.5, torch.sin(2 * rows) ** 2
    waves = [mid * torch.sin(4 * columns - shift) for shift in (0.0, 0.25)]  # the wave moves east in six hours

    def both(make: object) -> torch.Tensor:
        return torch.stack([make(wave).expand(LAT, LON) for wave in waves])  # type: ignore[operator]

    def aloft(make: object) -> torch.Tensor:
        return torch.stack([both(lambda w, p=p: make(p, w)) for p in LEVELS], 1)  # type: ignore[operator]

    land = ((torch.sin(2 * columns + 1) + 0.6 * torch.sin(3 * rows)) > 0.4).float().expand(LAT, LON)
    return Field(
        surf={
            "2t": both(lambda w: 278.5 + 40 * warm + 6 * w), "10u": both(lambda w: 8 * mid + 3 * w),
            "10v": both(lambda w: 4 * w), "msl": both(lambda w: 101000 + 900 * w - 600 * warm),
        },
        static={"lsm": land, "z": 9000 * land * torch.cos(rows) ** 2, "slt": 2 * land},
        atmos={
            "z": aloft(lambda p, w: HEIGHTS[p] + 2500 * warm + 900 * w),
            "u": aloft(lambda p, w: 2000 / p * mid * 4 + 4 * w), "v": aloft(lambda p, w: 5 * w),
            "t": aloft(lambda p, w: MILD[p] + 18 * warm + 3 * w),
            "q": aloft(lambda p, w: 5e-3 * (p / 1000) ** 3 * (1 + warm) * (1 + 0.2 * w)),
        },
        lat=lat, lon=lon, levels=LEVELS, time=datetime(2026, 1, 1, 6, tzinfo=UTC),
    )  # fmt: skip


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    print(save("field", weather(), folder / "weather"))
