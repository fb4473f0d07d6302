"""Fields as maps: each variable a panel with its colours, its range and its unit, in one picture.

Colours run from blue through white to red around the middle of a panel's values; longitudes 0...360, north above.
"""

from __future__ import annotations

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from anyany.media.fields import Field

WIDE, BAR, TEXT, GAP, ACROSS, MOST = 360, 12, 18, 10, 2, 24
_STOPS = ((33, 64, 140), (90, 150, 210), (236, 240, 244), (240, 150, 90), (160, 30, 40))
UNITS = {"2t": "K", "t": "K", "msl": "Pa", "z": "m2/s2", "q": "kg/kg", **dict.fromkeys(("10u", "10v", "u", "v"), "m/s")}


def panels(field: Field) -> list[tuple[str, Tensor]]:
    """(title, [H,W]) of each variable at its last time: the surface, then each level."""
    found = [(_title(name), x[-1]) for name, x in field.surf.items()]
    for name, x in field.atmos.items():
        found += [(_title(name, level), x[-1, i]) for i, level in enumerate(field.levels)]
    return found


def _title(name: str, level: float | None = None) -> str:
    unit = f" [{UNITS[name]}]" if name in UNITS else ""
    return f"{name}{unit}" if level is None else f"{name}{unit} at {level:g} hPa"


def coloured(values_HW: Tensor, low: float, high: float) -> Tensor:
    """uint8 [H,W,3]: the lowest blue, the highest red; a constant is white; what is no number grey."""
    part = (values_HW.float() - low) / (high - low) if high > low else torch.full_like(values_HW.float(), 0.5)
    known = torch.isfinite(part)
    at = torch.where(known, part, 0.5).clamp(0, 1) * (len(_STOPS) - 1)
    first = at.floor().long().clamp_max(len(_STOPS) - 2)
    stops = torch.tensor(_STOPS).float()
    mixed = stops[first] + (stops[first + 1] - stops[first]) * (at - first)[..., None]
    return torch.where(known[..., None], mixed, torch.tensor(128.0)).round().to(torch.uint8)


def picture(field: Field) -> Image.Image:
    """All panels, two beside each other; of more than 24 the first are shown and the rest are counted."""
    shown = panels(field)
    rest = len(shown) - MOST
    shown = shown[:MOST]
    high = max(24, round(WIDE * len(field.lat) / len(field.lon)))
    tall = TEXT + high + BAR + TEXT + GAP
    rows = -(-len(shown) // ACROSS)
    size = (ACROSS * (WIDE + GAP) + GAP, TEXT + 2 * GAP + rows * tall)
    page = Image.new("RGB", size, (255, 255, 255))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    more = f", and {rest} more" if rest > 0 else ""
    ahead = f", step {field.step}" if field.step else ""
    pen.text((GAP, GAP), f"{field.time:%Y-%m-%d %H:%M} UTC{ahead}{more}", fill=(0, 0, 0), font=font)
    for i, (title, values) in enumerate(shown):
        left, top = GAP + (i % ACROSS) * (WIDE + GAP), TEXT + 2 * GAP + (i // ACROSS) * tall
        finite = values[torch.isfinite(values)]
        low, most = (float(finite.min()), float(finite.max())) if finite.numel() else (0.0, 0.0)
        pen.text((left, top), title, fill=(0, 0, 0), font=font)
        page.paste(_stretched(coloured(values, low, most), (WIDE, high)), (left, top + TEXT))
        ramp = coloured(torch.linspace(0, 1, WIDE)[None], 0.0, 1.0)
        page.paste(_stretched(ramp, (WIDE, BAR)), (left, top + TEXT + high + 2))
        below = top + TEXT + high + BAR + 2
        pen.text((left, below), f"{low:.5g}", fill=(80, 80, 80), font=font)
        label = f"{most:.5g}"
        pen.text((left + WIDE - pen.textlength(label, font=font), below), label, fill=(80, 80, 80), font=font)
    return page


def _stretched(pixels_HW3: Tensor, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(pixels_HW3.numpy()).resize(size, Image.Resampling.NEAREST)
