"""How flow matching is taught: which levels of noise, and how much an error counts at each.

Logit-normal levels (Esser et al. 2024, arXiv 2403.03206); a clean picture's error over its level squared is that of the
velocity (Li and He 2025, arXiv 2511.13720), here over the level alone. Suffix: B rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from anyany.api.torch import Context

FULL = 1 - 1e-3
"""Pure noise but for a thousandth: at 1 there is no velocity left to learn."""


def drawn_levels(ctx: Context, told: Mapping[str, float]) -> torch.Tensor:
    """[B] in 0..1: uniform, or, with `mean` or `std`, the logistic function of a normal number; a share `full` of them
    at (nearly) pure noise."""
    if "mean" not in told and "std" not in told:
        level_B = ctx.uniform((), 2)
    else:
        level_B = torch.sigmoid(told.get("mean", 0.0) + told.get("std", 1.0) * ctx.normal((), 3))
    if told.get("full"):
        level_B = torch.where(ctx.uniform((), 4) < told["full"], torch.full_like(level_B, FULL), level_B)
    return level_B


def divisors(level_B: torch.Tensor, told: Mapping[str, float]) -> torch.Tensor:
    """[B] what errors are divided by: their level, or `floor` where that is more; 1 where no floor is told."""
    return level_B.clamp(min=told["floor"]) if told.get("floor") else torch.ones_like(level_B)
