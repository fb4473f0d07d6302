"""GAN: a picture in one pass (Goodfellow et al. 2014, arXiv 1406.2661; DCGAN: Radford et al. 2016, arXiv 1511.06434).

Takes a class (or features [N,D]) beside noise; gives image [3,S,S] in 0..1. The critic scores a picture by itself and
by its condition (Miyato and Koyama 2018, arXiv 1802.05637). Suffixes: R rows, Z noise, C condition, S side.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from anyany.api.torch import Build, Context
from anyany_image_heads.head import Batch, FeatureCondition, Head, shown


class Generator(nn.Module):
    """Transposed convolutions from 1x1 up: [R,Z+C] -> [R,3,S,S] in -1..1."""

    def __init__(self, inputs: int, width: int, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        size, wide = 4, width * side // 8
        layers += [nn.ConvTranspose2d(inputs, wide, 4, 1, 0, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
        while size < side // 2:
            layers += [nn.ConvTranspose2d(wide, wide // 2, 4, 2, 1, bias=False), nn.BatchNorm2d(wide // 2), nn.ReLU()]
            size, wide = 2 * size, wide // 2
        self.main = nn.Sequential(*layers, nn.ConvTranspose2d(wide, 3, 4, 2, 1, bias=False), nn.Tanh())

    def forward(self, x_RI: torch.Tensor) -> torch.Tensor:
        return self.main(x_RI[:, :, None, None])


class Critic(nn.Module):
    """Convolutions down to one score: [R,3,S,S], [R,C] -> [R]."""

    def __init__(self, cond: int, width: int, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
        size, wide = side // 2, width
        while size > 4:
            layers += [nn.Conv2d(wide, 2 * wide, 4, 2, 1, bias=False), nn.GroupNorm(1, 2 * wide), nn.LeakyReLU(0.2)]
            size, wide = size // 2, 2 * wide
        self.main = nn.Sequential(*layers)
        self.score = nn.Linear(wide, 1)
        self.match = nn.Linear(cond, wide, bias=False)

    def forward(self, pixels: torch.Tensor, cond_RC: torch.Tensor) -> torch.Tensor:
        seen = self.main(pixels).mean((2, 3))
        return self.score(seen)[:, 0] + (self.match(cond_RC) * seen).sum(1)


class Gan(Head):
    """Options: `GanConfig`. One pass, whatever `steps` says; guidance overshoots the condition, 1 leaves it."""

    STEPS, GUIDANCE = 1, 1.0

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.model = nn.Module()
        self.model.generator = Generator(config.noise + config.condition, config.width, config.size)
        self.model.critic = Critic(config.condition, config.width, config.size)
        if self.wide:
            self.features = FeatureCondition(self.wide, config.condition)
        else:
            self.model.class_emb = nn.Embedding(self.classes + 1, config.condition)

    def look_up(self, ids_B: torch.Tensor) -> torch.Tensor:
        return self.model.class_emb(ids_B)

    def null_C(self) -> torch.Tensor:
        return self.model.class_emb.weight[-1]

    def draw(self, batch: Batch) -> dict[str, torch.Tensor]:
        noise = batch.normal((self.config.noise,), 0).to(batch.cond_RC.dtype)
        return {"image": shown(self.model.generator(torch.cat([noise, batch.overshot()], 1)))}

    def side(self) -> int:
        return self.config.size

    def teach(self, ctx: Context, cond_BC: torch.Tensor, pixels_B3SS: torch.Tensor) -> torch.Tensor:
        """[B]: the critic's loss and the generator's in one, each with the other's parameters held still."""
        noise = ctx.normal((self.config.noise,), 1).to(cond_BC.dtype)
        made, critic = self.model.generator(torch.cat([noise, cond_BC], 1)), self.model.critic
        held = {name: value.detach() for name, value in critic.state_dict(keep_vars=True).items()}
        fooled = functional_call(critic, held, (made, cond_BC))
        cond_BC = cond_BC.detach()
        real, false = critic(pixels_B3SS, cond_BC), critic(made.detach(), cond_BC)
        return (F.softplus(-fooled) + F.softplus(-real) + F.softplus(false)).float()
