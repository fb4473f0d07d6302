"""KL autoencoders (Kingma & Welling 2013, arXiv 1312.6114; Rombach et al. 2022, arXiv 2112.10752): SD's, MAR's.

image [3,H,W] <-> latent [C,H/f,W/f], of about unit variance, on diffusers' AutoencoderKL. Names: diffusers' or the
official ones (CompVis, MAR). Suffixes: B rows, C latent channels, H W sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL

from anyany.api.torch import Build, Component, Context, Rows, load_strict, relayout
from anyany_tokenizers.networks import OLD_ATTENTION, attended, is_ldm, ldm_layout, sizes
from anyany_tokenizers.pixels import Fit, picture


class KlVae(Component):
    """Options: `KlVaeConfig`; a checkpoint's config.json overrides the sizes."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        card = build.assets.json("config.json") or {}
        self.card = card if card.get("_class_name") == "AutoencoderKL" else _sizes(config, build)
        self.model = AutoencoderKL(**{k: v for k, v in self.card.items() if not k.startswith("_")})
        self.scale = float(self.card.get("scaling_factor", 1.0))
        self.shift = float(self.card.get("shift_factor") or 0.0)
        factor = 2 ** (len(self.card["block_out_channels"]) - 1)
        if config.fit != "none" and config.resolution % factor:
            raise ValueError(f"resolution {config.resolution} is no multiple of {factor}, the pixels of a cell")
        self.fit = Fit(size=config.resolution, unit=factor, how=config.fit, filter="BICUBIC", halve=True)

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Weights under diffusers' names, old or new, or the official ones; strictly."""
        official = any(is_ldm(store) for store in stores)
        store = relayout(stores, ldm_layout(self.card["block_out_channels"]) if official else OLD_ATTENTION)
        load_strict(self.model, store, ignores=("loss.*", "model_ema.*"), skip=build.skip, dtype=build.dtype,
                    device=build.device)  # fmt: skip

    # tensors -----------------------------------------------------------------------------------------------------
    def posterior(self, x_BCHW: torch.Tensor) -> Any:
        """[B,3,·,·] in -1..1 -> diffusers' Gaussian (mean, logvar, std), unscaled."""
        return self.model.encode(x_BCHW).latent_dist

    def scaled(self, z_BCHW: torch.Tensor) -> torch.Tensor:
        """A latent as diffusion models want it."""
        return (z_BCHW - self.shift) * self.scale

    def pixels(self, latent_BCHW: torch.Tensor) -> torch.Tensor:
        """[B,C,·,·] scaled -> [B,3,·,·], about -1..1, not cut."""
        return self.model.decode(latent_BCHW / self.scale + self.shift).sample

    # calls -------------------------------------------------------------------------------------------------------
    def _batch(self, ctx: Context, image: Rows) -> torch.Tensor:
        return self.fit.batch(image.list(), ctx.device, ctx.dtype)

    def _drawn(self, ctx: Context, found: Any) -> torch.Tensor:
        return found.mean + found.std * ctx.normal(tuple(found.mean.shape[1:])).to(found.mean.dtype)

    def encode(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """image: B pictures. latent: [B,C,·,·] scaled, the mean or a draw; mean, logvar: unscaled."""
        found = self.posterior(self._batch(ctx, image))
        latent = self._drawn(ctx, found) if self.config.sample else found.mean
        return {"latent": ctx.rows(self.scaled(latent)), "mean": ctx.rows(found.mean), "logvar": ctx.rows(found.logvar)}

    def decode(self, ctx: Context, latent: Rows) -> dict[str, Rows]:
        """latent: B x [C,·,·] scaled. image: [B,3,H,W] in 0..1."""
        latent_BCHW = latent.dense().to(ctx.dtype)
        wanted = int(self.card["latent_channels"])
        if latent_BCHW.dim() != 4 or latent_BCHW.shape[1] != wanted or 0 in latent_BCHW.shape:
            raise ValueError(
                f"{self.build.node} decodes latents of {wanted} channels, not {list(latent_BCHW.shape[1:])}"
            )
        return {"image": ctx.rows(picture(self.pixels(latent_BCHW)))}

    def loss(self, ctx: Context, image: Rows) -> dict[str, Rows]:
        """loss [B]: l1 or l2 of the picture, and `kl` times the divergence (nats, the sum over the latent)."""
        x_BCHW = self._batch(ctx, image)
        found = self.posterior(x_BCHW)
        latent = self.scaled(self._drawn(ctx, found))
        back = self.pixels(latent)
        apart = (back - x_BCHW).float()
        apart = apart.abs() if self.config.reconstruction == "l1" else apart.square()
        kl_B = found.kl().float()
        return {
            "loss": ctx.rows(apart.flatten(1).mean(1) + self.config.kl * kl_B), "image": ctx.rows(picture(back)),
            "latent": ctx.rows(latent), "divergence": ctx.rows(kl_B),
        }  # fmt: skip


def _sizes(config: Any, build: Build) -> dict[str, Any]:
    """diffusers' config from options."""
    latent = build.facts.get("latent") or config.latent or build.sizes.get("latent") or 4
    down = attended(config.nominal, config.multipliers, config.attention)
    up = attended(config.nominal, config.multipliers, config.decoder_attention)
    return {
        **sizes(config, down, up), "latent_channels": latent, "scaling_factor": config.scale,
        "shift_factor": config.shift, "sample_size": config.resolution,
    }  # fmt: skip
