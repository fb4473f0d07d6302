"""Resize: pictures at another size, the whole of each, as heads and tokenizers of small pictures need at their end.

Pictures are [C,H,W], uint8 or float 0..1; the result is float 0..1. Suffixes: C channels, H W sides.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from anyany.api.torch import Component, Context, Rows, to_float


class Resize(Component):
    """Options: `ResizeConfig`. Antialiased where it makes smaller."""

    def resize(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures [C,H,W]. image: B x [C,height,width] in 0..1. Raises ValueError for an empty picture."""
        return {"image": ctx.rows([self._one(ctx, picture) for picture in image])}

    def _one(self, ctx: Context, picture_CHW: torch.Tensor) -> torch.Tensor:
        if picture_CHW.dim() != 3 or 0 in picture_CHW.shape:
            raise ValueError(f"{ctx.node} resizes pictures [C,H,W] of a pixel or more, not {list(picture_CHW.shape)}")
        size = (self.config.height or self.config.width, self.config.width)
        pixels = to_float(picture_CHW.to(ctx.device)).float()
        if tuple(pixels.shape[1:]) == size:
            return pixels
        found = F.interpolate(pixels[None], size=size, mode=self.config.filter, antialias=True, align_corners=False)
        return found[0].clamp(0, 1)
