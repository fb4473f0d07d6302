"""A variational autoencoder's loss (Kingma & Welling 2013, arXiv 1312.6114): reconstruction and divergence.

mean, logvar: B x [C,H,W]; found, wanted: B pictures in 0..1, compared in -1..1 -> loss [B], divergence [B] in nats.
"""

from __future__ import annotations

import torch

from anyany.api.torch import Component, Context, Rows
from anyany_objectives.pairs import apart, pairs

LOW, HIGH = -30.0, 20.0
"""Between these log-variances are cut, as latent diffusion's autoencoders do."""


class Vae(Component):
    """Options: `VaeConfig`."""

    def loss(self, ctx: Context, mean: Rows, logvar: Rows, found: Rows | None = None,
             wanted: Rows | None = None) -> dict[str, Rows]:  # fmt: skip
        """loss [B]. Without pictures it is the divergence alone."""
        kl = torch.stack([_divergence(m, v) for m, v in pairs(mean, logvar, self.build.node)])
        if (found is None) != (wanted is None):
            raise ValueError(f"{self.build.node} compares `found` with `wanted`; feed both or neither")
        total = self.config.kl * kl
        if found is not None and wanted is not None:
            both = pairs(found, wanted, self.build.node)
            total = total + torch.stack([apart(2 * a, 2 * b.detach(), self.config.reconstruction) for a, b in both])
        return {"loss": ctx.rows(total), "divergence": ctx.rows(kl)}


def _divergence(mean: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    logvar = logvar.clamp(LOW, HIGH)
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum()
