"""Denoising's loss (DDPM, Ho et al. 2020, arXiv 2006.11239) with min-SNR weights (Hang et al. 2023, arXiv 2303.09556).

found, wanted: B values of one shape; snr: a number each -> loss [B], a weighted mean of squares.
"""

from __future__ import annotations

import torch

from anyany.api.torch import Component, Context, Rows
from anyany_objectives.pairs import apart, pairs


class Denoising(Component):
    """Options: `DenoisingConfig`."""

    def loss(self, ctx: Context, found: Rows, wanted: Rows, snr: Rows | None = None) -> dict[str, Rows]:
        """loss [B]. Without a ratio all weigh 1."""
        values = torch.stack([apart(a, b.detach(), "l2") for a, b in pairs(found, wanted, self.build.node)])
        if snr is None:
            return {"loss": ctx.rows(values)}
        groups = snr.groups()
        weights = [self._weight(float(g[0])) if g else 1.0 for g in groups]
        return {"loss": ctx.rows(values * torch.tensor(weights, device=values.device))}

    def _weight(self, snr: float) -> float:
        """The weight that makes a loss on the clean sample weigh min(snr, gamma)."""
        if not snr > 0:
            raise ValueError(f"{self.build.node}: a signal-to-noise ratio is above 0, not {snr:g}")
        kept, prediction = min(snr, self.config.gamma), self.config.prediction
        return kept / {"noise": snr, "sample": 1.0, "velocity": snr + 1}[prediction]
