"""Films from noise: ModelScope's and zeroscope's UNet3D (arXiv 2308.06571), Latte's transformer (arXiv 2401.03048).

Takes cond [N,D] and optionally negative [N,D]; gives a film of frames [T,3,H,W] in 0..1. On diffusers' networks.
Suffixes: B rows, C channels, T frames, H W sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from anyany.api.torch import (
    Build,
    Captions,
    Component,
    Context,
    Rows,
    Schedule,
    Video,
    Wish,
    denoise,
    load_parts,
    network_of,
    scheduler_of,
)
from anyany_video import diffusion_parts

FRAMES = 16
AT_ONCE = 8
"""Frames that the autoencoder decodes together: all of a film's would take more memory than making it did."""


class VideoDiffusion(Component):
    """Options: `VideoDiffusionConfig`; weights as a diffusers pipeline folder, or random."""

    def __init__(self, config: Any, build: Build) -> None:
        super().__init__(config, build)
        self.plan = diffusion_parts.read(config, build)
        for name, part in self.plan.parts.items():
            self.add_module(name, network_of(part))
        self.captions = None if self.plan.text is None else Captions(self.plan.text, build)
        self._check_size()

    def load(self, stores: Sequence[Any], build: Build) -> None:
        """Each part under its name, strictly."""
        load_parts(self, self.plan.parts, stores, build)

    @property
    def network(self) -> Any:
        """The denoiser."""
        return getattr(self, self.plan.denoiser)

    # sizes -----------------------------------------------------------------------------------------------------------
    def _size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        own = int(self.network.config.sample_size or 32) * self.plan.factor
        return self.config.height or own, self.config.width or own

    def _width(self) -> int:
        """Of the conditioning."""
        settings = self.network.config
        return int(getattr(settings, "caption_channels", None) or settings.cross_attention_dim)

    def _check_size(self) -> None:
        unit = self.plan.factor * int(getattr(self.network.config, "patch_size", None) or 1)
        height, width = self._size()
        if height % unit or width % unit:
            raise ValueError(f"{height} x {width} pixels are no multiples of {unit}, what {self.build.node} can film")

    def _shape(self, frames: int | None) -> tuple[int, int, int, int]:
        """[C,T,H,W] of what is denoised. Raises ValueError for a length that the model cannot make."""
        fixed = getattr(self.network.config, "video_length", None)
        if fixed and frames not in (None, fixed):
            raise ValueError(f"{self.build.node} makes films of {fixed} frames, not of {frames}")
        height, width = self._size()
        factor = self.plan.factor
        count = int(frames or fixed or FRAMES)
        return (int(self.network.config.in_channels), count, height // factor, width // factor)

    # calls -----------------------------------------------------------------------------------------------------------
    def video(self, ctx: Context, cond: Rows, negative: Rows | None = None) -> dict[str, Rows]:
        """cond, negative: B rows [N,D]. video: B films, [T,3,H,W] in 0..1. Raises ValueError for another length."""
        plan = self.plan
        steps = ctx.option("steps", self.config.steps or plan.steps)
        own = plan.guidance if self.config.guidance is None else self.config.guidance
        scales = [float(g) for g in ctx.option("guidance", own)]
        shapes = [self._shape(f) for f in ctx.option("frames", self.config.frames)]
        wishes, empty = [], None
        for row, value in enumerate(cond):
            if value.dim() != 2 or value.shape[1] != self._width() or not len(value):
                said = list(value.shape)
                raise ValueError(f"{self.build.node} is conditioned on features [N,{self._width()}], not {said}")
            null = None
            if scales[row] != 1 and negative is not None:
                null = negative[row]
            elif scales[row] != 1:
                empty = self._empty(ctx) if empty is None else empty
                null = empty
            wishes.append(Wish(conds=(value,), nulls=None if null is None else (null,), steps=int(steps[row]),
                               guidance=scales[row], shape=shapes[row]))  # fmt: skip
        samples = denoise(ctx, wishes, self._ask(ctx.dtype), lambda n: self._schedule(n, ctx))
        films = [self._film(ctx, sample) for sample in samples]
        rates = ctx.option("fps", self.config.fps)
        return {"video": ctx.rows([Video(frames, float(fps)) for frames, fps in zip(films, rates)])}

    def embed(self, ctx: Context, text: Rows) -> dict[str, Rows]:
        """text: B captions. features: B rows [N,D], what `video` takes as cond."""
        if self.captions is None:
            raise ValueError(f"the weights of {self.build.node} hold no text encoder")
        return {"features": ctx.rows(self.captions.encode(self.text_encoder, text.list(), ctx.device))}

    def _empty(self, ctx: Context) -> torch.Tensor:
        """What stands for "no conditioning": the empty caption."""
        if self.captions is None:
            raise ValueError(f"guidance of {self.build.node} wants a `negative`: its weights hold no text encoder")
        return self.captions.encode(self.text_encoder, [""], ctx.device)[0]

    # the model -------------------------------------------------------------------------------------------------------
    def _ask(self, dtype: torch.dtype) -> Callable[..., torch.Tensor]:
        network = self.network

        def ask(x_BCTHW: torch.Tensor, t_B: torch.Tensor, cond_BND: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = network(x_BCTHW.to(dtype), timestep=t_B, encoder_hidden_states=cond_BND.to(dtype),
                                          return_dict=False)[0]  # fmt: skip
            return found[:, : x_BCTHW.shape[1]]  # Latte's variances are left

        return ask

    def _schedule(self, steps: int, ctx: Context) -> Schedule:
        return Schedule(scheduler=scheduler_of(self.plan.scheduler, steps, ctx.device))

    def _film(self, ctx: Context, sample_CTHW: torch.Tensor) -> torch.Tensor:
        """[T,3,H,W] float32 in 0..1 on the CPU, through the autoencoder where there is one."""
        frames_TCHW = sample_CTHW.transpose(0, 1)
        if "vae" in self.plan.parts:
            scaled = (frames_TCHW / self.vae.config.scaling_factor).to(ctx.dtype)
            temporal = type(self.vae).__name__ == "AutoencoderKLTemporalDecoder"
            parts = []
            for some in scaled.split(len(scaled) if temporal else AT_ONCE):
                told = {"num_frames": len(some)} if temporal else {}
                parts.append(self.vae.decode(some, return_dict=False, **told)[0])
                ctx.check()
            frames_TCHW = torch.cat(parts)
        return (frames_TCHW.float().clamp(-1, 1).cpu() + 1) / 2

    def probe(self, call: str) -> Callable[[], Any]:
        """One pass of a call on the meta device, for counting its cost; its docstring names the input."""
        if call == "embed" and self.captions is not None:
            encoder, ids = self.text_encoder.to("meta"), torch.zeros(1, 32, dtype=torch.int64, device="meta")
            run: Callable[[], Any] = lambda: encoder(input_ids=ids)  # noqa: E731
            run.__doc__ = "a caption of 32 tokens"
            return run
        shape, t_B = self._shape(self.config.frames), torch.zeros(1, device="meta")
        cond = torch.empty(1, self.config.n or 77, self._width(), device="meta")
        ask, x_BCTHW = self._ask(torch.float32), torch.empty(1, *shape, device="meta")
        self.network.to("meta")
        run = lambda: ask(x_BCTHW, t_B, cond)  # noqa: E731
        run.__doc__ = f"one step, {'×'.join(map(str, shape))}"
        return run
