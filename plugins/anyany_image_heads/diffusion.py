"""Diffusion: pictures from noise (Ho et al. 2020; Lipman et al. 2022), on diffusers' networks and schedulers.

Takes cond [N,D] (or a class number) and optionally negative [N,D], a start (a picture or its latent) and a mask of what
may change of it; gives image [3,H,W] in 0..1. Suffixes: B rows, C channels, H W sides, N conditioning length, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from anyany.api.torch import (
    Build,
    Captions,
    Component,
    Context,
    Rows,
    Schedule,
    Wish,
    denoise,
    load_parts,
    load_strict,
    relayout,
    scheduler_of,
)
from anyany_image_heads import blueprint as blueprints
from anyany_image_heads.ask import ask_network
from anyany_image_heads.flow_levels import divisors, drawn_levels
from anyany_image_heads.head import shown, square

Conds = tuple[torch.Tensor, ...]


class Diffusion(Component):
    """A diffusion model. Options: `DiffusionConfig`; weights as one file or as a diffusers pipeline folder."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        plan = self.blueprint = self.read()
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
        learned = str(plan.scheduler.get("variance_type", "")).startswith("learned")
        self.answers = self.channels * (2 if learned and int(self.network.config.out_channels) > self.channels else 1)

    def read(self) -> blueprints.Blueprint:
        """What the model is made of."""
        return blueprints.read(self.config, self.build)

    def load(self, stores: Any, build: Build) -> None:
        """One file strictly; a pipeline's folders through their libraries, which know old names."""
        plan = self.blueprint
        if not plan.folders:
            load_strict(self, relayout(stores, ()), skip=build.skip, dtype=build.dtype, device=build.device)
            return
        parts = {plan.attribute: plan.denoiser, "vae": plan.vae, "text_encoder": plan.text and plan.text.part}
        load_parts(self, {name: part for name, part in parts.items() if part is not None}, stores, build)

    @property
    def network(self) -> Any:
        """The denoiser."""
        return getattr(self, self.blueprint.attribute)

    @property
    def _factor(self) -> int:
        """Pixels a position of what is denoised."""
        plan = self.blueprint.vae
        return 1 if plan is None else 2 ** (len(plan.config["block_out_channels"]) - 1)

    def _side(self) -> int:
        """The side of what is denoised. Raises ValueError for a picture size that the network cannot make."""
        factor = self._factor
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

    def image(self, ctx: Context, cond: Rows, negative: Rows | None = None, start: Rows | None = None,
              mask: Rows | None = None) -> dict[str, Rows]:  # fmt: skip
        """cond: B rows [N,D], or class numbers; negative: B rows [N,D]; start: B pictures or latents; mask: B x [H,W].
        image: [B,3,H,W] in 0..1. Raises ValueError for a mask without a start, and for a latent of another shape."""
        nulls = None if negative is None else [(v,) for v in negative]
        return self.drawn(ctx, self._values(cond, ctx), nulls, self._starts(ctx, start, mask))

    def drawn(self, ctx: Context, values: list[Conds], nulls: list[Conds] | None,
              starts: list[dict[str, Any]]) -> dict[str, Rows]:  # fmt: skip
        """Pictures of conditions, kept away from what is given or from nothing."""
        wishes = self._wishes(ctx, values, nulls, starts)
        samples = denoise(ctx, wishes, self.ask(ctx), lambda steps: self._schedule(steps, ctx))
        return {"image": ctx.rows(shown(self._decode(torch.stack(samples), ctx)))}

    def ask(self, ctx: Context) -> Any:
        """One pass of the network: `ask(x, t, *conds)`."""
        return ask_network(self.network, self.answers, ctx.dtype)

    def _wishes(self, ctx: Context, values: list[Conds], given: list[Conds] | None,
                starts: list[dict[str, Any]]) -> list[Wish]:  # fmt: skip
        steps = ctx.option("steps", self.config.steps or self.blueprint.steps)
        own = self.blueprint.guidance if self.config.guidance is None else self.config.guidance
        scales = [float(g) for g in ctx.option("guidance", own)]
        nulls: list[Any] = [None] * len(values)
        for row, (value, scale) in enumerate(zip(values, scales)):
            if scale != 1:
                nulls[row] = given[row] if given is not None else self.null(value, ctx)
        shape = (self.channels, self.side, self.side)
        return [Wish(conds=c, nulls=u, steps=int(s), guidance=g, shape=shape, **more)
                for c, u, s, g, more in zip(values, nulls, steps, scales, starts)]  # fmt: skip

    def _values(self, cond: Rows, ctx: Context) -> list[Conds]:
        """What each row is conditioned on: features [N,D], or a class number []."""
        if type(self.network).__name__ == "DiTTransformer2DModel":
            return [(self._label(v, ctx),) for v in cond]
        return [(v,) for v in cond]

    def _starts(self, ctx: Context, start: Rows | None, mask: Rows | None) -> list[dict[str, Any]]:
        """What `Wish` is told of where each row begins."""
        if start is None:
            if mask is not None:
                raise ValueError(f"a mask says where a picture may change; feed {self.build.node} `start` too")
            return [{}] * len(ctx.keys)
        strengths = ctx.option("strength", self.config.strength)
        found = [{"start": self._latent(v, ctx), "strength": float(g)} for v, g in zip(start, strengths)]
        for row, one in enumerate(found if mask is not None else ()):
            area = mask[row].to(ctx.device).float()[None, None]  # type: ignore[index]
            one["mask"] = F.interpolate(area, size=(self.side, self.side), mode="nearest")[0]
        return found

    def _latent(self, value: torch.Tensor, ctx: Context) -> torch.Tensor:
        """[C,H,W] as the network sees it, of a picture (the square in its middle), or a latent as it is."""
        own = (self.channels, self.side, self.side)
        if tuple(value.shape) == own and value.is_floating_point() and self.vae is not None:
            return value.to(ctx.device)
        if value.shape[0] > 4 or (self.vae is None and value.shape[0] > 3 != self.channels):
            raise ValueError(
                f"{self.build.node} begins from a picture or a latent {list(own)}, not {list(value.shape)}"
            )
        pixels = square(value.to(ctx.device), self.side * self._factor)
        return self._encode(pixels[None], ctx)[0]

    def _label(self, value: Any, ctx: Context) -> torch.Tensor:
        classes = int(self.network.config.num_embeds_ada_norm)
        if isinstance(value, bool) or not str(value).isdecimal() or int(value) >= classes:
            raise ValueError(f"{self.build.node} draws classes 0 to {classes - 1}, not {value!r}; give such a number")
        return torch.tensor(int(value), device=ctx.device)

    def null(self, conds: Conds, ctx: Context) -> Conds:
        """What stands for "no conditioning" beside these conditions."""
        return (self._null(conds[0], ctx),)

    def _null(self, cond: torch.Tensor, ctx: Context) -> torch.Tensor:
        """A class of its own, a stored tensor, or the empty caption."""
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
        scheduler = scheduler_of(plan.scheduler, steps, ctx.device, own=plan.folders)
        options = {"eta": self.config.eta} if self.config.eta and "DDIM" in type(scheduler).__name__ else {}
        return Schedule(scheduler=scheduler, prediction=plan.prediction, sigma_min=plan.sigma_min, options=options,
                        guided=self.channels if self.answers > self.channels else None)  # fmt: skip

    def _decode(self, sample_BCHW: torch.Tensor, ctx: Context) -> torch.Tensor:
        """[B,3,H,W] pixels in -1..1, through the autoencoder where there is one."""
        if self.vae is None:
            return sample_BCHW
        settings: Any = self.vae.config
        latents = sample_BCHW / settings.scaling_factor + (getattr(settings, "shift_factor", None) or 0.0)
        return self.vae.decode(latents.to(ctx.dtype), return_dict=False)[0].float()

    def _encode(self, pixels_B3HW: torch.Tensor, ctx: Context) -> torch.Tensor:
        """[B,C,h,w] float32 of pixels in -1..1: the mean of the code."""
        if self.vae is None:
            return pixels_B3HW.float()
        settings: Any = self.vae.config
        code = self.vae.encode(pixels_B3HW.to(ctx.dtype)).latent_dist.mode().float()
        return (code - (getattr(settings, "shift_factor", None) or 0.0)) * settings.scaling_factor

    def loss(self, ctx: Context, cond: Rows, image: Rows, focus: Rows | None = None,
             blank: Rows | None = None) -> dict[str, Rows]:  # fmt: skip
        """cond as in `image`; image: B pictures, cut to squares; focus: B x [H,W] of them, where errors count more;
        blank: B x [N], 1 at positions of cond that say nothing. loss: [B], of one random step; some conditions are
        dropped, as guidance wants it. Raises ValueError for a focus or blanks of another size."""
        values = self._values(cond, ctx)
        if blank is not None:
            values = [self._blanked(value, b, ctx) for value, b in zip(values, blank, strict=True)]
        weights = None if focus is None else torch.stack([self._weight(v, f, ctx) for v, f in zip(image, focus)])
        return self.lost(ctx, values, image, weights)

    def _blanked(self, conds: Conds, blank_N: torch.Tensor, ctx: Context) -> Conds:
        """Conditions [N,D] with those of nothing at the blank positions."""
        if blank_N.shape != conds[0].shape[:1]:
            raise ValueError(f"{self.build.node} is told of {blank_N.numel()} blanks for {len(conds[0])} positions")
        gone_N1 = blank_N.to(ctx.device)[:, None] > 0.5
        return (torch.where(gone_N1, self.null(conds, ctx)[0], conds[0]), *conds[1:])

    def _weight(self, image: torch.Tensor, focus_HW: torch.Tensor, ctx: Context) -> torch.Tensor:
        """[1,H,W] of what is denoised: how much each position's error counts."""
        if focus_HW.shape != image.shape[-2:]:
            raise ValueError(f"a focus of {list(focus_HW.shape)} on a picture of {list(image.shape[-2:])}; they differ")
        share = (square(focus_HW.to(ctx.device).float()[None], self.side * self._factor)[:1] + 1) / 2
        return 1 + self.config.focus * F.interpolate(share[None], size=(self.side, self.side), mode="area")[0]

    def lost(self, ctx: Context, values: list[Conds], image: Rows,
             weights: torch.Tensor | None = None) -> dict[str, Rows]:  # fmt: skip
        """The loss of pictures under conditions; weights: [B,1,H,W] of what is denoised."""
        side = self.side * self._factor
        with torch.no_grad():  # else the autoencoder would learn latents that are easy to draw
            clean = self._encode(torch.stack([square(v.to(ctx.device), side) for v in image]), ctx)
        gone_B = (ctx.uniform((), 0) < self.config.drop).tolist()
        values = [self.null(v, ctx) if gone else v for v, gone in zip(values, gone_B)]
        x, t_B, wanted, divisor_B = self._noised(clean, ctx)
        ask, groups = self.ask(ctx), {}
        for row, value in enumerate(values):
            groups.setdefault(tuple(tuple(v.shape) for v in value), []).append(row)
        losses = torch.zeros_like(divisor_B)
        for rows in groups.values():
            conds = map(torch.stack, zip(*(values[r] for r in rows)))
            found = ask(x[rows], t_B[rows], *conds)[:, : self.channels].float()
            errors = (found - wanted[rows]).square() * (1 if weights is None else weights[rows])
            losses = losses.index_put((torch.tensor(rows, device=ctx.device),), errors.flatten(1).mean(1))
        return {"loss": ctx.rows(losses / divisor_B)}

    def _noised(self, clean: torch.Tensor, ctx: Context) -> tuple[torch.Tensor, ...]:
        """(noisy sample, its timestep [B], what the network should answer, what errors are divided by [B]) at one
        random step a row."""
        scheduler, plan = scheduler_of(self.blueprint.scheduler), self.blueprint
        noise = ctx.normal(tuple(clean.shape[1:]), 1)
        count = int(scheduler.config.num_train_timesteps)
        if "FlowMatch" in type(scheduler).__name__:
            level_B = drawn_levels(ctx, self.config.levels)
            wanted = clean if plan.prediction == "sample" else noise - clean
            noisy = torch.lerp(clean, noise, level_B.view(-1, 1, 1, 1))
            return noisy, level_B * count, wanted, divisors(level_B, self.config.levels)
        t_B = (ctx.uniform((), 2) * count).long()
        kind = getattr(scheduler.config, "prediction_type", "epsilon")
        if kind == "v_prediction":
            wanted = scheduler.get_velocity(clean, noise, t_B)
        else:
            wanted = clean if kind == "sample" else noise
        return scheduler.add_noise(clean, noise, t_B), t_B, wanted, torch.ones_like(t_B, dtype=noise.dtype)

    def embed(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        """text: B captions. features: B rows [N,D], what `image` takes as cond."""
        if self.captions is None:
            raise ValueError(f"the weights of {self.build.node} hold no text encoder")
        return {"features": ctx.rows(self.captions.encode(self.text_encoder, text.list(), ctx.device))}


def _named(run: Callable[[], Any], words: str) -> Callable[[], Any]:
    run.__doc__ = words
    return run
