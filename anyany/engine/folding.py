"""Schedulers folded into numbers: one step of a diffusers scheduler as `x' = keep x + take f + width n`.

The numbers are read off the scheduler itself, by stepping it over unit vectors, so they hold for any that is linear in
the sample, the network's answer and its own noise, without memory of earlier steps (DDIM, DDPM, Euler, flow matching,
unclipped); the others (clipping, multistep) are found out by the same steps and keep their own. Suffix: S steps.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

MIXED, SIZE, ACCURACY = 8, 30.0, 1e-6
"""How many random mixtures a step must be linear on, how large they are (beyond any clipping), how exactly."""
_KNOWN: dict[Any, Folded | None] = {}


@dataclass(frozen=True, kw_only=True)
class Folded:
    """A scheduler's walk over S steps. seen: what the network's input is multiplied by. drawn: does it draw noise."""

    seen: Sequence[float]
    keep: Sequence[float]
    take: Sequence[float]
    width: Sequence[float]
    drawn: Sequence[bool]

    def step(self, index: int, x: torch.Tensor, found: torch.Tensor, noise: torch.Tensor | None,
             owned: bool = False) -> torch.Tensor:  # fmt: skip
        """The next x; `x` itself is left alone. noise: None where the step draws none. owned: it may be `found`."""
        keep, take = self.keep[index], self.take[index]
        if not owned:
            moved = torch.add(x, found, alpha=take) if keep == 1 else torch.mul(x, keep).add_(found, alpha=take)
        elif keep == 1:
            moved = torch.add(x, found, alpha=take, out=found)
        else:
            moved = found.mul_(take).add_(x, alpha=keep)
        return moved if noise is None else moved.add_(noise, alpha=self.width[index])


class DrawnNoise(TorchFunctionMode):
    """Inside it `torch.randn` gives the caller's noise [B,*shape] of draw 1, 2, …; a scheduler draws for a whole batch.

    noise: from (shape of one row, number of the draw).
    """

    def __init__(self, noise: Any) -> None:
        super().__init__()
        self.noise, self.drawn = noise, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not torch.randn:
            return func(*args, **(kwargs or {}))
        shape = args[0] if isinstance(args[0], (tuple, list, torch.Size)) else args
        self.drawn += 1
        return self.noise(tuple(shape)[1:], self.drawn).to(dtype=(kwargs or {}).get("dtype"))


def fold(scheduler: Any, options: Mapping[str, Any] | None = None) -> Folded | None:
    """The numbers of a scheduler whose steps are set, or None where its step is no such thing. It is left as it was.

    options: of each `step` (DDIM's eta). What was found is remembered.
    """
    sigmas = getattr(scheduler, "sigmas", None)
    key = (
        type(scheduler), repr(sorted(dict(scheduler.config).items(), key=str)), repr(sorted((options or {}).items())),
        scheduler.timesteps.cpu().numpy().tobytes(),
        sigmas.cpu().numpy().tobytes() if isinstance(sigmas, torch.Tensor) else b"",
    )  # fmt: skip
    if key not in _KNOWN:
        if len(_KNOWN) >= 64:
            _KNOWN.clear()
        _KNOWN[key] = _fold(scheduler, options or {})
    return _KNOWN[key]


def _fold(scheduler: Any, options: Mapping[str, Any]) -> Folded | None:
    walker, steps = copy.deepcopy(scheduler), len(scheduler.timesteps)
    with torch.device("cpu"), torch.no_grad():
        x, f, n = _probes(steps)
        seen, moved, drawn = [], [], []
        for index, t in enumerate(walker.timesteps.cpu()):
            noise = DrawnNoise(lambda shape, step, index=index: n[index])
            seen.append(walker.scale_model_input(x[index], t) if hasattr(walker, "scale_model_input") else x[index])
            try:
                with noise:
                    moved.append(walker.step(f[index], t, x[index], return_dict=False, **options)[0])
            except (RuntimeError, TypeError, ValueError, IndexError):
                return None  # wants more than a sample and an answer; its own loop will say so
            drawn.append(noise.drawn > 0)
        seen_S1K, moved_S1K = (torch.stack(v).double().flatten(1)[:, None] for v in (seen, moved))
        x, f, n = (v.flatten(1)[:, None] for v in (x, f, n))
        keep, take, width, scale = *moved_S1K[..., :3].unbind(-1), seen_S1K[..., 0]
        wanted = keep[..., None] * x + take[..., None] * f + width[..., None] * n
        for linear, found in ((wanted, moved_S1K), (scale[..., None] * x, seen_S1K)):
            if not torch.allclose(linear, found, rtol=ACCURACY, atol=ACCURACY * SIZE):
                return None
    numbers = {"seen": scale, "keep": keep, "take": take, "width": width}
    return Folded(drawn=drawn, **{name: v.flatten().tolist() for name, v in numbers.items()})


def _probes(steps: int) -> list[torch.Tensor]:
    """(sample, answer, noise), [S,1,3+MIXED,1,1] float64: three unit vectors, then mixtures beyond any clipping."""
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(3, steps, MIXED, generator=generator, dtype=torch.float64) * SIZE
    unit = torch.eye(3, dtype=torch.float64)[:, None].expand(-1, steps, -1)
    return list(torch.cat([unit, mixed], 2)[:, :, None, :, None, None])


def marks(scheduler: Any) -> tuple[list[float], list[float]]:
    """(share of the clean sample, share of noise) at each of a scheduler's S steps: what forward noising mixes."""
    clean, noise = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    fresh = copy.deepcopy(scheduler)
    add = getattr(fresh, "add_noise", None) or (lambda x, n, t: fresh.scale_noise(x, t, n))
    mixed = [add(clean, noise, t.cpu()[None])[0].tolist() for t in scheduler.timesteps]
    return [m[0] for m in mixed], [m[1] for m in mixed]
