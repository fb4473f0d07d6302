"""Masked prediction's loss: MAR's on noise (Li et al. 2024, arXiv 2406.11838), MaskGIT's on tokens (2202.04200).

found: B x [N,D]; wanted: B x [N,D] or tokens [N]; masked: B x [N] of 0 and 1 -> loss [B] over masked positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from anyany.api.torch import Component, Context, Rows
from anyany_objectives.next_scale import token_loss


class MaskedDiffusion(Component):
    """It has no options."""

    def loss(self, ctx: Context, found: Rows, wanted: Rows, masked: Rows) -> dict[str, Rows]:
        """loss [B]: the mean over masked positions; 0 where none is."""
        values = [self._one(f, w, m) for f, w, m in zip(found, wanted, masked, strict=True)]
        return {"loss": ctx.rows(torch.stack(values))}

    def example_rows(self, call: str, rows: Sequence[int], making: Any) -> dict[str, Rows]:
        """Values that belong together, for trying the component."""
        found, wanted = ([torch.randn(5, 8, generator=making.generator(w, r)) for r in rows] for w in ("f", "w"))
        marks = [torch.randint(0, 2, (5,), generator=making.generator("m", r)) for r in rows]
        return {"found": Rows(found), "wanted": Rows(wanted), "masked": Rows(marks)}

    def _one(self, found_ND: torch.Tensor, wanted: torch.Tensor, masked_N: torch.Tensor) -> torch.Tensor:
        node = self.build.node
        if wanted.is_floating_point():
            if found_ND.shape != wanted.shape:
                raise ValueError(f"{node} compares {list(found_ND.shape)} with {list(wanted.shape)}; both must agree")
            each_N = (found_ND.float() - wanted.float().detach()).square().mean(1)
        else:
            each_N = token_loss(found_ND, wanted, 0.0, node)
        if len(masked_N) != len(each_N):
            raise ValueError(f"{node}: {len(masked_N)} marks for {len(each_N)} positions")
        weight_N = masked_N.to(each_N.dtype)
        return (each_N * weight_N).sum() / weight_N.sum().clamp(min=1)
