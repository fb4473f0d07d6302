"""Conditioning that a head is taught from: two captions' slots mixed by a share, some blank, with noise on them.

Mixing goes with pictures of mixed shades (mixup: Zhang et al. 2018, arXiv 1710.09412). Shapes: B rows, N slots, D wide.
"""

from __future__ import annotations

import torch

from anyany.api.torch import Component, Context, Rows


class Blend(Component):
    """Options: `BlendConfig`."""

    def blend(self, ctx: Context, cond: Rows, other: Rows, share: Rows, blank: Rows) -> dict[str, Rows]:
        """cond, other: B x [N,D]; share: B x [1]; blank: B x [N]. features: B x [N,D]. Raises ValueError for two
        conditionings of unlike shapes, and for other than a number of `blank` a slot."""
        found = []
        for here, there, part, empty in zip(cond, other, share, blank, strict=True):
            if here.shape != there.shape or empty.shape != here.shape[:1]:
                raise ValueError(f"{ctx.node} mixes slots of one shape, with a number of `blank` for each; not "
                                 f"{list(here.shape)} and {list(there.shape)} with {list(empty.shape)}")  # fmt: skip
            found.append(torch.lerp(here, there, part.to(here)) * (1 - empty.to(here))[:, None])
        if self.config.noise and found:
            for row, value in enumerate(found):
                noise = ctx.noise.normal([ctx.keys[row]], tuple(value.shape), f"{ctx.node}.blend", 0, ctx.device)
                found[row] = value + self.config.noise * noise[0].to(value)
        return {"features": ctx.rows(found)}
