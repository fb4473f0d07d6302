"""Diffusion: pictures from noise (Ho et al. 2020; Lipman et al. 2022), on diffusers' networks and schedulers.

Takes cond [N,D] (or a class number) and optionally negative [N,D]; gives image [3,H,W] in 0..1.
Shape suffixes: B rows, C channels, H W sides, N conditioning length, D its width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from anyany.api.torch import Build, Captions, Component, Context, Rows, Schedule, Wish, denoise, scheduler_of
from anyany_image_heads import blueprint as blueprints
from anyany_image_heads.ask import ask_network


class Diffusion(Component):
    """A diffusion model. Options: `DiffusionConfig`; weights as one file or as a diffusers pipeline folder."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        plan = self.blueprint = blueprints.read(config, build)
        self.add_module(plan.attribute, blueprints.network(plan.denoiser))
        self.vae = None if plan.vae is None else blueprints.network(plan.vae)
        self.text_encoder = None if plan.text is None else blueprints.network(plan.text.part)
        self.captions = None if plan.text is None else Captions(plan.text, build)
        self.null_conditioning = None
        if plan.null is not None:
            self.null_conditioning = nn.Parameter(torch.empty(*plan.null, device="meta"))
        stored = set(self.state_dict())
        self._tables = {name: value.clone() for name, value in self.named_buffers() if name not in stored}
        self.channels, self.side = int(self.network.config.in_channels), self._side()

    @property
    def network(self) -> Any:
        """The denoiser."""
        return getattr(self, self.blueprint.attribute)

    def _side(self) -> int:
        """The side of what is denoised. Raises ValueError for a picture size that the network cannot make."""
        factor = 1 if self.vae is None else 2 ** (len(self.blueprint.vae.config["block_out_channels"]) - 1)  # type: ignore[union-attr]
        own = int(self.network.config.sample_size)
        if self.config.size is None:
            return own
        unit = factor * int(getattr(self.network.config, "patch_size", 1))
        if self.config.size % unit:
            raise ValueError(f"size {self.config.size} is no multiple of {unit}, what {self.build.node} can draw")
        return self.config.size // factor

    def init_buffers(self) -> None:
        """Position tables and the like, which the networks compute when they are built."""
        for name, value in self.named_buffers():
            if name in self._tables:
                value.copy_(self._tables[name])

    def probe(self, call: str) -> Callable[[], Any]:
        """One pass of a call on the meta device, for counting its cost; its docstring names the input."""
        if call == "embed":
            encoder, ids = self._on_meta(self.text_encoder), torch.zeros(1, 32, dtype=torch.int64, device="meta")
            return _named(lambda: encoder(input_ids=ids), "a caption of 32 tokens")
        settings, side = self.network.config, self.side
        x_BCHW = torch.empty(1, self.channels, side, side, device="meta")
        t_B, cond = torch.zeros(1, device="meta"), torch.zeros(1, dtype=torch.int64, device="meta")
        if type(self.network).__name__ != "DiTTransformer2DModel":
            width = getattr(settings, "caption_channels", None) or settings.cross_attention_dim
            cond = torch.empty(1, (self.blueprint.null or (77,))[0], width, device="meta")
        ask = ask_network(self._on_meta(self.network), self.channels, torch.float32)
        return _named(lambda: ask(x_BCHW, t_B, cond), f"one step, {self.channels}×{side}×{side}")

    @staticmethod
    def _on_meta(network: Any) -> Any:
        """The network with its tables on meta, where its parameters are; it is of no further use."""
        assert all(p.is_meta for p in network.parameters()), "probing is for components on the meta device"
        return network.to("meta")

    def image(self, ctx: Context, cond: Rows, negative: Rows | None = None) -> dict[str, Rows]:
        """cond: B rows [N,D], or class numbers; negative: B rows [N,D]. image: [B,3,H,W] in 0..1."""
        wishes = self._wishes(ctx, cond, negative)
        ask = ask_network(self.network, self.channels, ctx.dtype)
        samples = denoise(ctx, wishes, ask, lambda steps: self._schedule(steps, ctx))
        return {"image": ctx.rows((self._decode(torch.stack(samples), ctx).clamp(-1, 1) + 1) / 2)}

    def _wishes(self, ctx: Context, cond: Rows, negative: Rows | None) -> list[Wish]:
        steps = ctx.option("steps", self.config.steps or self.blueprint.steps)
        own = self.blueprint.guidance if self.config.guidance is None else self.config.guidance
        scales = [float(g) for g in ctx.option("guidance", own)]
        labels = type(self.network).__name__ == "DiTTransformer2DModel"
        values = [self._label(v, ctx) for v in cond] if labels else cond.list()
        nulls: list[Any] = [None] * len(values)
        for row, (value, scale) in enumerate(zip(values, scales)):
            if scale != 1:
                nulls[row] = (negative[row] if negative is not None else self._null(value, ctx),)
        shape = (self.channels, self.side, self.side)
        return [Wish(conds=(c,), nulls=u, steps=int(s), guidance=g, shape=shape)
                for c, u, s, g in zip(values, nulls, steps, scales)]  # fmt: skip

    def _label(self, value: Any, ctx: Context) -> torch.Tensor:
        classes = int(self.network.config.num_embeds_ada_norm)
        if isinstance(value, bool) or not str(value).isdecimal() or int(value) >= classes:
            raise ValueError(f"{self.build.node} draws classes 0 to {classes - 1}, not {value!r}")
        return torch.tensor(int(value), device=ctx.device)

    def _null(self, cond: torch.Tensor, ctx: Context) -> torch.Tensor:
        """What stands for "no conditioning": a class of its own, a stored tensor, or the empty caption."""
        if cond.dim() == 0:
            return torch.full_like(cond, int(self.network.config.num_embeds_ada_norm))
        if self.null_conditioning is not None:
            fixed = self.null_conditioning.to(cond.dtype)
            return fixed.expand(cond.shape) if len(fixed) == 1 else fixed
        if self.captions is None:
            raise ValueError(f"guidance of {self.build.node} wants a `negative`: its weights hold no null conditioning")
        return self.captions.encode(self.text_encoder, [""], ctx.device)[0].to(cond.dtype)

    def _schedule(self, steps: int, ctx: Context) -> Schedule:
        plan = self.blueprint
        scheduler = scheduler_of(plan.scheduler)
        if plan.folders or "FlowMatch" not in type(scheduler).__name__:
            scheduler.set_timesteps(steps, device=ctx.device)
        else:
            # From pure noise down in equal parts; the scheduler's own list would stop short of the last one.
            scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)], device=ctx.device)
        return Schedule(scheduler=scheduler, prediction=plan.prediction, sigma_min=plan.sigma_min)

    def _decode(self, sample_BCHW: torch.Tensor, ctx: Context) -> torch.Tensor:
        """[B,3,H,W] pixels in -1..1, through the autoencoder where there is one."""
        if self.vae is None:
            return sample_BCHW
        settings: Any = self.vae.config
        latents = sample_BCHW / settings.scaling_factor + (getattr(settings, "shift_factor", None) or 0.0)
        return self.vae.decode(latents.to(ctx.dtype), return_dict=False)[0].float()

    def embed(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        """text: B captions. features: B rows [N,D], what `image` takes as cond."""
        if self.captions is None:
            raise ValueError(f"the weights of {self.build.node} hold no text encoder")
        return {"features": ctx.rows(self.captions.encode(self.text_encoder, text.list(), ctx.device))}


def _named(run: Callable[[], Any], words: str) -> Callable[[], Any]:
    run.__doc__ = words
    return run
