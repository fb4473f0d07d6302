"""Frequency tokens: a picture's cosine coefficients from low to high, so that the next token is always finer.

Blocks and colours are DCTdiff's (Ning et al. 2024, arXiv 2412.15032), the pyramid of levels FAR's (Yu et al. 2025,
arXiv 2503.05305). image [3,H,W] <-> tokens [N], or rows [T,6·F] of real numbers; latent -> levels.
Suffixes: B rows, H W sides in pixels, h w in blocks, S side of a block, F coefficients kept of each block.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from anyany.api.torch import Build, Component, Context, Rows
from anyany_tokenizers.dct import colours, planes, restore, spectrum, transform, unspectrum
from anyany_tokenizers.pixels import Fit, check_ids

CLIP = 2.0
"""Rows of real numbers are cut to this many bounds before they are decoded, as in DCTdiff."""


class Frequency(Component):
    """Options: `FrequencyConfig`. It has no weights."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.fit = Fit(size=config.resolution, unit=2 * config.block, how=config.fit)
        self.step = 2 * config.bounds / config.levels
        self.middle = config.levels // 2

    # tensors -----------------------------------------------------------------------------------------------------
    def coefficients(self, rgb_BCHW: torch.Tensor) -> torch.Tensor:
        """[B,3,H,W] in 0..255 -> [B,N]: frequency by frequency, each luma, blueness, redness, block by block."""
        block, kept = self.config.block, self.config.kept
        by_plane = [transform(plane, block, kept).flatten(1, 2).mT for plane in planes(rgb_BCHW)]
        return torch.cat(by_plane, 2).flatten(1)

    def pixels(self, coefficients_BN: torch.Tensor, side: int) -> torch.Tensor:
        """The inverse, for side × side blocks; coefficients left out at the end count as zero. About 0..255."""
        kept, luma, chroma = self.config.kept, side * side, (side // 2) ** 2
        whole = F.pad(coefficients_BN, (0, kept * (luma + 2 * chroma) - coefficients_BN.shape[1]))
        parts = whole.unflatten(1, (kept, -1)).split([luma, chroma, chroma], 2)
        grids = [p.mT.unflatten(1, (s, s)) for p, s in zip(parts, (side, side // 2, side // 2))]
        return colours(*(restore(grid, self.config.block) for grid in grids))

    def quantised(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Real coefficients as token ids, in equal steps around zero."""
        return ((coefficients / self.step).round() + self.middle).clamp(0, self.config.levels - 1).long()

    def restored(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids as coefficients."""
        return (ids - self.middle).float() * self.step

    # calls -------------------------------------------------------------------------------------------------------
    def _rgb(self, ctx: Context, image: Rows) -> torch.Tensor:
        return (self.fit.batch(image.list(), ctx.device, torch.float32) + 1) * 127.5

    def encode(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. tokens: [B,N]."""
        return {"tokens": ctx.rows(self.quantised(self.coefficients(self._rgb(ctx, image))))}

    def decode(self, ctx: Context, tokens: Rows) -> dict[str, Rows]:
        """tokens: B x [n], all of a picture or, of fixed-size pictures, its first ones. image: [B,3,H,W] in 0..1."""
        ids_BN = tokens.dense()
        check_ids(ids_BN, self.config.levels, self.build.node)
        rgb = self.pixels(self.restored(ids_BN), self._side(ids_BN.shape[1]))
        return {"image": ctx.rows((rgb / 255).clamp(0, 1))}

    def _side(self, count: int) -> int:
        """Blocks of a side of the picture that `count` tokens describe. Raises ValueError where there is none."""
        if self.config.count is not None:
            if count > self.config.count:
                raise ValueError(f"a picture is {self.config.count} tokens for {self.build.node}, not {count}")
            return self.config.resolution // self.config.block
        side = round((count / self.config.kept / 1.5) ** 0.5)
        if not count or side % 2 or round(1.5 * self.config.kept * side * side) != count:
            raise ValueError(f"{count} tokens are no square picture of {self.build.node}")
        return side

    def rows(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. features: [B,T,6·F], divided by the bound."""
        found = spectrum(self._rgb(ctx, image), self.config.block, self.config.kept) / self.config.bounds
        return {"features": ctx.rows(found.to(ctx.dtype))}

    def picture(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        """features: B x [T,6·F] of square pictures. image: [B,3,H,W] in 0..1."""
        rows_BTF = features.dense().float()
        side = round(rows_BTF.shape[1] ** 0.5)
        if rows_BTF.dim() != 3 or not side or side * side != rows_BTF.shape[1]:
            raise ValueError(f"{rows_BTF.shape[1]} rows are no square picture of {self.build.node}")
        pixels = 2 * self.config.block * side
        rgb = unspectrum(rows_BTF.clamp(-CLIP, CLIP) * self.config.bounds, self.config.block, pixels, pixels)
        return {"image": ctx.rows((rgb / 255).clamp(0, 1))}

    def pyramid(self, ctx: Context, latent: Rows) -> dict[str, Rows]:
        """latent: B x [C,H,W]. levels: for each, its blurred versions from coarse to fine."""
        return {"levels": ctx.lists([[level(z[None].float(), k)[0] for k in self.config.pyramid] for z in latent])}


def level(latent_BCHW: torch.Tensor, side: int) -> torch.Tensor:
    """FAR's level: averaged to side × side, then enlarged to its own size bicubically; level 0 is zero."""
    if side == 0:
        return torch.zeros_like(latent_BCHW)
    small = F.interpolate(latent_BCHW, (side, side), mode="area")
    return F.interpolate(small, latent_BCHW.shape[2:], mode="bicubic", align_corners=False)
