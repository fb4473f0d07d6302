"""Mean squared difference, row by row: two values of one shape -> one number."""

from __future__ import annotations

import torch

from anyany.api.torch import Component, Context, Rows, to_float


class MeanSquaredError(Component):
    """Pictures are compared in 0..1."""

    def measure(self, ctx: Context, found: Rows, wanted: Rows) -> dict[str, Rows]:
        """Raises ValueError where the shapes differ."""
        out = []
        for a, b in zip(found.list(), wanted.list()):
            if a.shape != b.shape:
                raise ValueError(f"{tuple(a.shape)} and {tuple(b.shape)} cannot be compared")
            left, right = (to_float(v) if v.dtype == torch.uint8 else v for v in (a, b))
            out.append(float((left.float() - right.float().to(left.device)).square().mean()))
        return {"error": ctx.rows(out)}
