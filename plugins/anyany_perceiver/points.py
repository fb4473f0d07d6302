"""Points as Perceiver's input array: Fourier features of each coordinate, and what else is known of a point.

points: B x [N,A] or rows [N,A+F] -> features B x [N,C]; Jaegle et al. 2021, section 4.3 (arXiv 2103.03206).
"""

from __future__ import annotations

from typing import Any

import torch

from anyany.api.torch import Component, Context, Rows
from anyany_perceiver.fourier import fourier
from anyany_perceiver.places import within


class Points(Component):
    """Options: `PointsConfig`."""

    def encode(self, ctx: Context, points: Rows) -> dict[str, Rows]:
        """points: B sets of any size. features: B x [N,C], in their order.

        Raises ValueError for other columns than `axes` and `more`, and for points outside `bounds`.
        """
        axes, arrays = self.config.axes, []
        for one in points:
            rows = within(one, self.config.bounds, axes, self.config.more)
            places = fourier(rows[:, :axes], self.config.bands, (self.config.resolution,) * axes)
            arrays.append(torch.cat([places, rows[:, axes:]], 1))
        packed: Any = torch.cat(arrays).to(ctx.device, ctx.dtype)
        return {"features": ctx.rows(packed, [len(a) for a in arrays])}
