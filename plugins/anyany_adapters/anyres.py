"""Anyres: tile features of a picture put back on their grid, margins cut, a learned newline after each row (LLaVA-1.6).

tiles: K+1 times [S*S,D], the base view first; places: [K+1,4] in the picture; gives [N,D]. Name: `image_newline`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Component, Context, Layout, Rows, load_strict, relayout


class Anyres(Component):
    """No options. Checkpoints hold it as `model.image_newline`: `weights: "hub:ORG/NAME#model.image_newline"`."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        width = config.width or build.sizes.get("width")
        if width is None:
            raise ValueError(f"nothing fixes the width of {build.node}; give `with: {{width: …}}`")
        self.image_newline = nn.Parameter(torch.empty(int(width)))

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """The newline, by its name or by nothing after the prefix."""
        load_strict(self, relayout(stores, [Layout("", "image_newline")]), dtype=build.dtype, device=build.device)

    def merged(self, tiles: Sequence[torch.Tensor], places: torch.Tensor) -> torch.Tensor:
        """[N,D]: base view, then the grid's rows without margins, each with its newline.

        A picture of one tile is that tile and one newline. Raises ValueError for features that are no square.
        """
        if len(tiles) != places.shape[0]:
            raise ValueError(f"{len(tiles)} tiles, but places for {places.shape[0]}")
        newline_1D = self.image_newline[None]
        if len(tiles) == 1:
            return torch.cat([tiles[0], newline_1D])
        rows, columns = _grid(places[1:])
        side = round(tiles[0].shape[0] ** 0.5)
        if side * side != tiles[0].shape[0] or rows * columns != len(tiles) - 1:
            raise ValueError(f"{len(tiles) - 1} tiles of {tiles[0].shape[0]} features make no grid of squares")
        grid_RCSSD = torch.stack(list(tiles[1:])).unflatten(0, (rows, columns)).unflatten(2, (side, side))
        map_HWD = grid_RCSSD.permute(0, 2, 1, 3, 4).flatten(0, 1).flatten(1, 2)
        map_HWD = without_margins(map_HWD, (float(places[0, 2]), float(places[0, 3])))
        lines = torch.cat([map_HWD, newline_1D.expand(map_HWD.shape[0], 1, -1)], 1)
        return torch.cat([tiles[0], lines.flatten(0, 1)])

    def merge(self, ctx: Context, tiles: Rows, places: Rows) -> dict[str, Rows]:
        """tiles: a list of [S*S,D] for each row; places: [K+1,4] each. features: [N,D] of each row's picture."""
        values = [self.merged(t, p) for t, p in zip(tiles.groups(), places.list())]
        return {"features": ctx.rows(torch.cat(values), [v.shape[0] for v in values])}

    def example(self, call: str, config: Any) -> dict[str, Rows]:
        """A picture on a grid of 2x2 tiles of 24x24 features, as LLaVA-1.6 sees a square one; for counting."""
        tiles = torch.empty(5, 576, self.image_newline.shape[0], device=self.image_newline.device)
        boxes = [[0, 0, 672, 672], *([x, y, x + 336, y + 336] for y in (0, 336) for x in (0, 336))]
        return {"tiles": Rows(tiles, counts=[5]), "places": Rows([torch.tensor(boxes, device="cpu")])}

    def example_rows(self, call: str, rows: Sequence[int], making: Any) -> dict[str, Rows]:
        """Rows for tests: grids of 1x2, 2x1, 2x2 and a single tile."""
        grids, width = ((1, 2), (2, 1), (2, 2), (0, 0)), self.image_newline.shape[0]
        tiles: list[torch.Tensor] = []
        places, counts = [], []
        for row in rows:
            down, across = grids[row % len(grids)]
            generator = torch.Generator().manual_seed(row)
            boxes = [[0.0, 0.0, 40.0, 30.0]]
            boxes += [[x * 20.0, y * 20.0, x * 20.0 + 20, y * 20.0 + 20] for y in range(down) for x in range(across)]
            counts.append(len(boxes))
            places.append(torch.tensor(boxes))
            tiles += [torch.randn(9, width, generator=generator) for _ in boxes]
        return {"tiles": Rows(torch.stack(tiles), counts=counts), "places": Rows(places)}


def _grid(places_K4: torch.Tensor) -> tuple[int, int]:
    """(rows, columns) of tiles given row by row: a row ends where x steps back."""
    left = places_K4[:, 0].tolist()
    columns = next((i for i in range(1, len(left)) if left[i] <= left[i - 1]), len(left))
    return len(left) // columns, columns


def without_margins(map_HWD: torch.Tensor, size: tuple[float, float]) -> torch.Tensor:
    """[h,w,D] without the rows or columns of padding that a picture of `size` (width, height) left on the grid."""
    height, width = map_HWD.shape[:2]
    if size[0] / size[1] > width / height:
        margin = (height - int(size[1] * (width / size[0]))) // 2
        return map_HWD[margin : height - margin]
    margin = (width - int(size[0] * (height / size[1]))) // 2
    return map_HWD[:, margin : width - margin]
