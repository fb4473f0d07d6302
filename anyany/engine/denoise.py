"""The denoising loop: a network, a diffusers scheduler, classifier-free guidance in one batch (Ho & Salimans 2022).

For samples of any axes: pictures, latents, spectrograms, films. All noise is the rows' own, so a row is denoised alone
as in a batch. Schedulers that are linear are folded into numbers first (see `folding`).
Shape suffixes: B rows, N conditioning length, D its width; `_BX` is B rows of whatever is denoised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from anyany.engine.context import Context
from anyany.engine.folding import DrawnNoise, Folded, fold, marks

NoiseOf = Callable[[tuple[int, ...], int], torch.Tensor]
Conds = tuple[torch.Tensor, ...]
Ask = Callable[..., torch.Tensor]
"""`ask(x [B,...], timestep [B], *conds)`: one pass of a network. x is the loop's memory: good until the answer."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What one row asks for.

    conds: conditioning, most often one tensor [N,D], or a class number []. nulls: what it is contrasted with, as many,
    or None where the row is not guided. steps: of the scheduler. guidance: how much. shape: of the sample.
    start: a clean sample to begin from, with the noise of the walk's last `strength` (0: it is given back, 1: all).
    mask: of the sample's shape or one that broadcasts, 1 where `start` may be changed.
    """

    conds: Conds
    nulls: Conds | None
    steps: int
    guidance: float
    shape: tuple[int, ...]
    start: torch.Tensor | None = None
    strength: float = 1.0
    mask: torch.Tensor | None = None

    @property
    def group(self) -> tuple[Any, ...]:
        """Rows of one group run together: nothing is ever padded."""
        nulls = None if self.nulls is None else tuple(tuple(n.shape) for n in self.nulls)
        kept = (self.start is None, self.strength, None if self.mask is None else tuple(self.mask.shape))
        return (self.steps, self.shape, tuple(tuple(c.shape) for c in self.conds), nulls, *kept)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A scheduler with its steps set, and how the network's answer is to be read.

    prediction: "sample" when a flow-matching network gives the clean sample (sigma_min bounds the division),
    "scheduler" when the scheduler knows what it gives. options: of each of the scheduler's steps (DDIM's eta).
    guided: how many channels guidance acts on, where the network answers more (a learned variance); None: all.
    """

    scheduler: Any
    prediction: str = "scheduler"
    sigma_min: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    guided: int | None = None


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

    schedule = schedule_of(wishes[0].steps)
    walk = _Walk(schedule, wishes, noise, ctx.device)
    x_BX, folded = walk.begin(), walk.folded
    guide = _Guide(wishes, ctx.device, schedule, folded)
    drawn = DrawnNoise(noise)
    for index in range(walk.first, walk.steps):
        ctx.check()
        if folded is None:
            with drawn:
                x_BX = walk.own_step(index, x_BX, guide, ask)
        else:
            found = guide(ask, x_BX, index, folded.seen[index])
            x_BX = folded.step(index, x_BX, found, walk.draw(index), owned=guide.room is not None)
        if walk.mask_BX is not None:
            x_BX = walk.masked(index, x_BX)
    return x_BX


class _Walk:
    """The steps that rows go together: where they begin, in numbers or by the scheduler itself, what a mask keeps."""

    def __init__(self, schedule: Schedule, wishes: Sequence[Wish], noise: NoiseOf, device: torch.device) -> None:
        self.schedule, self.scheduler, self.noise = schedule, schedule.scheduler, noise
        self.shape, strength = wishes[0].shape, wishes[0].strength
        self.steps = len(self.scheduler.timesteps)
        starts, masks = [w.start for w in wishes if w.start is not None], [w.mask for w in wishes if w.mask is not None]
        self.start_BX = torch.stack(starts).float() if starts else None
        self.mask_BX = torch.stack(masks).float() if masks else None
        self.first = 0 if self.start_BX is None else self.steps - int(self.steps * strength)
        self.anew = self.start_BX is None or (self.mask_BX is not None and strength == 1)
        self.drawn = 0
        self.folded = _with_prediction(fold(self.scheduler, schedule.options), schedule)
        if self.mask_BX is not None and self.start_BX is None:
            raise ValueError("a mask says where a start may change; there is no start")
        if self.start_BX is not None:
            self.clean, self.noisy = marks(self.scheduler)

    def begin(self) -> torch.Tensor:
        """[B,...] float32: noise, or the start with as much of it as the first step expects."""
        self.first_noise = self.noise(self.shape, 0)
        if self.first and hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(self.first)
        if self.anew:
            return self.first_noise * float(getattr(self.scheduler, "init_noise_sigma", 1.0))
        return self._marked(self.first)

    def _marked(self, index: int) -> torch.Tensor:
        """The start as noisy as a sample is before step `index`."""
        assert self.start_BX is not None
        if index == self.steps:
            return self.start_BX
        return torch.add(self.start_BX * self.clean[index], self.first_noise, alpha=self.noisy[index])

    def draw(self, index: int) -> torch.Tensor | None:
        """The noise of a folded step; each draw has its number, whether it counts or not."""
        assert self.folded is not None
        self.drawn += self.folded.drawn[index]
        return self.noise(self.shape, self.drawn) if self.folded.width[index] else None

    def own_step(self, index: int, x_BX: torch.Tensor, guide: _Guide, ask: Ask) -> torch.Tensor:
        """A step by the scheduler itself."""
        scheduler, t = self.scheduler, self.scheduler.timesteps[index]
        seen = scheduler.scale_model_input(x_BX, t) if hasattr(scheduler, "scale_model_input") else x_BX
        found = guide(ask, seen, index)
        if self.schedule.prediction == "sample":
            found = (x_BX - found) / scheduler.sigmas[index].clamp(min=self.schedule.sigma_min)
        moved: torch.Tensor = scheduler.step(found, t, x_BX, return_dict=False, **self.schedule.options)[0]
        return moved

    def masked(self, index: int, x_BX: torch.Tensor) -> torch.Tensor:
        """Outside the mask, the start as noisy as the next step expects it."""
        assert self.mask_BX is not None
        return torch.lerp(self._marked(index + 1), x_BX, self.mask_BX.expand_as(x_BX))


