"""Matching a decoder's conditioning (NExT-GPT, Wu et al. 2024, arXiv 2309.05519; first-stage output alignment).

found, wanted: B x [N,D] -> loss [B]. What is wanted gets no gradient.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from anyany.api.torch import Component, Context, Rows
from anyany_objectives.pairs import pairs


class MatchConditioning(Component):
    """Options: `MatchConfig`."""

    def loss(self, ctx: Context, found: Rows, wanted: Rows) -> dict[str, Rows]:
        """loss [B]: the mean over positions (and, for `mse` and `l1`, over numbers)."""
        values = [self._distance(a, b.detach()) for a, b in pairs(found, wanted, self.build.node)]
        return {"loss": ctx.rows(torch.stack(values))}

    def _distance(self, found_ND: torch.Tensor, wanted_ND: torch.Tensor) -> torch.Tensor:
        gap, how = found_ND - wanted_ND, self.config.distance
        if how == "mse":
            return gap.square().mean()
        if how == "l1":
            return gap.abs().mean()
        if how == "cosine":
            return (1 - F.cosine_similarity(found_ND, wanted_ND, dim=-1)).mean()
        return torch.linalg.vector_norm(gap, dim=-1).mean()
