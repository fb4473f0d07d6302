"""Pool: squares of a frame's patch grid become one patch each, as LLaVA-NeXT-Video thins out its frames (2024).

features: B x [N,D], N a square number -> [M,D]; a margin that fills no square is left out. Suffixes: S grid side.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F

from anyany.api.torch import Component, Context, Rows


class Pool(Component):
    """Options: `PoolConfig`."""

    def pooled(self, x_ND: torch.Tensor) -> torch.Tensor:
        """[N,D] -> [M,D]. Raises ValueError where the patches are no square grid, or smaller than one square."""
        count, side = x_ND.shape[0], isqrt(x_ND.shape[0])
        if side * side != count:
            raise ValueError(
                f"{count} features are no square grid of patches: leave out class tokens, crop to a square"
            )
        if side < self.config.side:
            raise ValueError(f"a grid of {side} x {side} patches has no square of side {self.config.side}")
        x_DSS = x_ND.T.unflatten(1, (side, side))
        pool = F.avg_pool2d if self.config.how == "average" else F.max_pool2d
        return pool(x_DSS[None], self.config.side)[0].flatten(1).T

    def pool(self, ctx: Context, features: Rows) -> dict[str, Rows]:
        """features: B x [N,D] -> B x [M,D]."""
        values = [self.pooled(x) for x in features]
        return {"features": ctx.rows(torch.cat(values), [v.shape[0] for v in values])}

    def example_rows(self, call: str, rows: Any, making: Any) -> dict[str, Rows]:
        """Rows for tests: grids of several sides."""
        side, width = self.config.side, making.sizes["width"]
        grids = [(side * (1 + row % 3) + row % 2) ** 2 for row in rows]
        made = [torch.randn(n, width, generator=torch.Generator().manual_seed(r)) for n, r in zip(grids, rows)]
        return {"features": Rows(made)}
