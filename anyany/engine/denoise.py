"""The denoising loop: a network, a diffusers scheduler, classifier-free guidance in one batch (Ho & Salimans 2022).

For samples of any axes: pictures, latents, spectrograms, films. All noise is the rows' own, so a row is denoised alone
as in a batch. Shape suffixes: B rows, N conditioning length, D its width; `_BX` is B rows of whatever is denoised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from anyany.engine.context import Context

NoiseOf = Callable[[tuple[int, ...], int], torch.Tensor]
Conds = tuple[torch.Tensor, ...]
Ask = Callable[..., torch.Tensor]
"""`ask(x [B,...], timestep [B], *conds)`: one pass of a network."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What one row asks for.

    conds: conditioning, most often one tensor [N,D], or a class number []. nulls: what it is contrasted with, as many,
    or None where the row is not guided. steps: of the scheduler. guidance: how much. shape: of the sample.
    """

    conds: Conds
    nulls: Conds | None
    steps: int
    guidance: float
    shape: tuple[int, ...]

    @property
    def group(self) -> tuple[Any, ...]:
        """Rows of one group run together: nothing is ever padded."""
        nulls = None if self.nulls is None else tuple(tuple(n.shape) for n in self.nulls)
        return (self.steps, self.shape, tuple(tuple(c.shape) for c in self.conds), nulls)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A scheduler with its steps set, and how the network's answer is to be read.

    prediction: "sample" when a flow-matching network gives the clean sample (sigma_min bounds the division),
    "scheduler" when the scheduler knows what it gives.
    """

    scheduler: Any
    prediction: str = "scheduler"
    sigma_min: float = 0.0


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


def denoise(ctx: Context, wishes: Sequence[Wish], ask: Ask,
            schedule_of: Callable[[int], Schedule]) -> list[torch.Tensor]:  # fmt: skip
    """A float32 sample of its wish's shape for each row of the call, from noise. Rows that fit run together.

    schedule_of: a fresh schedule of so many steps. Raises `Cancelled` between steps when the run is being stopped.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row, wish in enumerate(wishes):
        groups.setdefault(wish.group, []).append(row)
    found: list[Any] = [None] * len(wishes)
    for rows in groups.values():
        for row, sample in zip(rows, _together(ctx, rows, [wishes[r] for r in rows], ask, schedule_of)):
            found[row] = sample
    return found


def _together(ctx: Context, rows: Sequence[int], wishes: Sequence[Wish], ask: Ask,
              schedule_of: Callable[[int], Schedule]) -> torch.Tensor:  # fmt: skip
    keys, where = [ctx.keys[r] for r in rows], f"{ctx.node}.{ctx.call}"

    def noise(shape: tuple[int, ...], step: int) -> torch.Tensor:
        return ctx.noise.normal(keys, shape, where, step, ctx.device)

    schedule, guide = schedule_of(wishes[0].steps), _Guide(wishes, ctx.device)
    scheduler = schedule.scheduler
    x_BX = noise(wishes[0].shape, 0) * float(getattr(scheduler, "init_noise_sigma", 1.0))
    with CallersNoise(noise):
        for index, t in enumerate(scheduler.timesteps):
            ctx.check()
            seen = scheduler.scale_model_input(x_BX, t) if hasattr(scheduler, "scale_model_input") else x_BX
            found = guide(ask, seen, t)
            if schedule.prediction == "sample":
                found = (x_BX - found) / scheduler.sigmas[index].clamp(min=schedule.sigma_min)
            x_BX = scheduler.step(found, t, x_BX, return_dict=False)[0]
    return x_BX


class _Guide:
    """What steers rows that run together: null + scale (cond - null), both halves in one batch of 2B.

    Where cond and null differ in length they go one after the other.
    """

    def __init__(self, wishes: Sequence[Wish], device: torch.device) -> None:
        self.conds = tuple(map(torch.stack, zip(*(w.conds for w in wishes))))
        nulls = [w.nulls for w in wishes if w.nulls is not None]
        self.nulls = tuple(map(torch.stack, zip(*nulls))) if nulls else None
        self.scale_B = torch.tensor([w.guidance for w in wishes], device=device)
        fit = self.nulls is not None and all(c.shape == n.shape for c, n in zip(self.conds, self.nulls))
        self.both = tuple(torch.cat(pair) for pair in zip(self.conds, self.nulls or ())) if fit else None

    def __call__(self, ask: Ask, x_BX: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        t_B = t.to(x_BX.device).expand(len(x_BX))
        if self.nulls is None:
            return ask(x_BX, t_B, *self.conds).float()
        if self.both is not None:
            found = ask(torch.cat([x_BX, x_BX]), torch.cat([t_B, t_B]), *self.both).float()
            with_cond, without = found.chunk(2)
        else:
            with_cond, without = ask(x_BX, t_B, *self.conds).float(), ask(x_BX, t_B, *self.nulls).float()
        return without + self.scale_B.view(-1, *[1] * (x_BX.dim() - 1)) * (with_cond - without)
