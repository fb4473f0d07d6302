"""How `image_heads/diffusion` is taught by flow matching, against the formula in plain torch: levels, focus, blanks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from anyany_image_heads.diffusion import Diffusion
from anyany_image_heads.plugin import DIFFUSION, DiffusionConfig

from anyany.api.torch import Context, Rows
from anyany.engine.noise import Noise
from anyany.testing.harness import bench

TAUGHT = {"drop": 0.0, "focus": 6.0, "levels": {"mean": 0.5, "std": 1.2, "full": 0.15, "floor": 0.2}}


def context(count: int, first: int = 0) -> Context:
    names = [f"item {first + i}" for i in range(count)]
    return Context(node="draw", call="loss", keys=[(i,) for i in range(count)], noise=Noise(0, names),
                   device=torch.device("cpu"), dtype=torch.float32)  # fmt: skip


def head(**config: Any) -> Diffusion:
    return bench(DIFFUSION, {"preset": "tiny", "cond": 8, "n": 4, **config}).build().component


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def lost(component: Diffusion, ctx: Context, **ports: Any) -> torch.Tensor:
    with torch.inference_mode():
        return component.loss(ctx, **{n: Rows(v) for n, v in ports.items()})["loss"].data


def test_the_loss_is_the_weighted_error_of_what_is_answered_over_its_level_of_noise() -> None:
    component, count = head(**TAUGHT), 5
    cond, image = normal(count, 4, 8), torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    focus = torch.zeros(count, 16, 16, dtype=torch.bool)
    focus[:, 2:7, 3:9] = True
    blank = torch.zeros(count, 4)
    blank[1, 2] = blank[3, 0] = 1
    found = lost(component, context(count), cond=cond, image=image, focus=focus, blank=blank)
    ctx = context(count)
    level = torch.sigmoid(0.5 + 1.2 * ctx.normal((), 3))
    level[ctx.uniform((), 4) < 0.15] = 0.999
    assert bool((level == 0.999).any()) and not bool((level == 0.999).all())
    clean, noise = image * 2 - 1, ctx.normal((3, 16, 16), 1)
    at = level[:, None, None, None]
    told = torch.where(blank[..., None] > 0, component.null_conditioning, cond)
    with torch.inference_mode():
        answer = component.network((1 - at) * clean + at * noise, encoder_hidden_states=told, timestep=level * 1000)
    error = (answer.sample - (noise - clean)) ** 2 * (1 + 6.0 * focus[:, None])
    torch.testing.assert_close(found, error.mean((1, 2, 3)) / level.clamp(min=0.2), atol=1e-5, rtol=1e-5)


def test_an_item_loses_the_same_alone_and_in_a_batch() -> None:
    component = head(**TAUGHT)
    cond, image, focus = normal(7, 4, 8), normal(7, 3, 16, 16).sigmoid(), normal(7, 16, 16) > 0
    together = lost(component, context(7), cond=cond, image=image, focus=focus)
    for row in range(7):
        own = slice(row, row + 1)
        alone = lost(component, context(1, row), cond=cond[own], image=image[own], focus=focus[own])
        torch.testing.assert_close(alone, together[own], atol=1e-5, rtol=1e-5)


def test_without_levels_they_are_uniform_and_nothing_is_divided() -> None:
    component, image = head(drop=0.0), normal(3, 3, 16, 16).sigmoid()
    found = lost(component, context(3), cond=normal(3, 4, 8), image=image)
    ctx = context(3)
    level, noise = ctx.uniform((), 2), ctx.normal((3, 16, 16), 1)
    noisy = torch.lerp(image * 2 - 1, noise, level[:, None, None, None])
    with torch.inference_mode():
        answer = component.network(noisy, encoder_hidden_states=normal(3, 4, 8), timestep=level * 1000)
    wanted = (answer.sample - (noise - image * 2 + 1)).square().mean((1, 2, 3))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_a_focus_of_another_size_than_its_picture_is_refused() -> None:
    with pytest.raises(ValueError, match=r"focus of \[8, 8\] on a picture of \[16, 16\]"):
        lost(head(), context(1), cond=normal(1, 4, 8), image=normal(1, 3, 16, 16), focus=torch.ones(1, 8, 8))


def test_blanks_for_another_number_of_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="3 blanks for 4 positions"):
        lost(head(), context(1), cond=normal(1, 4, 8), image=normal(1, 3, 16, 16), blank=torch.ones(1, 3))


@pytest.mark.parametrize(
    ("levels", "told"), [({"median": 1.0}, "`median: 1.0`"), ({"full": 2}, "0 to 1"), ({"std": -1}, "0 or more")]
)
def test_levels_that_cannot_be_are_refused(levels: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        DiffusionConfig(levels=levels)
