"""Gaussian diffusion as ADM, DiT and MAR do it (Ho et al. 2020; Nichol and Dhariwal 2021, arXiv 2102.09672).

The network sees original timesteps and gives noise, and (learned variance) where between its two bounds the logarithm
of the variance lies. Tables are float64 [T] on the CPU; steps are numbered 0 (clean) to T - 1. Suffixes: B rows, D any.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch

TRAINING_STEPS = 1000
Network = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def betas_of(schedule: str, steps: int = TRAINING_STEPS) -> torch.Tensor:
    """[T] variances added a step: `linear` (1e-4 to 0.02 over 1000 steps) or `cosine` (capped at 0.999)."""
    if schedule == "linear":
        scale = 1000 / steps
        return torch.linspace(scale * 1e-4, scale * 0.02, steps, dtype=torch.float64)
    if schedule not in ("cosine", "squaredcos_cap_v2"):
        raise ValueError(f"there is no noise schedule {schedule!r}; it is linear or cosine")
    left = [math.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(steps + 1)]
    return torch.tensor([min(1 - b / a, 0.999) for a, b in pairwise(left)], dtype=torch.float64)


def kept_steps(respacing: str, steps: int = TRAINING_STEPS) -> list[int]:
    """Which of the training steps a shorter process keeps, ascending.

    "": all; "250": so many, both ends in; "ddim50": so many at one whole stride from 0; "10,15,20": so many of each
    equal section. Raises ValueError where that many cannot be kept.
    """
    if respacing.startswith("ddim"):
        count = _number(respacing[4:], respacing)
        for stride in range(1, steps):
            if len(range(0, steps, stride)) == count:
                return list(range(0, steps, stride))
        raise ValueError(f"{steps} steps have no whole stride that keeps {count}")
    counts = [_number(text, respacing) for text in respacing.split(",")] if respacing else [steps]
    size, more = divmod(steps, len(counts))
    kept, start = [], 0
    for index, count in enumerate(counts):
        length = size + (index < more)
        if count > length:
            raise ValueError(f"{count} steps cannot be kept of {length}")
        stride = (length - 1) / (count - 1) if count > 1 else 1
        kept += [start + round(stride * i) for i in range(count)]
        start += length
    return kept


def _number(text: str, whole: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ValueError(f"steps to keep are written like 250, ddim50 or 10,15,20, not {whole!r}")
    return int(text)


@dataclass(frozen=True, kw_only=True, eq=False)
class Process:
    """A (respaced) process: the original step of each of its steps, and its tables."""

    timesteps: tuple[int, ...]
    betas: torch.Tensor
    ab: torch.Tensor
    ab_before: torch.Tensor
    ab_after: torch.Tensor
    x_start: torch.Tensor
    """Coefficient of the clean value in the posterior's mean; `x_now` that of the noisy one."""
    x_now: torch.Tensor
    low: torch.Tensor
    """Logarithm of the posterior's variance, that of step 1 at step 0; `high` is log beta."""
    high: torch.Tensor

    def __len__(self) -> int:
        return len(self.timesteps)

    @property
    def recip(self) -> torch.Tensor:
        """sqrt(1 / ab): what the noisy value is multiplied by on the way to the clean one."""
        return self.ab.rsqrt()

    @property
    def recip_minus(self) -> torch.Tensor:
        """sqrt(1 / ab - 1): what the noise is multiplied by there."""
        return (1 / self.ab - 1).sqrt()


@lru_cache(maxsize=64)
def process(schedule: str, respacing: str = "", steps: int = TRAINING_STEPS) -> Process:
    """The process of a schedule over the kept steps; its betas are made anew from the kept cumulative products."""
    with torch.device("cpu"):  # also where a network is being built without memory
        return _process(betas_of(schedule, steps), kept_steps(respacing, steps))


def _process(betas: torch.Tensor, kept: list[int]) -> Process:
    ab = (1 - betas).cumprod(0)[kept]
    one, nought = ab.new_ones(1), ab.new_zeros(1)
    before, after = torch.cat([one, ab[:-1]]), torch.cat([ab[1:], nought])
    betas = 1 - ab / before
    variance = betas * (1 - before) / (1 - ab)
    clipped = torch.cat([variance[1:2], variance[1:]]) if len(ab) > 1 else betas
    return Process(
        timesteps=tuple(kept), betas=betas, ab=ab, ab_before=before, ab_after=after,
        x_start=betas * before.sqrt() / (1 - ab), x_now=(1 - before) * (1 - betas).sqrt() / (1 - ab),
        low=clipped.log(), high=betas.log(),
    )  # fmt: skip


