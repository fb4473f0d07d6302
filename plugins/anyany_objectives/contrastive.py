"""CLIP's loss (Radford et al. 2021, arXiv 2103.00020): symmetric cross-entropy over the cosines of a batch.

left, right: B x [D] -> loss [B], accuracy [B]. The rows of one batch on one device are each other's negatives.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from anyany.api.torch import Component, Context, Rows


class Contrastive(Component):
    """Options: `ContrastiveConfig`."""

    def loss(self, ctx: Context, left: Rows, right: Rows, scale: Rows | None = None) -> dict[str, Rows]:
        """loss [B]: the mean of both directions. scale: multiplies cosines instead of 1 / temperature."""
        a_BD, b_BD = (F.normalize(side.dense().float(), dim=-1) for side in (left, right))
        if a_BD.shape != b_BD.shape:
            raise ValueError(f"{self.build.node} compares {list(a_BD.shape[1:])} with {list(b_BD.shape[1:])} numbers")
        given = [v for group in scale.groups() for v in group] if scale is not None else []
        factor: Any = 1 / self.config.temperature
        if given:
            factor = torch.stack([torch.as_tensor(v).float() for v in given]).mean()
        logits_BB = a_BD @ b_BD.T * factor
        own_B = torch.arange(len(logits_BB), device=logits_BB.device)
        both = [F.cross_entropy(x, own_B, reduction="none") for x in (logits_BB, logits_BB.T)]
        right_B = [(x.argmax(1) == own_B).float() for x in (logits_BB, logits_BB.T)]
        return {"loss": ctx.rows(sum(both) / 2), "accuracy": ctx.rows(sum(right_B) / 2)}
