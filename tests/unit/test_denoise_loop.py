"""The denoising loop's own memory: a folded, guided walk gives what the plain loop gives, whatever the network does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch

from anyany.api.torch import Context, Schedule, Wish, denoise
from anyany.engine.noise import Noise

SHAPE, STEPS = (2, 4, 4), 7
SCHEDULERS = ("DDIMScheduler", "DDPMScheduler", "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler",
              "PNDMScheduler", "DPMSolverMultistepScheduler")  # fmt: skip
Ask = Callable[..., torch.Tensor]


def schedule(kind: str) -> Callable[[int], Schedule]:
    def of(steps: int) -> Schedule:
        made = getattr(diffusers, kind)(**({"clip_sample": False} if kind[:3] in ("DDI", "DDP") else {}))
        made.set_timesteps(steps)
        return Schedule(scheduler=made)

    return of


def walked(ask: Ask, kind: str, guidance: tuple[float, ...] = (3.0,), plain: bool = False, **wish: Any) -> torch.Tensor:
    """[B,2,4,4]. plain: with gradients on, where the loop makes new tensors at every step."""
    ctx = Context(node="n", call="image", keys=[(i,) for i in range(len(guidance))], device=torch.device("cpu"),
                  noise=Noise(0, [str(i) for i in range(len(guidance))]), dtype=torch.float32)  # fmt: skip
    one, none = torch.ones(1, 3), torch.zeros(1, 3)
    wishes = [Wish(conds=(one,), nulls=(none,), steps=STEPS, guidance=g, shape=SHAPE, **wish) for g in guidance]
    with torch.set_grad_enabled(plain):
        return torch.stack(denoise(ctx, wishes, ask, schedule(kind)))


def bent(x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x) * 0.3 + 0.2 * cond.mean((1, 2)).view(-1, 1, 1, 1) + (t * 1e-3).view(-1, 1, 1, 1)


def writes_on_its_input(x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
    return x.tanh_().mul_(0.3).add_(0.2 * cond.mean((1, 2)).view(-1, 1, 1, 1))


def answers_its_input(x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
    return x


def close(one: torch.Tensor, two: torch.Tensor) -> bool:
    return torch.allclose(one, two, rtol=1e-5, atol=1e-6 * float(two.abs().max()))


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("ask", [bent, answers_its_input])
def test_memory_of_its_own_changes_nothing(kind: str, ask: Ask) -> None:
    assert close(walked(ask, kind), walked(ask, kind, plain=True))


@pytest.mark.parametrize("kind", SCHEDULERS[:4])
def test_a_network_may_write_on_what_it_is_given(kind: str) -> None:
    def copying(x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
        return writes_on_its_input(x.clone(), t, cond)

    assert torch.equal(walked(writes_on_its_input, kind), walked(copying, kind))


@pytest.mark.parametrize("kind", ["DDIMScheduler", "EulerDiscreteScheduler"])
def test_rows_of_other_guidance_are_walked_together_as_alone(kind: str) -> None:
    guidance = (0.0, 1.0, 2.5, -1.0, 7.5, 3.0, 3.0)
    together = walked(bent, kind, guidance)
    for row in (0, 4):
        ctx = Context(node="n", call="image", keys=[(row,)], noise=Noise(0, [str(i) for i in range(7)]),
                      device=torch.device("cpu"), dtype=torch.float32)  # fmt: skip
        wish = Wish(conds=(torch.ones(1, 3),), nulls=(torch.zeros(1, 3),), steps=STEPS, guidance=guidance[row],
                    shape=SHAPE)  # fmt: skip
        with torch.no_grad():
            (alone,) = denoise(ctx, [wish], bent, schedule(kind))
        assert torch.equal(alone, together[row])


@pytest.mark.parametrize("kind", ["DDIMScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_a_masked_start_is_kept(kind: str) -> None:
    start, mask = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 4, 4)
    mask[:, :2] = 1
    found = walked(bent, kind, start=start, mask=mask)
    assert close(found, walked(bent, kind, plain=True, start=start, mask=mask))
    assert torch.equal(found[0, :, 2:], start[:, 2:])


def test_a_walk_leaves_no_trace_in_the_next() -> None:
    first = walked(bent, "DDIMScheduler")
    kept = first.clone()
    walked(answers_its_input, "DDIMScheduler", (9.0,))
    assert torch.equal(first, kept)
    assert torch.equal(walked(bent, "DDIMScheduler"), kept)
