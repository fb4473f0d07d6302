"""The denoising loop: a network, a diffusers scheduler, classifier-free guidance in one batch (Ho & Salimans 2022).

Shape suffixes: B rows, C channels, H W sides, N conditioning length, D its width. Noise comes from the caller alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

NoiseOf = Callable[[tuple[int, ...], int], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Guide:
    """What steers B rows: conditioning [B,N,D] (or class numbers [B]), what it is contrasted with, how much.

    null: None where no row is guided. scale_B: guidance a row.
    """

    cond: torch.Tensor
    null: torch.Tensor | None
    scale_B: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A scheduler with its steps set, and how the network's answer is to be read (see `Blueprint`)."""

    scheduler: Any
    prediction: str
    sigma_min: float


class CallersNoise(TorchFunctionMode):
    """Inside it `torch.randn` gives the caller's counter noise, so that a scheduler that draws keeps the noise promise.

    A scheduler draws at most once a step, always for the whole batch.
    """

    def __init__(self, noise: NoiseOf) -> None:
        super().__init__()
        self.noise, self.drawn = noise, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.randn:
            return func(*args, **(kwargs or {}))
        shape = args[0] if isinstance(args[0], (tuple, list, torch.Size)) else args
        self.drawn += 1
        dtype = (kwargs or {}).get("dtype")
        return self.noise(tuple(shape)[1:], self.drawn).to(dtype=dtype)


def denoise(
    ask: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor], schedule: Schedule, guide: Guide,
    noise: NoiseOf, shape: tuple[int, int, int], check: Callable[[], None],
) -> torch.Tensor:  # fmt: skip
    """[B,C,H,W] float32 samples. `ask(x, timestep, cond)` is one pass of the network; `noise(shape, step)` gives
    [B, *shape]; `check()` may raise between steps."""
    scheduler, flow = schedule.scheduler, schedule.prediction == "sample"
    x_BCHW = noise(shape, 0) * float(getattr(scheduler, "init_noise_sigma", 1.0))
    with CallersNoise(noise):
        for index, t in enumerate(scheduler.timesteps):
            check()
            seen = scheduler.scale_model_input(x_BCHW, t) if hasattr(scheduler, "scale_model_input") else x_BCHW
            found = guided(ask, seen, t, guide)
            if flow:
                found = (x_BCHW - found) / scheduler.sigmas[index].clamp(min=schedule.sigma_min)
            x_BCHW = scheduler.step(found, t, x_BCHW, return_dict=False)[0]
    return x_BCHW


def guided(ask: Any, x_BCHW: torch.Tensor, t: torch.Tensor, guide: Guide) -> torch.Tensor:
    """The network's answer under guidance: null + scale (cond - null), both halves in one batch of 2B.

    Where cond and null differ in length they go one after the other.
    """
    t_B = t.to(x_BCHW.device).expand(len(x_BCHW))
    if guide.null is None:
        return ask(x_BCHW, t_B, guide.cond).float()
    if guide.null.shape == guide.cond.shape:
        both = ask(torch.cat([x_BCHW, x_BCHW]), torch.cat([t_B, t_B]), torch.cat([guide.cond, guide.null])).float()
        with_cond, without = both.chunk(2)
    else:
        with_cond, without = ask(x_BCHW, t_B, guide.cond).float(), ask(x_BCHW, t_B, guide.null).float()
    return without + guide.scale_B.view(-1, 1, 1, 1) * (with_cond - without)


def ask_network(network: nn.Module, channels: int, dtype: torch.dtype) -> Any:
    """One pass of a diffusers denoiser as `ask(x [B,C,H,W], timestep [B], cond)`, whatever its class calls its inputs.

    Of networks that give mean and variance (twice the `channels`) the mean is kept.
    """
    name = type(network).__name__

    def ask(x_BCHW: torch.Tensor, t_B: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
        x = x_BCHW.to(dtype)
        if name == "DiTTransformer2DModel":
            out = network(x, timestep=t_B, class_labels=cond, return_dict=False)[0]
        elif name.startswith("UNet"):
            out = network(x, t_B, encoder_hidden_states=cond.to(dtype), return_dict=False)[0]
        else:
            told = {"encoder_hidden_states": cond.to(dtype), "timestep": t_B, **_sizes(network, x)}
            out = network(x, return_dict=False, **told)[0]
        return out[:, :channels]

    return ask


def _sizes(network: nn.Module, x: torch.Tensor) -> dict[str, Any]:
    """PixArt-alpha at 1024 pixels is also told the size and shape of the picture."""
    if not getattr(network, "use_additional_conditions", False):
        return {}
    side = x.new_tensor([8 * x.shape[2], 8 * x.shape[3]]).expand(len(x), 2)
    return {"added_cond_kwargs": {"resolution": side, "aspect_ratio": side[:, :1] / side[:, 1:]}}
