"""The adversarial loss of VQGAN (Esser et al. 2021, arXiv 2012.09841), with pix2pix's patch discriminator.

real, fake: B pictures in 0..1 -> loss [B], generator [B], discriminator [B]. One loss for both sides: the
discriminator's part holds the pictures fixed, the generator's part the discriminator.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import Build, Component, Context, Rows, to_float

MOST = 8
"""Channels grow up to this many times the first layer's."""


class Adversarial(Component):
    """Options: `AdversarialConfig`. Names: taming-transformers' `NLayerDiscriminator` (`#loss.discriminator.`)."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        layers: list[nn.Module] = [nn.Conv2d(3, config.channels, 4, 2, 1), nn.LeakyReLU(0.2)]
        width = config.channels
        for layer in range(1, config.layers + 1):
            wider = config.channels * min(2**layer, MOST)
            stride = 2 if layer < config.layers else 1
            layers += [nn.Conv2d(width, wider, 4, stride, 1, bias=False), nn.BatchNorm2d(wider), nn.LeakyReLU(0.2)]
            width = wider
        self.main = nn.Sequential(*layers, nn.Conv2d(width, 1, 4, 1, 1))
        self.smallest = 2 ** (config.layers + 2)

    def loss(self, ctx: Context, real: Rows, fake: Rows) -> dict[str, Rows]:
        """loss [B]: the discriminator's part, and `weight` times the generator's."""
        real_BCHW, fake_BCHW = (self._pictures(rows, ctx) for rows in (real, fake))
        if real_BCHW.shape != fake_BCHW.shape:
            raise ValueError(f"{self.build.node} compares pictures of one size, not {list(real_BCHW.shape[1:])} "
                             f"with {list(fake_BCHW.shape[1:])}")  # fmt: skip
        told_real, told_fake = self.main(real_BCHW.detach()), self.main(fake_BCHW.detach())
        fixed = {name: value.detach() for name, value in self.main.named_parameters()}
        fooled = torch.func.functional_call(self.main, fixed, (fake_BCHW,))
        generator_B = -fooled.flatten(1).mean(1).float()
        apart = (self._side(told_real, 1.0) + self._side(told_fake, -1.0)) / 2
        return {
            "loss": ctx.rows(self.config.weight * generator_B + apart), "generator": ctx.rows(generator_B.detach()),
            "discriminator": ctx.rows(apart.detach()),
        }  # fmt: skip

    def _side(self, told: torch.Tensor, sign: float) -> torch.Tensor:
        """[B]: how far the discriminator is from telling (sign 1: real, -1: made)."""
        each = F.relu(1 - sign * told) if self.config.kind == "hinge" else F.softplus(-sign * told)
        return each.flatten(1).mean(1).float()

    def _pictures(self, rows: Rows, ctx: Context) -> torch.Tensor:
        pictures = torch.stack([to_float(p) for p in rows.list()]) if len(rows) else torch.empty(0, 3, 1, 1)
        if min(pictures.shape[2:]) < self.smallest:
            raise ValueError(f"{self.build.node} judges pictures of {self.smallest} pixels or more a side, "
                             f"not {list(pictures.shape[2:])}")  # fmt: skip
        return pictures.to(ctx.device, ctx.dtype) * 2 - 1
