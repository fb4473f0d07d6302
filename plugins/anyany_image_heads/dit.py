"""DiT: a diffusion transformer for classes (Peebles and Xie 2023, arXiv 2212.09748), under the official names.

Takes a class (or features [N,D]); gives image [3,H,W] in 0..1, or without its autoencoder the latent [c,S,S].
Suffixes: R rows, c latent channels, S side of the latent map, C width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Context
from anyany_image_heads import gaussian
from anyany_image_heads.autoencoder import KlAutoencoder, kl_sizes
from anyany_image_heads.dit_transformer import DitTransformer
from anyany_image_heads.head import Batch, FeatureCondition, Head, shown

GUIDED_CHANNELS = 3
Ask = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
NoiseOf = Callable[[int], torch.Tensor]


class Dit(Head):
    """Options: `DitConfig`. Guidance moves the first three channels of the noise alone, as the authors' does."""

    STEPS, GUIDANCE = 250, 4.0
    model: DitTransformer

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.model = DitTransformer(config)
        if self.wide:
            self.features = FeatureCondition(self.wide, config.width)
        else:
            self.model.y_embedder = nn.Module()
            rows = self.classes + (config.drop > 0)
            self.model.y_embedder.embedding_table = nn.Embedding(rows, config.width)
        if config.autoencoder:
            sizes = kl_sizes(config.vae_width, config.vae_levels, config.vae_blocks, config.channels, False)
            self.vae = KlAutoencoder(sizes, config.vae_scale)
        self.process = gaussian.process(config.schedule)

    # conditioning ----------------------------------------------------------------------------------------------------
    @property
    def table(self) -> torch.Tensor:
        return self.model.y_embedder.embedding_table.weight  # type: ignore[union-attr,return-value]

    def look_up(self, ids_B: torch.Tensor) -> torch.Tensor:
        return self.table[ids_B]

    def null_C(self) -> torch.Tensor:
        if len(self.table) == self.classes:
            raise ValueError(f"{self.build.node} was trained without dropping classes: its guidance can only be 1")
        return self.table[-1]

    # drawing ---------------------------------------------------------------------------------------------------------
    def draw(self, batch: Batch) -> dict[str, torch.Tensor]:
        shape = (self.config.channels, self.config.side, self.config.side)
        steps = self.sampler(batch.steps)
        x_RcSS = self.denoise(steps, batch.twice_C, batch.guidance_R, lambda i: batch.normal(shape, i), batch.ctx.check)
        if self.vae is None:
            return {"latent": x_RcSS}
        return {"image": shown(self.vae.decode(x_RcSS.to(batch.ctx.dtype)))}

    def sampler(self, count: int) -> gaussian.Steps:
        """The folded steps of `count` of the thousand."""
        p = gaussian.process(self.config.schedule, str(count))
        if self.config.sampler == "ddim":
            return gaussian.ddim(p, self.config.eta)
        return gaussian.ancestral(p, learned=self.config.learned)

    def denoise(self, steps: gaussian.Steps, twice_C: torch.Tensor, guidance_R: torch.Tensor, noise: NoiseOf,
                check: Callable[[], None] = lambda: None) -> torch.Tensor:  # fmt: skip
        """[R,c,S,S] float32. twice_C: [R,C], or [2R,C] for guidance. noise(0) begins; noise(i + 1) is of step i."""
        x_RcSS = noise(0)
        for index, t in enumerate(steps.timesteps):
            check()
            eps, v = self.predict(x_RcSS, t, twice_C, guidance_R)
            x_RcSS = steps(index, x_RcSS, eps, v, noise(index + 1) if steps.draws(index) else None)
        return x_RcSS

    def predict(self, x_RcSS: torch.Tensor, t: int, twice_C: torch.Tensor,
                guidance_R: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:  # fmt: skip
        """(guided noise, variance or None) of one step, [R,c,S,S] float32."""
        rows, channels = len(x_RcSS), self.config.channels
        x = x_RcSS.to(twice_C.dtype)
        x = torch.cat([x, x]) if len(twice_C) > rows else x
        out = self.model(x, torch.full((len(x),), t, device=x.device), twice_C).float()
        eps, v = out[:rows, :channels], out[:rows, channels:] if self.config.learned else None
        if len(out) > rows:
            null = out[rows:, :GUIDED_CHANNELS]
            eps = eps.clone()
            eps[:, :GUIDED_CHANNELS] = null + guidance_R.view(-1, 1, 1, 1) * (eps[:, :GUIDED_CHANNELS] - null)
        return eps, v

    # training --------------------------------------------------------------------------------------------------------
    def side(self) -> int:
        return self.config.side * (1 if self.vae is None else self.vae.factor)

    def teach(self, ctx: Context, cond_BC: torch.Tensor, pixels_B3SS: torch.Tensor) -> torch.Tensor:
        """[B]: squared error of the noise at one random step, and with a learned variance its bound."""
        if self.vae is None:
            raise ValueError(f"{self.build.node} has no autoencoder to make latents of pictures with")
        with torch.no_grad():  # else the autoencoder would learn latents that are easy to draw
            clean = self.vae.encode(pixels_B3SS).float()
        t_B = (ctx.uniform((), 1) * len(self.process)).long()
        noise = ctx.normal(tuple(clean.shape[1:]), 2)
        out = self.model(gaussian.noised(self.process, clean, t_B, noise).to(ctx.dtype), t_B, cond_BC).float()
        return self.losses(out, clean, t_B, noise)

    def losses(self, out: torch.Tensor, clean: torch.Tensor, t_B: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """[B] of a network's output."""
        if not self.config.learned:
            return (noise - out).square().flatten(1).mean(1)
        error, bound = gaussian.losses(self.process, out, clean, t_B, noise)
        return error + bound

    def probe(self, call: str) -> Callable[[], Any]:
        """One step of one picture without guidance, on meta."""
        c = self.config
        self.model.to("meta")  # its positions are real
        x = torch.empty(1, c.channels, c.side, c.side, device="meta")
        t, y = torch.zeros(1, dtype=torch.int64, device="meta"), torch.empty(1, c.width, device="meta")

        def one_step() -> torch.Tensor:
            return self.model(x, t, y)

        one_step.__doc__ = f"one step, {c.channels}×{c.side}×{c.side}"
        return one_step