def _with_prediction(folded: Folded | None, schedule: Schedule) -> Folded | None:
    """The numbers for a network that gives the clean sample s instead of the flow (x - s) / sigma."""
    if folded is None or schedule.prediction != "sample":
        return folded
    floor = schedule.sigma_min
    sigmas = [max(float(s), floor) for s in schedule.scheduler.sigmas[: len(folded.keep)]]
    keep = [k + t / s for k, t, s in zip(folded.keep, folded.take, sigmas)]
    take = [-t / s for t, s in zip(folded.take, sigmas)]
    return Folded(seen=folded.seen, keep=keep, take=take, width=folded.width, drawn=folded.drawn)


class _Guide:
    """What steers rows that run together: null + scale (cond - null), both halves in one batch of 2B.

    Where cond and null differ in length they go one after the other. Folded walks have memory of their own (`room`):
    what stays in place stays in the cache.
    """

    def __init__(self, wishes: Sequence[Wish], device: torch.device, schedule: Schedule, folded: Folded | None) -> None:
        self.rows, self.channels = len(wishes), schedule.guided
        self.conds = tuple(map(torch.stack, zip(*(w.conds for w in wishes))))
        nulls = [w.nulls for w in wishes if w.nulls is not None]
        self.nulls = tuple(map(torch.stack, zip(*nulls))) if nulls else None
        fit = self.nulls is not None and all(c.shape == n.shape for c, n in zip(self.conds, self.nulls))
        self.both = tuple(torch.cat(pair) for pair in zip(self.conds, self.nulls or ())) if fit else None
        scale_B = torch.tensor([w.guidance for w in wishes], device=device, dtype=torch.float32)
        self.scale = scale_B.view(-1, *(1,) * len(wishes[0].shape))
        times_S1 = schedule.scheduler.timesteps.to(device)[:, None]
        self.times = times_S1.expand(-1, self.rows * (2 if fit else 1)).unbind(0)
        plain = folded is not None and self.channels is None and not torch.is_grad_enabled()
        self.room = _Room(self.rows, wishes[0].shape, device) if plain and fit else None

    def __call__(self, ask: Ask, x_BX: torch.Tensor, index: int, scale: float = 1.0) -> torch.Tensor:
        """The answer at step `index` to `scale` times x."""
        if self.room is not None and self.both is not None:
            found = ask(self.room.filled(x_BX, scale), self.times[index], *self.both).float()
            return torch.lerp(found[self.rows :], found[: self.rows], self.scale, out=self.room.next())
        x_BX, t = x_BX if scale == 1 else x_BX * scale, self.times[index]
        if self.both is not None:
            found = ask(torch.cat((x_BX, x_BX)), t, *self.both).float()
            return self._mixed(found[: self.rows], found[self.rows :])
        with_cond = ask(x_BX, t, *self.conds).float()
        if self.nulls is None:
            return with_cond
        return self._mixed(with_cond, ask(x_BX, t, *self.nulls).float())

    def _mixed(self, with_cond: torch.Tensor, without: torch.Tensor) -> torch.Tensor:
        if self.channels is None:
            return torch.lerp(without, with_cond, self.scale)
        guided = torch.lerp(without[:, : self.channels], with_cond[:, : self.channels], self.scale)
        return torch.cat([guided, with_cond[:, self.channels :]], 1)


class _Room:
    """Memory of a walk: the batch of both halves that the network sees, and two places where x lies by turns."""

    def __init__(self, rows: int, shape: Sequence[int], device: torch.device) -> None:
        self.twice = torch.empty(2 * rows, *shape, device=device, dtype=torch.float32)
        self.front, self.back = self.twice[:rows], self.twice[rows:]
        self.places = [torch.empty_like(self.front) for _ in range(2)]

    def filled(self, x_BX: torch.Tensor, scale: float) -> torch.Tensor:
        """[2B,...]: x, scaled, in both halves."""
        if scale == 1:
            self.front.copy_(x_BX)
        else:
            torch.mul(x_BX, scale, out=self.front)
        self.back.copy_(self.front)
        return self.twice

    def next(self) -> torch.Tensor:
        """[B,...]: where x does not lie."""
        self.places.reverse()
        return self.places[0]
