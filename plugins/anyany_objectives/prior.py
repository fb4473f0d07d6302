"""A prior's loss (DALL-E 2, Ramesh et al. 2022, arXiv 2204.06125): the squared distance of two embeddings.

found, wanted: B x [D] -> loss [B] (of unit vectors: 2 - 2 cosine), cosine [B].
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from anyany.api.torch import Component, Context, Rows
from anyany_objectives.pairs import pairs


class Prior(Component):
    """Options: `PriorConfig`."""

    def loss(self, ctx: Context, found: Rows, wanted: Rows) -> dict[str, Rows]:
        """loss [B]."""
        losses, cosines = [], []
        for a, b in pairs(found, wanted, self.build.node):
            cosines.append(F.cosine_similarity(a, b, dim=-1).detach())
            if self.config.normalise:
                a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
            losses.append((a - b.detach()).square().sum())
        return {"loss": ctx.rows(torch.stack(losses)), "cosine": ctx.rows(torch.stack(cosines))}
