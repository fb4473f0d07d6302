"""Optical flow as files: raw values as `.flo`, and beside them a picture in the colours of the Middlebury wheel.

Baker et al. 2011, "A Database and Evaluation Methodology for Optical Flow". A flow is float [2, H, W]: pixels to the
right, pixels down. The hue says where to, the saturation how far; what is not known is black.
"""

from __future__ import annotations

import math
import os
from typing import Any

import torch
from torch import Tensor

from anyany.media.errors import MediaError
from anyany.media.files import atomic, read_all
from anyany.media.limits import Limits, check_pixels
from anyany.media.values import describe

MAGIC = b"PIEH"  # 202021.25 as a little-endian float
UNKNOWN = 1e9
_HUES = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255))
_STEPS = (15, 6, 4, 11, 13, 6)


def check_flow(value: Any) -> Tensor:
    """The value as float32 [2, H, W] on the CPU. Raises MediaError for what is no flow."""
    if not isinstance(value, Tensor) or value.ndim != 3 or value.shape[0] != 2 or 0 in value.shape:
        raise MediaError("E524", f"a flow is a tensor [2, H, W], not {describe(value)}", "check what makes it")
    return value.detach().to("cpu", torch.float32)


def wheel() -> Tensor:
    """[55, 3] colours 0...255 around the wheel: six hues, more steps where the eye tells them better apart."""
    colours = []
    for i, steps in enumerate(_STEPS):
        here, there = torch.tensor(_HUES[i]).float(), torch.tensor(_HUES[(i + 1) % 6]).float()
        part = (255 * torch.arange(steps)[:, None] / steps).floor()
        colours.append(here + (there - here).sign() * part)
    return torch.cat(colours)


def coloured(value: Any, most: float | None = None) -> Tensor:
    """uint8 [3, H, W] of a flow. most: pixels at full saturation (None: the farthest in it)."""
    flow = check_flow(value)
    known = flow.isfinite().all(0) & (flow.abs() < UNKNOWN).all(0)
    right, down = torch.where(known, flow, torch.zeros(())).unbind(0)
    far = torch.hypot(right, down)
    far = far / max(float(far.max()) if most is None else most, 1e-6)
    colours = wheel() / 255
    at = (torch.atan2(-down, -right) / math.pi + 1) / 2 * (len(colours) - 1)
    low = at.floor().long()
    part = (at - low)[..., None]
    hue = colours[low] * (1 - part) + colours[(low + 1) % len(colours)] * part
    inside = 1 - far[..., None] * (1 - hue)
    shown = torch.where(far[..., None] <= 1, inside, hue * 0.75) * known[..., None]
    return (shown * 255).floor().to(torch.uint8).permute(2, 0, 1).contiguous()


def save_flow(value: Any, base: str) -> str:
    """Write BASE.png and BASE.flo; the path of the latter, which `load` reads back."""
    from anyany.media.images import write_png

    flow = check_flow(value)
    with atomic(base + ".png") as temporary:
        write_png(coloured(flow), temporary)
    height, width = flow.shape[1:]
    sizes = torch.tensor([width, height], dtype=torch.int32).numpy().astype("<i4").tobytes()
    with atomic(base + ".flo") as temporary, open(temporary, "wb") as file:
        file.write(MAGIC + sizes + flow.permute(1, 2, 0).contiguous().numpy().astype("<f4").tobytes())
    return os.fspath(base) + ".flo"


def load_flow(path: str, limits: Limits) -> Tensor:
    """float32 [2, H, W] from a .flo file. Raises MediaError for one that is cut short or no flow."""
    import numpy as np

    data = read_all(path, limits)
    if not data.startswith(MAGIC) or len(data) < 12:
        raise MediaError("E506", "expected a flow (.flo)", "give a file in Middlebury's format", path)
    width, height = (int.from_bytes(data[i : i + 4], "little", signed=True) for i in (4, 8))
    check_pixels(width, height, limits, path)
    wanted = 12 + 8 * width * height
    if len(data) < wanted:
        message = f"the file ends too early: {width}×{height} take {wanted} bytes, it has {len(data)}"
        raise MediaError("E508", message, "copy it again", path)
    values = np.frombuffer(data, "<f4", 2 * width * height, 12).astype(np.float32)
    return torch.from_numpy(values).reshape(height, width, 2).permute(2, 0, 1).contiguous()
