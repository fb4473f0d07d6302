"""The world's marker as a metric: whether a picture shows what its caption says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from anyany.api.torch import Component, Context, Rows
from anyany_mini import marker, world


class Marks(Component):
    """No options."""

    def measure(self, ctx: Context, found: Rows, wanted: Rows) -> dict[str, Rows]:
        """found: B pictures [3,H,W]; wanted: B captions. match: 1.0 where every thing and no other is in its cell.

        Raises ValueError for a text that is no caption of the world.
        """
        marks = [marker.mark_picture(_levels(p), text)["exact"] for p, text in zip(found.list(), wanted.list())]
        return {"match": ctx.rows(marks)}

    def example_rows(self, call: str, rows: Sequence[int], making: Any) -> dict[str, Rows]:
        """Scenes of the world and, for every second one, another's caption."""
        scenes = [world.sample_scene(np.random.default_rng(row), "any") for row in rows]
        told = [world.caption(world.sample_scene(np.random.default_rng(row + row % 2), "any")) for row in rows]
        pictures = [torch.from_numpy(world.render(scene)).permute(2, 0, 1) for scene in scenes]
        return {"found": Rows(pictures), "wanted": Rows(told)}


def _levels(picture: Any) -> Any:
    """uint8 [64, 64, 3] of a picture in 0..1, or in levels already."""
    side = (world.SIDE, world.SIDE)
    shown = picture.float() / 255 if picture.dtype == torch.uint8 else picture.float()
    if shown.shape[1:] != side:
        shown = torch.nn.functional.interpolate(shown[None], side, mode="bilinear", antialias=True)[0]
    return shown[:3].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
