"""Vector quantisation's loss (van den Oord et al. 2017, arXiv 1711.00937): |sg(z) - e|² + beta |z - sg(e)|².

vectors, codes: B values of one shape -> loss [B], means over numbers.
"""

from __future__ import annotations

import torch

from anyany.api.torch import Component, Context, Rows
from anyany_objectives.pairs import pairs


class Vq(Component):
    """Options: `VqConfig`."""

    def loss(self, ctx: Context, vectors: Rows, codes: Rows) -> dict[str, Rows]:
        """loss [B]."""
        own, commit = (self.config.beta, 1.0) if self.config.legacy else (1.0, self.config.beta)
        values = [
            own * (e - z.detach()).square().mean() + commit * (z - e.detach()).square().mean()
            for z, e in pairs(vectors, codes, self.build.node)
        ]
        return {"loss": ctx.rows(torch.stack(values))}
