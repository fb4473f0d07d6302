"""VAE: a picture decoded from Gaussian noise and a condition (Kingma and Welling 2014, arXiv 1312.6114).

Takes a class (or features [N,D]); gives image [3,H,W] in 0..1. Encoder and decoder are diffusers' AutoencoderKL; the
condition is added to the latents. Suffixes: R rows, Z latent channels, h side of the latent map, C condition.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Context
from anyany_image_heads.autoencoder import KlAutoencoder, kl_sizes
from anyany_image_heads.head import Batch, FeatureCondition, Head, shown


class Vae(Head):
    """Options: `VaeConfig`. One pass, whatever `steps` says; guidance overshoots the condition, 1 leaves it."""

    STEPS, GUIDANCE = 1, 1.0
    vae: KlAutoencoder

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        sizes = kl_sizes(config.vae_width, config.vae_levels, config.vae_blocks, config.latents, False)
        self.vae = KlAutoencoder(sizes, config.vae_scale)
        self.model = nn.Module()
        self.model.project = nn.Linear(config.condition, config.latents)
        if self.wide:
            self.features = FeatureCondition(self.wide, config.condition)
        else:
            self.model.class_emb = nn.Embedding(self.classes + 1, config.condition)

    def look_up(self, ids_B: torch.Tensor) -> torch.Tensor:
        return self.model.class_emb(ids_B)

    def null_C(self) -> torch.Tensor:
        return self.model.class_emb.weight[-1]

    def _decode(self, latents_RZhh: torch.Tensor, cond_RC: torch.Tensor) -> torch.Tensor:
        return self.vae.decode(latents_RZhh + self.model.project(cond_RC)[:, :, None, None])

    def draw(self, batch: Batch) -> dict[str, torch.Tensor]:
        side = self.config.size // self.vae.factor
        noise = batch.normal((self.config.latents, side, side), 0).to(batch.cond_RC.dtype)
        return {"image": shown(self._decode(noise, batch.overshot()))}

    def side(self) -> int:
        return self.config.size

    def teach(self, ctx: Context, cond_BC: torch.Tensor, pixels_B3SS: torch.Tensor) -> torch.Tensor:
        """[B]: squared error of the picture and `beta` times the divergence of the code, both a pixel."""
        code = self.vae.net.encode(pixels_B3SS).latent_dist
        noise = ctx.normal(tuple(code.mean.shape[1:]), 1).to(code.mean.dtype)
        made = self._decode((code.mean + code.std * noise) * self.vae.scale, cond_BC)
        error = (made - pixels_B3SS).float().square().flatten(1)
        return error.mean(1) + self.config.beta * code.kl().float() / error.shape[1]
