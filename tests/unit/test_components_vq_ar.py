"""VQ-AR with features as a prefix, and learning from the tokens of a tokenizer beside it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from anyany.api.torch import Context, Rows
from anyany.engine.noise import Noise
from anyany.registry import default_registry
from anyany.testing.harness import bench

CARD = "image_heads/vq-ar"
SLOTS = {"preset": "tiny", "cond": 6, "prefix": 4, "autoencoder": False, "guidance": 1.0}


def made(**options: Any) -> Any:
    return bench(default_registry().card(CARD), {**SLOTS, **options}).build().component


def context(rows: int, call: str = "image") -> Context:
    return Context(node="draw", call=call, keys=[(i,) for i in range(rows)], device=torch.device("cpu"),
                   noise=Noise(0, [f"row {i}" for i in range(rows)]), dtype=torch.float32)  # fmt: skip


def slots(rows: int, length: int = 4) -> torch.Tensor:
    return torch.randn(rows, length, 6, generator=torch.Generator().manual_seed(1))


def drawn(component: Any, cond: Any, **more: Any) -> torch.Tensor:
    return component.image(context(len(cond)), cond=Rows(cond), **more)["tokens"].dense()


def lost(component: Any, cond: Any, tokens: Any) -> torch.Tensor:
    return component.loss(context(len(cond), "loss"), cond=Rows(cond), tokens=Rows(tokens))["loss"].data


def test_the_order_of_a_prefix_matters_and_that_of_a_mean_does_not() -> None:
    cond, tokens = slots(3), torch.randint(32, (3, 16), generator=torch.Generator().manual_seed(2))
    turned = cond.flip(1).contiguous()
    prefix, mean = made(drop=0.0), made(prefix=None, drop=0.0)
    assert not torch.allclose(lost(prefix, cond, tokens), lost(prefix, turned, tokens), atol=1e-4)
    assert torch.allclose(lost(mean, cond, tokens), lost(mean, turned, tokens), atol=1e-5)


def test_what_is_missing_of_a_prefix_is_its_null() -> None:
    component, cond = made(), slots(2, 3)
    filled = torch.cat([cond, component.features.null[3:].detach().expand(2, -1, -1)], 1)
    assert torch.equal(component.vectors(list(cond), context(2)), component.vectors(list(filled), context(2)))
    one = component.vectors([cond[0, 0]], context(1))
    assert torch.equal(one, component.vectors([cond[0, :1]], context(1)))


def test_rows_of_unlike_lengths_draw_as_they_do_alone() -> None:
    component = made(guidance=2.0)
    conds = [slots(1, 4)[0], slots(1, 1)[0], slots(1, 3)[0], slots(1, 2)[0, 0]]
    together = drawn(component, conds)
    for row, cond in enumerate(conds):
        alone = Context(node="draw", call="image", keys=[(row,)], device=torch.device("cpu"),
                        noise=Noise(0, [f"row {i}" for i in range(4)]), dtype=torch.float32)  # fmt: skip
        assert torch.equal(component.image(alone, cond=Rows([cond]))["tokens"].dense()[0], together[row])


def test_guidance_keeps_away_from_the_negative() -> None:
    component, cond = made(guidance=4.0), slots(3)
    plain, turned = drawn(component, cond), drawn(component, cond, negative=Rows(cond.flip(1).contiguous()))
    assert not torch.equal(plain, turned)
    itself = drawn(component, cond, negative=Rows(cond))
    assert torch.equal(itself, drawn(made(), cond))


def test_a_few_steps_on_tokens_teach_which_slots_they_belong_to() -> None:
    component = made(drop=0.0).train().requires_grad_(True)
    cond = slots(2)
    both = torch.cat([cond, cond.flip(1)])
    tokens = torch.stack([torch.full((16,), n) for n in (3, 7, 11, 30)])
    optim = torch.optim.Adam(component.parameters(), lr=1e-2)
    for _ in range(40):
        loss = lost(component, both, tokens).mean()
        optim.zero_grad()
        loss.backward()
        optim.step()
    assert float(loss.detach()) < 0.1
    assert torch.equal(drawn(component.eval(), both)[:, 0], tokens[:, 0])


def test_a_dropped_condition_is_the_null_of_every_position() -> None:
    component = made(drop=1.0)
    tokens = torch.zeros(2, 16, dtype=torch.long)
    assert torch.equal(*lost(component, slots(2), tokens))
    null = component.features.null.detach()
    assert torch.allclose(lost(component, slots(2), tokens), lost(made(drop=0.0), null.expand(2, -1, -1), tokens))


def test_weights_come_back_under_the_names_they_were_saved(tmp_path: Any) -> None:
    component = made()
    weights = component.checkpoint()
    assert weights["features.null"].shape == (4, 6)
    save_file({n: t.contiguous() for n, t in weights.items()}, tmp_path / "head.safetensors")
    again = bench(default_registry().card(CARD), SLOTS).build(f"file:{tmp_path / 'head.safetensors'}").component
    assert torch.equal(drawn(again, slots(2)), drawn(component, slots(2)))


@pytest.mark.parametrize(
    ("cond", "said"),
    [
        (torch.zeros(5, 6), "takes up to 4 features, not 5"),
        (torch.zeros(4, 7), r"features \[N,6\], not on numbers of shape \[4, 7\]"),
        (torch.zeros(0, 6), r"not on numbers of shape \[0, 6\]"),
    ],
)
def test_features_that_do_not_fit_the_prefix_are_refused(cond: torch.Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        drawn(made(), [cond])


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (torch.zeros(2, 9, dtype=torch.long), r"16 whole numbers, not torch.int64 of shape \[9\]"),
        (torch.zeros(2, 16), "16 whole numbers, not torch.float32"),
        (torch.full((2, 16), 32), "has 32 codes, and a token is 32"),
        (torch.full((2, 16), -1), "a token is -1"),
    ],
)
def test_tokens_of_another_tokenizer_are_refused(tokens: torch.Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        lost(made(), slots(2), tokens)


def test_a_prefix_before_a_class_is_refused() -> None:
    with pytest.raises(ValueError, match="a class is one vector"):
        bench(default_registry().card(CARD), {"preset": "tiny", "classes": 5, "prefix": 2})
