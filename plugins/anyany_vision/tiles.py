"""Tiles: a picture as a base view and the tiles of the best grid for its shape (LLaVA-1.6's anyres).

Source: haotian-liu/LLaVA, mm_utils. Tiles are [3,S,S] uint8; places [1+K,4] say where each lies, in pixels.
"""

from __future__ import annotations

from typing import Any

import torch

from anyany.api.torch import Build, Component, Context, Rows
from anyany_vision.pictures import best_resolution, from_pil, letterboxed, stretched, to_pil


class Tiles(Component):
    """Options: `TilesConfig`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        wrong = [list(p) for p in config.grids if len(p) != 2 or p[0] % config.size or p[1] % config.size]
        if wrong:
            raise ValueError(f"grids are (width, height) in multiples of {config.size} pixels, not {wrong[0]}")

    def tiles(self, image: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """([3,S,S] of the base view, then of each tile row by row; [1+K,4] x1 y1 x2 y2 in pixels of the picture).

        A tile may reach beyond the picture, into its black margin; the base view is the whole picture, stretched.
        """
        side, picture = self.config.size, to_pil(image)
        width, height = picture.size
        canvas, (left, top, right, bottom) = letterboxed(picture, best_resolution(picture.size, self.config.grids))
        across, down = width / (right - left), height / (bottom - top)
        found, places = [from_pil(stretched(picture, side))], [[0.0, 0.0, float(width), float(height)]]
        for y in range(0, canvas.size[1], side):
            for x in range(0, canvas.size[0], side):
                found.append(from_pil(canvas.crop((x, y, x + side, y + side))))
                places.append([(x - left) * across, (y - top) * down, (x + side - left) * across,
                               (y + side - top) * down])  # fmt: skip
        return found, torch.tensor(places)

    def cut(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. tiles: a list of [3,S,S] each; places: [1+K,4] each."""
        made = [self.tiles(one) for one in image.list()]
        return {"tiles": ctx.lists([t for t, _ in made]), "places": ctx.rows([p for _, p in made])}