def at(table: torch.Tensor, t_B: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The table's float32 values at each row's step, as wide as `like` has axes."""
    return table.to(like.device)[t_B].float().reshape(-1, *(1,) * (like.dim() - 1))


def noised(p: Process, x_BD: torch.Tensor, t_B: torch.Tensor, noise_BD: torch.Tensor) -> torch.Tensor:
    """The clean value with the noise of step t."""
    return at(p.ab.sqrt(), t_B, x_BD) * x_BD + at((1 - p.ab).sqrt(), t_B, x_BD) * noise_BD


def cleaned(p: Process, x_BD: torch.Tensor, t_B: torch.Tensor, eps_BD: torch.Tensor) -> torch.Tensor:
    """The clean value that noise `eps` at step t would stand over."""
    return at(p.recip, t_B, x_BD) * x_BD - at(p.recip_minus, t_B, x_BD) * eps_BD


def posterior_mean(p: Process, start_BD: torch.Tensor, x_BD: torch.Tensor, t_B: torch.Tensor) -> torch.Tensor:
    """The mean of the step before, between the clean value and the noisy one."""
    return at(p.x_start, t_B, x_BD) * start_BD + at(p.x_now, t_B, x_BD) * x_BD


def log_variance(p: Process, v_BD: torch.Tensor, t_B: torch.Tensor) -> torch.Tensor:
    """Learned range: v in -1..1 between the posterior's and the forward logarithm of the variance."""
    share = (v_BD + 1) / 2
    return share * at(p.high, t_B, v_BD) + (1 - share) * at(p.low, t_B, v_BD)


def halves(out_BD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(noise, variance) of a network's output, along axis 1."""
    noise, variance = out_BD.chunk(2, 1)
    return noise, variance


# training ------------------------------------------------------------------------------------------------------------
def losses(p: Process, out_BD: torch.Tensor, clean_BD: torch.Tensor, t_B: torch.Tensor,
           noise_BD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """([B] squared error of the noise, [B] variational bound in bits a number, which teaches the variance alone)."""
    eps_BD, v_BD = halves(out_BD)
    x_BD = noised(p, clean_BD, t_B, noise_BD)
    mean = posterior_mean(p, cleaned(p, x_BD, t_B, eps_BD.detach()), x_BD, t_B)
    log_var = log_variance(p, v_BD, t_B)
    wanted, wanted_log = posterior_mean(p, clean_BD, x_BD, t_B), at(p.low, t_B, x_BD)
    kl = 0.5 * (log_var - wanted_log - 1 + (wanted_log - log_var).exp() + (wanted - mean).square() * (-log_var).exp())
    bits = torch.where(t_B == 0, _mean(-_bin_likelihood(clean_BD, mean, log_var / 2)), _mean(kl)) / math.log(2)
    return _mean((noise_BD - eps_BD).square()), bits


def _mean(x_BD: torch.Tensor) -> torch.Tensor:
    return x_BD.flatten(1).mean(1)


def _bin_likelihood(x: torch.Tensor, mean: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """Log probability of the 1/255 wide bin that x in -1..1 lies in; the outermost bins reach to infinity."""

    def below(z: torch.Tensor) -> torch.Tensor:
        return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))

    tiny, narrow = 1e-12, torch.exp(-log_scale)
    upper, lower = below(narrow * (x - mean + 1 / 255)), below(narrow * (x - mean - 1 / 255))
    inner = (upper - lower).clamp(min=tiny).log()
    ends = torch.where(x > 0.999, (1 - lower).clamp(min=tiny).log(), inner)
    return torch.where(x < -0.999, upper.clamp(min=tiny).log(), ends)


# sampling ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Steps:
    """A sampler with its arithmetic folded: at step i, x becomes `keep x + take eps + width n`.

    With a learned variance the width is exp(base + slope v) instead. Numbers a step, first step first; float64.
    """

    timesteps: tuple[int, ...]
    keep: Sequence[float]
    take: Sequence[float]
    width: Sequence[float]
    base: Sequence[float] | None = None
    slope: Sequence[float] | None = None

    def __len__(self) -> int:
        return len(self.timesteps)

    def __call__(self, index: int, x_BD: torch.Tensor, eps_BD: torch.Tensor, v_BD: torch.Tensor | None,
                 noise_BD: torch.Tensor | None) -> torch.Tensor:  # fmt: skip
        """The next x. v and noise may be None where the step has no use for them (see `draws`)."""
        moved = torch.add(x_BD * self.keep[index], eps_BD, alpha=self.take[index])
        if noise_BD is None or not self.draws(index):
            return moved
        if self.base is None or self.slope is None or v_BD is None:
            return moved.add_(noise_BD, alpha=self.width[index])
        spread = torch.exp(v_BD * self.slope[index] + self.base[index])
        return moved.addcmul_(spread, noise_BD, value=self.width[index])

    def draws(self, index: int) -> bool:
        """Whether the step adds noise; the last one never does."""
        return self.width[index] != 0


def ancestral(p: Process, temperature: float = 1.0, learned: bool = True) -> Steps:
    """DDPM's own steps; the temperature multiplies the noise alone. Not learned: the posterior's variance."""
    order = list(range(len(p)))[::-1]
    keep = p.x_start * p.recip + p.x_now
    take = -p.x_start * p.recip_minus
    drawn = [temperature if i else 0.0 for i in order]
    common = {"timesteps": tuple(p.timesteps[i] for i in order), "keep": keep.flip(0).tolist(),
              "take": take.flip(0).tolist()}  # fmt: skip
    if not learned:
        spread = (p.low / 2).exp().flip(0).tolist()
        return Steps(width=[w * s for w, s in zip(drawn, spread)], **common)
    base, slope = (p.low + p.high) / 4, (p.high - p.low) / 4
    return Steps(width=drawn, base=base.flip(0).tolist(), slope=slope.flip(0).tolist(), **common)


def ddim(p: Process, eta: float = 0.0, reverse: bool = False) -> Steps:
    """DDIM's steps (Song et al. 2021, arXiv 2010.02502); `reverse` walks from the picture to the noise, eta 0."""
    after = p.ab_after if reverse else p.ab_before
    sigma = eta * ((1 - p.ab_before) / (1 - p.ab)).sqrt() * (1 - p.ab / p.ab_before).sqrt()
    keep = after.sqrt() * p.recip
    take = (1 - after - sigma.square()).clamp(min=0).sqrt() - after.sqrt() * p.recip_minus
    order = list(range(len(p))) if reverse else list(range(len(p)))[::-1]
    width = [0.0 if reverse or i == 0 else float(sigma[i]) for i in order]
    return Steps(timesteps=tuple(p.timesteps[i] for i in order), keep=[float(keep[i]) for i in order],
                 take=[float(take[i]) for i in order], width=width)  # fmt: skip
