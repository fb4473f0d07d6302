"""Patches: a picture cut into squares of pixels (Dosovitskiy et al. 2020, arXiv 2010.11929), and back.

image [3,H,W] <-> patches [N,D], D = 3·P², a patch's numbers by row, column, colour (MAE's order), in -1..1.
Suffixes: B rows, N patches, P side of a patch, h w patches of a column and a row.
"""

from __future__ import annotations

from typing import Any

import torch

from anyany.api.torch import Build, Component, Context, Rows
from anyany_tokenizers.pixels import Fit, picture, square_side

EPSILON = 1e-6


class Patch(Component):
    """Options: `PatchConfig`. It has no weights."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.fit = Fit(size=config.resolution, unit=config.patch, how=config.fit)

    def encode(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. patches: [B,N,D]."""
        x_BCHW = self.fit.batch(image.list(), ctx.device, torch.float32)
        size = self.config.patch
        cut = x_BCHW.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # [B,C,h,P,w,P]
        patches_BND = cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        if self.config.normalise:
            mean, var = patches_BND.mean(2, keepdim=True), patches_BND.var(2, keepdim=True)
            patches_BND = (patches_BND - mean) / (var + EPSILON).sqrt()
        return {"patches": ctx.rows(patches_BND.to(ctx.dtype))}

    def decode(self, ctx: Context, patches: Rows) -> dict[str, Rows]:
        """patches: B x [N,D] of square pictures. image: [B,3,H,W] in 0..1."""
        x_BND, size = patches.dense(), self.config.patch
        side = square_side(x_BND.shape[1], self.build.node)
        grid = x_BND.unflatten(2, (size, size, 3)).unflatten(1, (side, side))  # [B,h,w,P,P,C]
        return {"image": ctx.rows(picture(grid.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)))}
